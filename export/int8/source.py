"""From an ONNX file to the float model that is quantised: checked, constants and BatchNorm folded, opset 13 up."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx.version_converter

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import inference
from edgelane.export.compiler.folding import FOLDABLE, Folder
from edgelane.export.compiler.functions import reads
from edgelane.export.compiler.limits import DEFAULT
from edgelane.export.compiler.lowering import Unsupported
from edgelane.export.compiler.onnx_file import first_line, load_model, opset_of, to_array, without_functions
from edgelane.export.int8.fold import canonical_pools, drop_no_ops, fold_into_layers
from edgelane.export.int8.network import Array, Network, dims_of, is_standard, set_initializer
from edgelane.export.qdq_view import View

OLDEST_OPSET = 13  # the first whose QuantizeLinear and DequantizeLinear know one scale per channel
MOST_BYTES = 2**31 - 1  # of a model in one piece: protobuf, and so ONNX Runtime, takes no more
GROWTH_BYTES = 1 << 20  # a constant that is computed may be so much larger than what it is computed from


class Source(NamedTuple):
    """`model`: what is quantised. `original`: what it has to compute. `sha256`: of the file."""

    model: onnx.ModelProto
    original: onnx.ModelProto
    network: Network
    sha256: str


def read_source(path: str | os.PathLike[str]) -> Source:
    """Read a float32 model and prepare it.

    Raises EdgelaneError for a file that is missing or malformed, larger than 2 GiB with its external data, quantised
    already, or older than opset 13 and not convertible.
    """
    original, digest = load_model(Path(path))
    size = sum(len(tensor.raw_data) for tensor in original.graph.initializer)
    if size > MOST_BYTES:
        raise EdgelaneError(
            f"{path} holds {size} bytes of weights; ONNX Runtime, which calibrates, takes at most {MOST_BYTES} at once"
        )
    model = onnx.ModelProto()
    model.CopyFrom(original)
    model = _converted(without_functions(model), path)
    if View(model).quantized:
        raise EdgelaneError(
            f"{path} is quantised already (it has QuantizeLinear or QLinear operators): give the float model"
        )
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]  # the others are defaults of weights
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    _drop_dead_nodes(model.graph)
    types = fold_constants(model)
    drop_no_ops(model, types)
    _drop_unused(model)
    fold_into_layers(model, types)
    canonical_pools(model, types)
    _drop_unused(model)
    return Source(model, original, Network(model, types), digest)


def _converted(model: onnx.ModelProto, path: str | os.PathLike[str]) -> onnx.ModelProto:
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return model
    try:
        converted = onnx.version_converter.convert_version(model, OLDEST_OPSET)
        onnx.checker.check_model(converted)
    except Exception as error:  # the converter raises RuntimeError, and classes of its own that onnx does not export
        raise EdgelaneError(
            f"{path} uses opset {opset}: int8 weights need opset {OLDEST_OPSET} or newer, and onnx cannot convert it "
            f"({first_line(error)}); export it with a newer opset"
        ) from error
    kept = {entry.key for entry in converted.metadata_props}
    converted.metadata_props.extend(entry for entry in model.metadata_props if entry.key not in kept)
    result: onnx.ModelProto = converted
    return result


def fold_constants(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Make initialisers of what constants alone determine; return the types of all values, as far as they are known."""
    graph, opset = model.graph, opset_of(model)
    types: dict[str, onnx.TypeProto] = {
        info.name: info.type for info in (*graph.value_info, *graph.output, *graph.input)
    }
    values: dict[str, Array | None] = {}
    for tensor in graph.initializer:
        values[tensor.name] = to_array(tensor)
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    outputs = {info.name for info in graph.output}
    folder = Folder(DEFAULT)
    kept = []
    for index, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{index}"
        known = is_standard(node) and all(source in types for source in node.input if source)
        known = known and not any(entry.HasField("g") or entry.graphs for entry in node.attribute)
        if known:
            found = inference.output_types(node, name, opset, _read(node, types), values, model.ir_version)
            if node.op_type == "Reshape":
                _add_rank(found[node.output[0]], types[node.input[1]])
            types.update({output: kind for output, kind in found.items() if _knows_more(kind, types.get(output))})
        fold = known and not outputs.intersection(node.output)
        results = _evaluate(node, name, opset, types, values, folder) if fold else None
        if results is None:
            kept.append(node)
            continue
        for output, result in zip(filter(None, node.output), results, strict=True):
            values[output] = result
            element = onnx.helper.np_dtype_to_tensor_dtype(result.dtype)
            types[output] = onnx.helper.make_tensor_type_proto(element, result.shape)
            set_initializer(model, output, result)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
    return types


def _knows_more(kind: onnx.TypeProto, than: onnx.TypeProto | None) -> bool:
    """Whether a type states at least as many sizes as another one."""
    dims, others = dims_of(kind), None if than is None else dims_of(than)
    return others is None or (dims is not None and dims.count(None) <= others.count(None))


def _add_rank(result: onnx.TypeProto, shape: onnx.TypeProto) -> None:
    """Give the result of a Reshape whose sizes follow from open ones as many unknown sizes as its shape has numbers."""
    count = (dims_of(shape) or (None,))[0]
    if dims_of(result) is None and count is not None:
        for _ in range(count):
            result.tensor_type.shape.dim.add()


def _read(node: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> dict[str, onnx.TypeProto]:
    return {source: types[source] for source in node.input if source}


def _evaluate(
    node: onnx.NodeProto,
    name: str,
    opset: int,
    types: dict[str, onnx.TypeProto],
    values: dict[str, Array | None],
    folder: Folder,
) -> list[Array] | None:
    """The node's results where they are constants that do not make the file much larger; None where they are not."""
    if node.op_type == "Shape":
        dims = dims_of(types[node.input[0]])
        if dims is None or None in dims:
            return None
        start, end = (next((e.i for e in node.attribute if e.name == key), None) for key in ("start", "end"))
        return [np.array(dims[start:end], np.int64)]
    feeds = {source: values.get(source) for source in node.input if source}
    if node.op_type not in FOLDABLE or any(value is None for value in feeds.values()):
        return None
    known = {source: value for source, value in feeds.items() if value is not None}
    shapes = []
    for output in filter(None, node.output):
        dims = dims_of(types[output]) if output in types else None
        if dims is None:
            return None
        sizes = tuple(size for size in dims if size is not None)
        if len(sizes) < len(dims):
            return None
        shapes.append(sizes)
    grown = 8 * sum(math.prod(shape) for shape in shapes) - 2 * sum(value.nbytes for value in known.values())
    if node.op_type != "Constant" and grown > GROWTH_BYTES:
        return None
    try:
        return folder.evaluate(node, name, opset, known, _read(node, types), shapes)
    except (Unsupported, EdgelaneError):
        return None


def _drop_dead_nodes(graph: onnx.GraphProto) -> None:
    """Remove nodes that no output depends on."""
    used = {info.name for info in graph.output}
    live = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(reads(node))
            live.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(reversed(live))


def _drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes, initialisers and remarks on values that are not needed any more."""
    graph = model.graph
    _drop_dead_nodes(graph)
    used = {info.name for info in graph.output}
    for node in graph.node:
        used.update((*reads(node), *node.output))
    for field in (graph.initializer, graph.value_info):
        kept = [type(entry).FromString(entry.SerializeToString()) for entry in field if entry.name in used]
        del field[:]
        field.extend(kept)
