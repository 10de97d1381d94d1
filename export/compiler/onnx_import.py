"""From an ONNX model to a graph of steps: fold constants, lower every node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import functions, inference
from edgelane.export.compiler.folding import FOLDABLE, SIZED_BY_VALUES, Folder
from edgelane.export.compiler.graph import Array, Graph, Shape, Tensor
from edgelane.export.compiler.limits import DEFAULT, Limits
from edgelane.export.compiler.lowering import (
    DTYPES,
    LOWERINGS,
    MUST_BE_CONSTANT,
    RAW,
    Builder,
    Malformed,
    NeedsConstant,
    Node,
    Unsupported,
    constant_tensor,
    lower,
)
from edgelane.export.compiler.onnx_file import STANDARD_DOMAINS, first_line, opset_of, to_array, without_functions
from edgelane.export.compiler.qlinear import expand_qlinear
from edgelane.export.compiler.unsupported import UnsupportedNode, UnsupportedNodes

KEEP_ORIGIN = ("QuantizeLinear", "DequantizeLinear", "Transpose", "Identity")
# What a node comes to whose inputs or attributes are missing, or are not what its operator says.
MALFORMED = (Malformed, KeyError, ValueError, IndexError, TypeError, AttributeError, StopIteration, ArithmeticError)


def import_graph(
    model: onnx.ModelProto,
    input_shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, Array] | None = None,
    limits: Limits = DEFAULT,
) -> Graph:
    """Lower a model. Raises one UnsupportedNodes that names every node that cannot be lowered, and why.

    constants: values for inputs of the model that are no inputs of the network.
    """
    return _Importer(expand_qlinear(without_functions(model)), input_shapes, constants or {}, limits).run()


class _Importer:
    def __init__(
        self,
        model: onnx.ModelProto,
        input_shapes: Mapping[str, tuple[int, ...]],
        constants: Mapping[str, Array],
        limits: Limits,
    ) -> None:
        self.model = model
        self.limits = limits
        self.folder = Folder(limits)
        self.values: dict[str, Tensor] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.unknown: set[str] = set()  # outputs of nodes that could not be lowered
        self.varying: dict[str, UnsupportedNode] = {}  # values whose size depends on data, and what to say of it
        self.cut: dict[str, None] = {}  # values that could be outputs in place of what depends on such sizes
        self.problems: list[UnsupportedNode] = []
        self.wanted: set[str] = set()  # inputs that would have to be constants
        self.graph = Graph([])
        self.builder = Builder(self.graph)
        # These are for the tensors that equal them, so that a file can be compared with its model value by value.
        self.builder.names.update(output for node in model.graph.node for output in node.output)
        for initializer in model.graph.initializer:
            self.add_constant(initializer.name, to_array(initializer))
        for sparse in model.graph.sparse_initializer:
            self.add_constant(sparse.values.name, _dense(sparse))
        for info in model.graph.input:
            if info.name in constants:
                self.add_constant(info.name, constants[info.name])
            elif info.name in input_shapes:
                self.add_input(info, input_shapes[info.name])
        self.used = {info.name for info in model.graph.output}

    def add_input(self, info: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
        element = info.type.tensor_type.elem_type
        dtype = inference.dtype_name(element)
        if dtype not in DTYPES:
            reason = f"it is {dtype}, expected one of {', '.join(DTYPES)}"
            self.problems.append(UnsupportedNode(info.name, "input", reason))
            self.unknown.add(info.name)
            return
        self.limits.check_shape(shape, f"elements of the input {info.name!r}")
        self.builder.names.add(info.name)
        tensor = Tensor(info.name, shape, dtype, source=info.name)
        if dtype == "int8":
            tensor.quantization, tensor.stored_as = RAW, "int8"
        self.graph.inputs.append(tensor)
        self.values[info.name] = tensor
        self.types[info.name] = onnx.helper.make_tensor_type_proto(element, shape)

    def add_constant(self, name: str, value: Array) -> None:
        value = np.asarray(value)
        self.values[name] = constant_tensor(self.builder.unique(name), value)
        self.types[name] = onnx.helper.make_tensor_type_proto(
            onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )

    def run(self) -> Graph:
        for index, proto in self.live(self.model.graph.node):
            name = proto.name or f"{proto.op_type}_{index}"
            try:
                self.visit(proto, name, opset_of(self.model))
            except Unsupported as reason:
                problem = UnsupportedNode(name, _op_name(proto), str(reason))
                self.stand_in(proto, name)
                if isinstance(reason, NeedsConstant):
                    self.wanted.update(self.origins(reason.tensor))
                    lost = [output for output in proto.output if output in self.unknown]
                    if lost:
                        self.varying.update(dict.fromkeys(lost, problem))
                        self.lose(proto)
                self.problems.append(problem)
            except MALFORMED as error:
                raise EdgelaneError(f"node {name} ({_op_name(proto)}) is malformed: {first_line(error)}") from error
        cut = self.where_to_cut()
        for info in self.model.graph.output:
            if info.name not in self.unknown:
                self.add_output(info.name)
        if self.problems:
            raise UnsupportedNodes(self.problems, self.graph, frozenset(self.wanted), cut)
        return self.graph

    def live(self, nodes: Sequence[onnx.NodeProto]) -> list[tuple[int, onnx.NodeProto]]:
        """Return the nodes that what is used depends on, with their positions; the others need not be understood."""
        found = []
        for index, node in reversed(list(enumerate(nodes))):
            if self.used.intersection(node.output):
                self.used.update(filter(None, functions.reads(node)))
                found.append((index, node))
        return found[::-1]

    def add_output(self, name: str) -> None:
        tensor = self.values[name]
        if tensor.data is None and tensor.stored_as == "uint8":
            self.builder.node_name = name
            source = tensor.source
            tensor = self.builder.plain(tensor)
            tensor.source = source if source == name else ""
        if tensor.dtype not in DTYPES:
            reason = f"it is {tensor.dtype}, expected one of {', '.join(DTYPES)}"
            self.problems.append(UnsupportedNode(name, "output", reason))
        elif 0 in tensor.shape:  # nothing has to be computed for it
            tensor = Tensor(name, tensor.shape, tensor.dtype, quantization=tensor.quantization)
        self.graph.outputs.append(tensor)
        self.graph.output_names.append(name)

    def visit(self, proto: onnx.NodeProto, name: str, opset: int) -> None:
        """Lower a node that is written in an opset, or compute its value if that is known."""
        sources = functions.reads(proto)
        varying = [source for source in sources if source in self.varying and source not in self.unknown]
        if varying or any(source in self.unknown for source in sources):
            self.cut.update(dict.fromkeys(varying))
            self.lose(proto)  # the node that is the cause is named, or will be
            return
        if proto.domain not in STANDARD_DOMAINS:
            raise Unsupported("edgelane does not know this operator")
        if proto.op_type == "If":
            self.visit_branch(proto, name, opset)
            return
        if self.foldable(proto):
            self.fold(proto, name, opset)
            return
        for index in MUST_BE_CONSTANT.get(proto.op_type, ()):
            source = proto.input[index] if index < len(proto.input) else ""
            if source and self.values[source].data is None:
                raise NeedsConstant(inference.input_name(proto, index, opset), self.values[source])
        if proto.op_type in LOWERINGS:
            self.lower(proto, name, opset)
        elif not self.visit_function(proto, name, opset):
            raise Unsupported("edgelane does not know this operator")

    def lose(self, proto: onnx.NodeProto) -> None:
        """Give up the outputs of a node that reads what is not known, or whose results have no known size."""
        self.unknown.update(output for output in proto.output if output)
        if self.varying:
            known = (source for source in functions.reads(proto) if source in self.values)
            self.cut.update({source: None for source in known if self.values[source].data is None})

    def where_to_cut(self) -> list[str]:
        """Name the nodes on whose values sizes depend, and return the values in which the network could end instead."""
        ends = [info.name for info in self.model.graph.output]
        if not self.varying or not any(name in self.unknown for name in ends):
            return []
        for problem in dict.fromkeys(self.varying.values()):
            if problem in self.problems:
                self.problems.remove(problem)
            self.problems.append(replace(problem, cut=True))
        return list(dict.fromkeys([*(name for name in ends if name not in self.unknown), *self.cut]))

    def lower(self, proto: onnx.NodeProto, name: str, opset: int) -> None:
        shapes, dtypes = self.infer(proto, name, opset)
        node = Node(
            name,
            proto.op_type,
            opset,
            [self.values[source] if source else None for source in proto.input],
            {attribute.name: _attribute(attribute) for attribute in proto.attribute},
            [shapes.get(output) for output in proto.output],
            [dtypes.get(output, "") for output in proto.output],
            [output in self.used for output in proto.output],
        )
        self.builder.node_name = name
        lowered = lower(node, self.builder)
        self.bind(proto, lowered, node)
        if proto.op_type == "NonMaxSuppression":
            reason = "other nodes read its result, whose size depends on values that are computed at run time"
            self.varying[proto.output[0]] = UnsupportedNode(name, proto.op_type, reason)

    def bind(self, proto: onnx.NodeProto, results: list[Tensor], node: Node) -> None:
        for output, result, shape, used in zip(proto.output, results, node.shapes, node.used, strict=False):
            if not used:
                continue
            if shape is not None and result.shape != shape:
                raise Unsupported(f"its output has shape {list(result.shape)}, the model expects {list(shape)}")
            if result.data is None and not result.source:  # a node that does nothing returns its input
                result.source = output
            self.values[output] = result
            if shape is None and result.dtype in DTYPES:
                dtype = result.stored_as or result.dtype
                element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
                self.types[output] = onnx.helper.make_tensor_type_proto(element, result.shape)

    def visit_function(self, proto: onnx.NodeProto, name: str, opset: int) -> bool:
        """Lower the nodes by which the standard defines an operator; False where it does not."""
        types = [self.types[source] if source else onnx.TypeProto() for source in proto.input]
        body = functions.function_body(proto, opset, types, name)
        if body is None:
            return False
        self.visit_all(*body, name)
        return True

    def visit_branch(self, proto: onnx.NodeProto, name: str, opset: int) -> None:
        condition = self.values[proto.input[0]]
        if condition.data is None:
            raise NeedsConstant("its condition", condition)
        nodes, constants = functions.branch(proto, bool(condition.data.reshape(-1)[0]), name)
        for constant in constants:
            self.add_constant(constant.name, to_array(constant))
        self.visit_all(nodes, opset, name)

    def visit_all(self, nodes: Sequence[onnx.NodeProto], opset: int, name: str) -> None:
        for index, node in self.live(nodes):
            inner = f"{name}/{node.name or f'{node.op_type}_{index}'}"
            try:
                self.visit(node, inner, opset)
            except NeedsConstant:
                raise
            except Unsupported as reason:
                raise Unsupported(f"in its definition, {node.op_type}: {reason}") from reason

    def origins(self, tensor: Tensor) -> set[str]:
        """Return the inputs of the network that a tensor is computed from."""
        inputs = {id(entry): entry.name for entry in self.graph.inputs}
        found, seen, pending = set(), set(), [tensor]
        while pending:
            entry = pending.pop()
            if id(entry) in seen:
                continue
            seen.add(id(entry))
            if id(entry) in inputs:
                found.add(inputs[id(entry)])
            elif entry.producer is not None:
                pending += [source for source in entry.producer.inputs if source is not None]
        return found

    def stand_in(self, proto: onnx.NodeProto, name: str) -> None:
        """Put placeholders where a node could not be lowered, so that later nodes are judged too."""
        shapes: dict[str, Shape] = {}
        dtypes: dict[str, str] = {}
        if proto.domain in STANDARD_DOMAINS:
            try:
                shapes, dtypes = self.infer(proto, name, opset_of(self.model))
            except (Unsupported, EdgelaneError, KeyError):
                shapes = {}
        for output in filter(None, proto.output):
            if output in shapes:
                self.values[output] = Tensor(output, shapes[output], dtypes[output])
                if dtypes[output] == "int8":
                    self.values[output].quantization, self.values[output].stored_as = RAW, "int8"
            else:
                self.unknown.add(output)

    def foldable(self, proto: onnx.NodeProto) -> bool:
        """Whether a node's value is known now: constant inputs, or the shape of anything."""
        if proto.op_type not in FOLDABLE:
            return False
        sources = [self.values[source] for source in proto.input if source]
        if proto.op_type in ("Shape", "Size"):
            return True
        if proto.op_type in KEEP_ORIGIN:
            return False  # kept beside their integers
        if proto.op_type == "BatchNormalization" and any(output in self.used for output in proto.output[1:]):
            return False
        return all(source.data is not None for source in sources)

    def fold(self, proto: onnx.NodeProto, name: str, opset: int) -> None:
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
        data = {source: self.values[source].data for source in proto.input if source}
        feeds = {source: value for source, value in data.items() if value is not None}
        types = {source: self.types[source] for source in feeds}
        shapes: list[Shape] = []
        if proto.op_type == "Range":  # inference refuses limits of rank 1, which the standard's own definitions have
            start, limit, step = (feeds[source].reshape(-1)[0] for source in proto.input)
            shapes = [(max(math.ceil((limit - start) / step), 0),)] if step else []
            self.limits.check_shape(shapes[0] if shapes else (), f"node {name}: elements of its output")
        elif proto.op_type not in SIZED_BY_VALUES:
            shapes = list(self.infer(proto, name, opset)[0].values())
        results = self.folder.evaluate(proto, name, opset, feeds, types, shapes)
        named = [output for output in proto.output if output]
        for output, result in zip(named[: len(results)], results, strict=True):
            self.add_constant(output, result)

    def infer(self, proto: onnx.NodeProto, name: str, opset: int) -> tuple[dict[str, Shape], dict[str, str]]:
        """Infer types of a node's outputs, and their shapes as far as these do not depend on values."""
        data = {source: self.values[source].data for source in proto.input if source}
        types = {source: self.types[source] for source in proto.input if source}
        shapes: dict[str, Shape] = {}
        dtypes: dict[str, str] = {}
        for output, kind in inference.output_types(proto, name, opset, types, data, self.model.ir_version).items():
            dims = kind.tensor_type.shape.dim
            dtypes[output] = inference.dtype_name(kind.tensor_type.elem_type)
            if kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
                shapes[output] = tuple(dim.dim_value for dim in dims)
                self.limits.check_shape(shapes[output], f"node {name}: elements of its output")
                self.types[output] = kind
        return shapes, dtypes


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
    try:
        value = onnx.helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value
    except ValueError as error:  # bytes that are not UTF-8, and types that ONNX does not define
        raise EdgelaneError(f"attribute {attribute.name!r} is malformed: {first_line(error)}") from error


def _op_name(proto: onnx.NodeProto) -> str:
    return proto.op_type if proto.domain in STANDARD_DOMAINS else f"{proto.domain}.{proto.op_type}"
