"""Makes the graph that torch writes fit to be read and shipped: names, stray metadata, and one canonical form per
operation.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np


def tidy(proto: Any) -> Any:
    """Tidy `proto` in place and return it."""
    _global_average_pools(proto.graph)
    _name_nodes(proto.graph)
    for holder in (
        proto,
        proto.graph,
        *proto.graph.node,
        *proto.graph.initializer,
        *proto.graph.input,
        *proto.graph.output,
    ):
        # torch stores stack traces here: paths of the machine that exported.
        del holder.metadata_props[:]
        if holder.doc_string:
            holder.doc_string = ""
    del proto.graph.value_info[:]
    proto.graph.name = "edgelane"
    return proto


def _scopes(node: Any) -> list[str]:
    """The path of modules that a node came from, outermost first, as torch's exporter records it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                return [str(scope) for scope in ast.literal_eval(entry.value)]
            except (ValueError, SyntaxError):
                return []
    return []


def _name_nodes(graph: Any) -> None:
    """Name each node after the module it came from, so that errors and profiles speak the user's language."""
    taken: set[str] = set()
    for node in graph.node:
        modules = [scope for scope in _scopes(node)[:-1] if scope]
        name = base = f"{modules[-1]}/{node.op_type}" if modules else node.op_type
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        node.name = name


def _global_average_pools(graph: Any) -> None:
    """Write a mean over height and width that keeps them as GlobalAveragePool, which int8 kernels know and ReduceMean
    is not.
    """
    from onnx import numpy_helper

    constants = {entry.name: entry for entry in graph.initializer}
    ranks = {entry.name: len(entry.type.tensor_type.shape.dim) for entry in (*graph.value_info, *graph.input)}
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = sorted(int(axis) % 4 for axis in np.atleast_1d(numpy_helper.to_array(constants[node.input[1]])))
        keepdims = all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")
        if axes == [2, 3] and keepdims and ranks.get(node.input[0]) == 4:
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    kept = [entry for entry in graph.initializer if entry.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
