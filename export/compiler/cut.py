"""Changes to a model before it is compiled: other outputs, other sizes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.functions import reads


def set_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Let a model end in the values of these names, and begin with those of its inputs that they depend on.

    Raises EdgelaneError where the model has no such value.
    """
    graph = model.graph
    if not names or len(set(names)) < len(names):
        raise EdgelaneError(f"expected names of different values as outputs, found {list(names)}")
    known = {name for node in graph.node for name in node.output} | {info.name for info in graph.input}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise EdgelaneError(f"the model has no value {', '.join(map(repr, unknown))} that could be an output")
    declared = {info.name: info for info in (*graph.value_info, *graph.output, *graph.input)}
    ends = [declared.get(name, onnx.helper.make_empty_tensor_value_info(name)) for name in names]
    ends = [_copy(info) for info in ends]
    del graph.output[:]
    graph.output.extend(ends)
    used = set(names)
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(reads(node))
    kept = [_copy(info) for info in graph.input if info.name in used]
    del graph.input[:]
    graph.input.extend(kept)


def set_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write the sizes of the inputs into a model, and drop what it says about the sizes of other values."""
    changed = False
    for info in model.graph.input:
        if info.name in shapes:
            dims = info.type.tensor_type.shape.dim
            changed = changed or any(
                dim.HasField("dim_value") and dim.dim_value != size
                for dim, size in zip(dims, shapes[info.name], strict=True)
            )
            for dim, size in zip(dims, shapes[info.name], strict=True):
                dim.dim_value = size
    if changed:
        del model.graph.value_info[:]
        for info in model.graph.output:
            info.type.tensor_type.ClearField("shape")


def _copy(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    return copy
