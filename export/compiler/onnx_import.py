"""From an ONNX model to a graph of steps: fix shapes, fold constants, lower every node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.reference
from onnx import numpy_helper, shape_inference

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.graph import Array, Graph, Shape, Tensor
from edgelane.export.compiler.lowering import ANY_DTYPE, LOWERINGS, Builder, Malformed, Node, Unsupported
from edgelane.export.compiler.onnx_file import STANDARD_DOMAINS, first_line, opset_of, to_array
from edgelane.export.compiler.qlinear import expand_qlinear
from edgelane.export.compiler.unsupported import UnsupportedNode, UnsupportedNodes

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
# Constants up to this many elements are shown to shape inference; shapes, axes and pads are all smaller.
SHAPE_DATA_ELEMENTS = 1024
KEEP_ORIGIN = ("QuantizeLinear", "DequantizeLinear", "Transpose", "Identity")
# Before opset 22 shape inference gave ceil_mode windows that lie in the padding alone. No engine computes such windows.
POOLS, POOLS_MENDED = ("MaxPool", "AveragePool"), 22
RANDOM_OPS = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


def fixed_input_shapes(
    model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None
) -> dict[str, tuple[int, ...]]:
    """Return the concrete shape of each input: a dynamic first dimension is 1 unless `input_shapes` fixes it.

    Raises EdgelaneError for any other dynamic dimension, and where `input_shapes` contradicts the model.
    """
    wanted = dict(input_shapes or {})
    initializers = {tensor.name for tensor in model.graph.initializer}
    shapes, dynamic = {}, []
    for info in model.graph.input:
        if info.name in initializers:
            continue
        if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
            raise EdgelaneError(f"input {info.name!r} has no tensor shape; export the model with fixed shapes")
        dims = list(info.type.tensor_type.shape.dim)
        given = wanted.pop(info.name, None)
        declared = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
        if given is not None:
            if len(given) != len(dims) or any(a not in (None, b) for a, b in zip(declared, given, strict=True)):
                names = [dim.dim_param or dim.dim_value or "?" for dim in dims]
                raise EdgelaneError(f"input {info.name!r} has shape {names}, which {list(given)} does not fit")
            if any(int(dim) < 1 for dim in given):
                raise EdgelaneError(f"input {info.name!r}: every dimension must be at least 1, found {list(given)}")
            shapes[info.name] = tuple(int(dim) for dim in given)
            continue
        if declared and declared[0] is None:
            declared[0] = 1
        dynamic += [
            f"{info.name}[{axis}]" + (f" ({dims[axis].dim_param})" if dims[axis].dim_param else "")
            for axis, value in enumerate(declared)
            if value is None
        ]
        shapes[info.name] = tuple(value or 0 for value in declared)
    if wanted:
        raise EdgelaneError(
            f"the model has no input {', '.join(map(repr, wanted))}; its inputs are {', '.join(shapes)}"
        )
    if dynamic:
        raise EdgelaneError(f"dynamic dimensions {', '.join(dynamic)}: give their sizes in input_shapes")
    return shapes


def import_graph(model: onnx.ModelProto, input_shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Lower a model. Raises one UnsupportedNodes that names every node that cannot be lowered, and why."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    return _Importer(expand_qlinear(model), input_shapes).run()


class _Importer:
    def __init__(self, model: onnx.ModelProto, input_shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.opset = opset_of(model)
        self.values: dict[str, Tensor] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.unknown: set[str] = set()  # outputs of nodes that could not be lowered
        self.problems: list[UnsupportedNode] = []
        self.graph = Graph([])
        self.builder = Builder(self.graph)
        # These are for the tensors that equal them, so that a file can be compared with its model value by value.
        self.builder.names.update(output for node in model.graph.node for output in node.output)
        for info in model.graph.input:
            if info.name in input_shapes:
                self.add_input(info, input_shapes[info.name])
        for initializer in model.graph.initializer:
            self.add_constant(initializer.name, to_array(initializer))
        for sparse in model.graph.sparse_initializer:
            self.add_constant(sparse.values.name, _dense(sparse))
        self.used = {info.name for info in model.graph.output}
        self.live: list[tuple[int, onnx.NodeProto]] = []  # what no output depends on need not be understood
        for index, node in reversed(list(enumerate(model.graph.node))):
            if self.used.intersection(node.output):
                self.used.update(filter(None, node.input))
                self.live.append((index, node))

    def add_input(self, info: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
        element = info.type.tensor_type.elem_type
        if DTYPES.get(element, "uint8") == "uint8":
            raise EdgelaneError(f"input {info.name!r} is {_type_name(element)}, expected float32 or int8")
        self.builder.names.add(info.name)
        tensor = Tensor(info.name, shape, DTYPES[element], source=info.name)
        self.graph.inputs.append(tensor)
        self.values[info.name] = tensor
        self.types[info.name] = onnx.helper.make_tensor_type_proto(element, shape)

    def add_constant(self, name: str, value: Array) -> None:
        value = np.asarray(value)
        self.values[name] = Tensor(self.builder.unique(name), value.shape, str(value.dtype), value)
        self.types[name] = onnx.helper.make_tensor_type_proto(
            onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )

    def run(self) -> Graph:
        for index, proto in reversed(self.live):
            name = proto.name or f"{proto.op_type}_{index}"
            try:
                self.visit(proto, name)
            except Unsupported as reason:
                self.problems.append(UnsupportedNode(name, _op_name(proto), str(reason)))
                self.stand_in(proto, name)
        for tensor in self.graph.inputs:
            if tensor.dtype == "int8" and tensor.quantization is None:
                self.problems.append(
                    UnsupportedNode(tensor.name, "input", "it is int8 without a DequantizeLinear behind it")
                )
        for info in self.model.graph.output:
            if info.name not in self.unknown:
                self.add_output(info.name)
        if self.problems:
            raise UnsupportedNodes(self.problems, self.graph)
        return self.graph

    def add_output(self, name: str) -> None:
        tensor = self.values[name]
        if any(tensor.name == name for tensor in self.graph.inputs):
            self.problems.append(UnsupportedNode(name, "output", "it is an input as well"))
        elif tensor.data is not None:
            self.problems.append(UnsupportedNode(name, "output", "it is a constant"))
        elif tensor.dtype not in ("float32", "int8") or tensor.stored_as == "uint8":
            reason = f"it is {tensor.stored_as or tensor.dtype}, expected float32 or int8"
            self.problems.append(UnsupportedNode(name, "output", reason))
        self.graph.outputs.append(tensor)
        self.graph.output_names.append(name)

    def visit(self, proto: onnx.NodeProto, name: str) -> None:
        if any(source in self.unknown for source in proto.input):
            self.unknown.update(proto.output)  # the node that is the cause has been named already
            return
        standard = proto.domain in STANDARD_DOMAINS
        if not standard or (proto.op_type not in LOWERINGS and not self.foldable(proto)):
            raise Unsupported("edgelane does not know this operator")
        if self.foldable(proto):
            self.fold(proto, name)
            return
        shapes = self.infer(proto, name)
        node = Node(
            name,
            proto.op_type,
            self.opset,
            [self.values[source] if source else None for source in proto.input],
            {attribute.name: _attribute(attribute) for attribute in proto.attribute},
            [shapes.get(output) if output in self.used else None for output in proto.output],
        )
        if node.op not in ANY_DTYPE:
            for tensor in node.inputs:
                if tensor is not None and tensor.data is None and tensor.dtype != "float32":
                    raise Unsupported(f"its input {tensor.name} is {tensor.dtype}, expected float32")
        self.builder.node_name = name
        try:
            lowered = LOWERINGS[node.op](node, self.builder)
        except (Malformed, KeyError, ValueError, IndexError) as error:  # attributes that are missing or do not fit
            raise EdgelaneError(f"node {name} ({node.op}) is malformed: {first_line(error)}") from error
        self.bind(proto, lowered, node.shapes)

    def bind(self, proto: onnx.NodeProto, results: Tensor | list[Tensor], shapes: list[Shape | None]) -> None:
        listed = [results] if isinstance(results, Tensor) else results
        for output, result, shape in zip(proto.output, listed, shapes, strict=False):
            if shape is not None and result.shape != shape:
                raise Unsupported(f"its output has shape {list(result.shape)}, the model expects {list(shape)}")
            if result.data is None and not result.source:  # a node that does nothing returns its input
                result.source = output
            self.values[output] = result

    def stand_in(self, proto: onnx.NodeProto, name: str) -> None:
        """Put placeholders where a node could not be lowered, so that later nodes are judged too."""
        try:
            shapes = self.infer(proto, name) if proto.domain in STANDARD_DOMAINS else {}
        except (Unsupported, EdgelaneError):
            shapes = {}
        for output in filter(None, proto.output):
            if output in shapes and shapes[output] is not None:
                element = self.types[output].tensor_type.elem_type
                self.values[output] = Tensor(output, shapes[output], DTYPES.get(element, _type_name(element)))
            else:
                self.unknown.add(output)

    def foldable(self, proto: onnx.NodeProto) -> bool:
        """Whether a node's value is known now: constant inputs, or the shape of anything."""
        if proto.domain not in STANDARD_DOMAINS or proto.op_type in RANDOM_OPS:
            return False
        sources = [self.values.get(source) for source in proto.input if source]
        if any(source is None for source in sources):
            return False
        if proto.op_type in ("Shape", "Size"):
            return True
        if proto.op_type in KEEP_ORIGIN or any(attribute.type in (5, 10) for attribute in proto.attribute):
            return False  # kept beside their integers; or it has subgraphs
        return all(source is not None and source.data is not None for source in sources)

    def fold(self, proto: onnx.NodeProto, name: str) -> None:
        if proto.op_type in ("Shape", "Size"):
            shape = self.values[proto.input[0]].shape
            attributes = {attribute.name: attribute.i for attribute in proto.attribute}
            part = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]
            value = part if proto.op_type == "Shape" else math.prod(shape)
            self.add_constant(proto.output[0], np.array(value, np.int64))
            return
        if proto.op_type == "Constant" and proto.attribute[0].name == "sparse_value":
            self.add_constant(proto.output[0], _dense(proto.attribute[0].sparse_tensor))
            return
        feeds = {source: self.values[source].data for source in proto.input if source}
        inputs = [onnx.helper.make_value_info(source, self.types[source]) for source in feeds]
        outputs = [onnx.helper.make_empty_tensor_value_info(output) for output in proto.output if output]
        graph = onnx.helper.make_graph([proto], name, inputs, outputs)
        small = onnx.helper.make_model(graph, opset_imports=self.model.opset_import)
        try:
            with np.errstate(all="ignore"):
                results = onnx.reference.ReferenceEvaluator(small).run(None, feeds)
        except Exception as error:  # the evaluator raises whatever numpy does
            raise Unsupported(f"its constant value cannot be computed: {first_line(error)}") from error
        for output, result in zip([output for output in proto.output if output], results, strict=True):
            self.add_constant(output, result)

    def infer(self, proto: onnx.NodeProto, name: str) -> dict[str, Shape]:
        """Infer the shapes of a node's outputs; they are all concrete, since every input is."""
        data = {}
        for source in filter(None, proto.input):
            tensor = self.values[source]
            if tensor.data is not None and tensor.data.size <= SHAPE_DATA_ELEMENTS:
                data[source] = numpy_helper.from_array(np.asarray(tensor.data), source)
        types = {source: self.types[source] for source in proto.input if source}
        try:
            schema = onnx.defs.get_schema(proto.op_type, self.schema_version(proto.op_type), "")
            inferred = shape_inference.infer_node_outputs(
                schema,
                proto,
                types,
                data,
                opset_imports=list(self.model.opset_import),
                ir_version=self.model.ir_version,
            )
        except (
            onnx.defs.SchemaError,
            shape_inference.InferenceError,
            onnx.checker.ValidationError,
            RuntimeError,
        ) as error:
            raise EdgelaneError(f"node {name} ({proto.op_type}) is malformed: {first_line(error)}") from error
        shapes: dict[str, Shape] = {}
        for output, kind in inferred.items():
            dims = kind.tensor_type.shape.dim
            known = kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
            if known:
                shapes[output] = tuple(dim.dim_value for dim in dims)
                self.types[output] = kind
            elif output in self.used:
                raise Unsupported("the shape of its output depends on values that are computed at run time")
        return shapes

    def schema_version(self, op: str) -> int:
        """Return the version of the operator set whose rules give an operator's shape."""
        if op in POOLS:
            return max(self.opset, POOLS_MENDED)
        # An operator of ONNX Runtime's own domain may stand in a model that is older than the standard one.
        return self.opset if onnx.defs.has(op, self.opset) else onnx.defs.onnx_opset_version()


def _dense(sparse: onnx.SparseTensorProto) -> Array:
    """Return the array that a sparse constant stands for; its indices are positions, or coordinates in rows."""
    values, indices = to_array(sparse.values), to_array(sparse.indices)
    result = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        result.reshape(-1)[indices] = values
    else:
        result[tuple(indices.T)] = values
    return result


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _op_name(proto: onnx.NodeProto) -> str:
    return proto.op_type if proto.domain in STANDARD_DOMAINS else f"{proto.domain}.{proto.op_type}"


def _type_name(element: int) -> str:
    return str(onnx.TensorProto.DataType.Name(element)).lower()
