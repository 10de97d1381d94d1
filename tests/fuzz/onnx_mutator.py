"""Changes small ONNX models so that most of them are still read: fields, shapes, constants, attributes and wiring."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from edgelane.export.compiler.folding import FOLDABLE
from edgelane.export.compiler.lowering import LOWERINGS

# What the compiler must refuse or survive: graphs inside nodes, sequences, texts, decoders, loops.
REFUSED = (
    "If Loop Scan Bernoulli RandomNormal LSTM GRU ImageDecoder StringSplit StringNormalizer RegexFullMatch "
    "SequenceEmpty SequenceConstruct SplitToSequence Optional TfIdfVectorizer Einsum DFT MelWeightMatrix "
    "BlackmanWindow DeformConv QLinearConv QLinearMatMul QGemm QLinearAdd QLinearConcat QLinearSigmoid Attention "
    "NoSuchOperator"
)
OPS = sorted({*LOWERINGS, *FOLDABLE, *REFUSED.split()})
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 16, 17, 64, 65, 1000, 65536, 2**20, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"), 1e10)
TEXTS = ("", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "linear", "cubic", "nearest", "reflect", "edge", "constant")
TEXTS += ("half_pixel", "asymmetric", "align_corners", "floor", "ceil", "CRD", "tanh", "none", "x\ny\x00", "ä" * 300)
DATA = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


class Mutator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def size(self) -> int:
        small = self.random.randrange(12)
        value = self.random.choice(SIZES) if self.random.random() < 0.25 else small
        return -value if self.random.random() < 0.15 else value

    def mutate(self, model: ModelProto) -> None:
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 5))):
            self.random.choice(CHANGES)(self, model)

    def graph(self, model: ModelProto) -> GraphProto:
        """The model's graph, or sometimes one inside it."""
        inner = [attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")]
        return self.random.choice(inner) if inner and self.random.random() < 0.4 else model.graph

    def name(self, graph: GraphProto) -> str:
        """A value's name that means something in the graph, or nearly."""
        names = [info.name for info in graph.input] + [tensor.name for tensor in graph.initializer]
        names += [output for node in graph.node for output in node.output]
        return self.random.choice([*names, "", "nothing"])

    def node(self, model: ModelProto) -> NodeProto:
        nodes = self.graph(model).node or model.graph.node
        return self.random.choice(nodes) if nodes else model.graph.node.add()

    # ---- nodes ----

    def change_op(self, model: ModelProto) -> None:
        node = self.node(model)
        node.op_type = self.random.choice(OPS)
        if self.random.random() < 0.1:
            node.domain = self.random.choice(("com.microsoft", "ai.onnx", "ai.onnx.ml", "local"))

    def change_wiring(self, model: ModelProto) -> None:
        graph = self.graph(model)
        node = self.random.choice(graph.node) if graph.node else graph.node.add()
        target = node.input if self.random.random() < 0.7 else node.output
        kind = self.random.randrange(5)
        if kind == 0 or not target:
            target.append(self.name(graph))
        elif kind == 1:
            del target[self.random.randrange(len(target))]
        elif kind == 2:
            target.extend([self.random.choice(target)] * self.random.choice((1, 2, 300)))
        else:
            target[self.random.randrange(len(target))] = self.name(graph)

    def change_attribute(self, model: ModelProto) -> None:
        node = self.node(model)
        schema_names: list[str] = []
        if onnx.defs.has(node.op_type):
            schema_names = sorted(onnx.defs.get_schema(node.op_type).attributes)
        if node.attribute and self.random.random() < 0.7:
            attribute = self.random.choice(node.attribute)
        else:
            attribute = node.attribute.add()
            attribute.name = self.random.choice([*schema_names, "axis", "value"])
            attribute.type = self.random.randrange(1, 8)
        kind = self.random.randrange(10)
        if kind == 0:
            attribute.name = self.random.choice([*schema_names, "", "axis"])
        elif kind == 1:
            attribute.type = self.random.randrange(0, 15)
        elif kind == 2:
            node.attribute.add().CopyFrom(attribute)
        elif kind == 3:
            node.attribute.remove(attribute)
        elif kind == 4 and attribute.HasField("t"):
            self.change_tensor(attribute.t)
        else:
            self.set_attribute(attribute)

    def set_attribute(self, attribute: AttributeProto) -> None:
        if attribute.type == AttributeProto.FLOAT:
            attribute.f = self.random.choice(REALS)
        elif attribute.type == AttributeProto.FLOATS:
            attribute.floats[:] = [self.random.choice(REALS) for _ in range(self.random.randrange(6))]
        elif attribute.type == AttributeProto.STRING:
            attribute.s = self.random.choice((*(text.encode() for text in TEXTS), b"\xff\xfe"))
        elif attribute.type == AttributeProto.STRINGS:
            attribute.strings[:] = [self.random.choice(TEXTS).encode() for _ in range(self.random.randrange(4))]
        elif attribute.type == AttributeProto.INTS:
            if attribute.ints and self.random.random() < 0.7:
                attribute.ints[self.random.randrange(len(attribute.ints))] = self.size()
            else:
                attribute.ints[:] = [self.size() for _ in range(self.random.choice((0, 1, 2, 4, 5, 8)))]
        elif attribute.type == AttributeProto.TENSOR:
            shape = [self.random.randrange(4) for _ in range(self.random.randrange(3))]
            attribute.t.CopyFrom(helper.make_tensor("t", TensorProto.INT64, shape, [1] * _product(shape)))
            self.change_tensor(attribute.t)
        else:
            attribute.i = self.size()

    def move_node(self, model: ModelProto) -> None:
        graph = self.graph(model)
        if not graph.node:
            return
        node = NodeProto()
        node.CopyFrom(self.random.choice(graph.node))
        kind = self.random.randrange(3)
        if kind == 0:  # once more, under other names, on its own results
            source = list(node.output)
            node.output[:] = [f"{output}.{self.random.randrange(1000)}" for output in source]
            if node.input and source:
                node.input[0] = source[0]
            graph.node.append(node)
            if self.random.random() < 0.7 and graph.output and node.output:
                graph.output[0].name = node.output[0]
                _declare(graph.output[0])
        else:
            graph.node.remove(self.random.choice(graph.node))
            if kind == 1:
                graph.node.insert(self.random.randrange(len(graph.node) + 1), node)

    def nest(self, model: ModelProto) -> None:
        """Put a node into the branches of an If, or into a local function."""
        graph = self.graph(model)
        if not graph.node:
            return
        node = self.random.choice(graph.node)
        inner = NodeProto()
        inner.CopyFrom(node)
        if self.random.random() < 0.5:
            outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in inner.output]
            branch = helper.make_graph([inner], "branch", [], outputs)
            node.op_type, condition = "If", self.name(graph)
            del node.attribute[:]
            node.input[:] = [condition]
            for name in ("then_branch", "else_branch"):
                node.attribute.append(helper.make_attribute(name, branch))
        else:
            function = model.functions.add(name="f" + str(self.random.randrange(3)), domain="local")
            function.input[:], function.output[:] = list(dict.fromkeys(inner.input)), list(inner.output)
            function.node.append(inner)
            function.opset_import.extend(model.opset_import)
            if self.random.random() < 0.5:
                function.node.add(op_type="f" + str(self.random.randrange(3)), domain="local", output=["z"])
            node.op_type, node.domain = function.name, "local"
            del node.attribute[:]
            if all(entry.domain != "local" for entry in model.opset_import):
                model.opset_import.add(domain="local", version=1)

    # ---- tensors ----

    def change_constant(self, model: ModelProto) -> None:
        graph = self.graph(model)
        if graph.initializer:
            self.change_tensor(self.random.choice(graph.initializer))

    def change_tensor(self, tensor: TensorProto) -> None:
        kind = self.random.randrange(8)
        if kind == 0:
            tensor.data_type = self.random.randrange(0, 28)
        elif kind == 1:
            tensor.raw_data = tensor.raw_data[: self.random.randrange(len(tensor.raw_data) + 1)]
        elif kind == 2:
            tensor.data_location = TensorProto.EXTERNAL
            for key in ("location", "offset", "length"):
                if self.random.random() < 0.8:
                    places = ("model.onnx", "../x", "/etc/hostname", "*/_ORT_MEM_ADDR_/*", "", "a\x00b")
                    value = self.random.choice(places) if key == "location" else str(self.size())
                    tensor.external_data.add(key=key, value=value)
        elif kind == 3 and tensor.dims:
            tensor.dims[self.random.randrange(len(tensor.dims))] = self.size()
        elif kind == 4:
            tensor.dims[:] = [self.size() for _ in range(self.random.choice((0, 1, 2, 4, 7, 40)))]
        else:
            self.change_values(tensor)

    def change_values(self, tensor: TensorProto) -> None:
        wide = tensor.data_type in (TensorProto.INT64, TensorProto.FLOAT, TensorProto.INT32)
        if tensor.raw_data and wide:
            width = 8 if tensor.data_type == TensorProto.INT64 else 4
            data, count = bytearray(tensor.raw_data), len(tensor.raw_data) // width
            for _ in range(self.random.choice((1, 2, count))):
                if count:
                    at = self.random.randrange(count) * width
                    data[at : at + width] = (self.size() % 2 ** (8 * width)).to_bytes(width, "little")
            tensor.raw_data = bytes(data)
            return
        for name in DATA:
            values = getattr(tensor, name)
            if values:
                values[self.random.randrange(len(values))] = self.size() % 2**31

    def repair_tensor(self, model: ModelProto) -> None:
        """Give a constant another shape together with the data for it."""
        graph = self.graph(model)
        if not graph.initializer:
            return
        tensor = self.random.choice(graph.initializer)
        shape = list(tensor.dims) or [1]
        shape[self.random.randrange(len(shape))] = self.random.randrange(1, 12)
        width = {TensorProto.INT64: 8, TensorProto.FLOAT: 4, TensorProto.INT32: 4}.get(tensor.data_type, 1)
        if 0 <= _product(shape) <= 10_000:
            old = tensor.raw_data or b"\1"
            tensor.dims[:] = shape
            tensor.raw_data = (old * (_product(shape) * width // len(old) + 1))[: _product(shape) * width]

    # ---- what surrounds the nodes ----

    def change_interface(self, model: ModelProto) -> None:
        graph = model.graph
        infos = list(graph.input) + list(graph.output)
        if not infos:
            return
        info = self.random.choice(infos)
        dims = info.type.tensor_type.shape.dim
        kind = self.random.randrange(7)
        if kind == 0:
            info.type.tensor_type.elem_type = self.random.randrange(0, 28)
        elif kind == 1:
            info.name = self.name(graph)
        elif kind == 2:
            info.ClearField("type")
        elif kind == 3:
            dims.add().dim_value = self.size()
        elif kind == 4 and dims:
            del dims[self.random.randrange(len(dims))]
        elif kind == 5 and dims:
            self.random.choice(dims).dim_param = self.random.choice(("n", "", "h\nw"))
        elif dims:
            self.random.choice(dims).dim_value = self.size()

    def change_model(self, model: ModelProto) -> None:
        kind = self.random.randrange(7)
        if kind == 0 and model.opset_import:
            self.random.choice(model.opset_import).version = self.random.choice((*range(8, 28), self.size()))
        elif kind == 1:
            model.ir_version = self.random.choice((*range(1, 14), self.size()))
        elif kind == 2:
            values = ('["a"]', "[", "[" * 3000, "1e999", "NaN", '{"a": 1}', "\x00")
            key = self.random.choice(("edgelane.classes", "edgelane.preprocessing", "edgelane.task", "other"))
            model.metadata_props.add(key=key, value=self.random.choice(values))
        elif kind == 3:
            info = model.graph.output.add()
            info.name = self.name(model.graph)
            _declare(info)
        elif kind == 4:
            model.opset_import.add(domain=self.random.choice(("", "ai.onnx", "x")), version=self.random.randrange(30))
        elif kind == 5 and len(model.graph.output) > 1:
            del model.graph.output[self.random.randrange(len(model.graph.output))]
        else:
            info = model.graph.value_info.add()
            info.name = self.name(model.graph)
            info.type.tensor_type.elem_type = self.random.randrange(1, 17)
            info.type.tensor_type.shape.dim.add().dim_value = self.size()

    # ---- two models ----

    def join(self, first: ModelProto, second: ModelProto) -> None:
        """Append the second model's graph to the first's, reading one of its values in place of an input."""
        prefix = f"m{self.random.randrange(1000)}."
        graph, other = first.graph, GraphProto()
        other.CopyFrom(second.graph)
        names = {info.name: prefix + info.name for info in other.input}
        names |= {tensor.name: prefix + tensor.name for tensor in other.initializer}
        names |= {output: prefix + output for node in other.node for output in node.output}
        if other.input:
            names[other.input[0].name] = self.name(graph)
            del other.input[0]
        for node in other.node:
            node.input[:] = [names.get(source, source) for source in node.input]
            node.output[:] = [names.get(output, output) for output in node.output]
        for entry in (*other.input, *other.initializer, *other.output):
            entry.name = names.get(entry.name, entry.name)
        graph.node.extend(other.node)
        graph.initializer.extend(other.initializer)
        graph.input.extend(other.input)
        if self.random.random() < 0.7:
            del graph.output[:]
        for info in other.output:
            _declare(info)
        graph.output.extend(other.output)


CHANGES: tuple[Callable[[Mutator, ModelProto], None], ...] = (
    Mutator.change_op,
    Mutator.change_wiring,
    Mutator.change_attribute,
    Mutator.change_attribute,
    Mutator.change_attribute,
    Mutator.move_node,
    Mutator.nest,
    Mutator.change_constant,
    Mutator.change_constant,
    Mutator.repair_tensor,
    Mutator.change_interface,
    Mutator.change_interface,
    Mutator.change_model,
)


def _declare(info: onnx.ValueInfoProto) -> None:
    """Declare an output as onnx's checker wants it; nobody reads what shape it says."""
    info.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, []))


def _product(shape: list[int]) -> int:
    result = 1
    for dim in shape:
        result *= dim
    return result


def mutated(data: bytes, seed: int) -> bytes | None:
    """Return the model in `data` with some changes; None where it is no model."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        return None
    if len(model.graph.node) > 60:
        return None
    try:
        Mutator(seed).mutate(model)
        return model.SerializeToString()
    except (ValueError, TypeError, AttributeError):  # names that are bytes, numbers that do not fit their fields
        return None


def joined(first: bytes, second: bytes, seed: int) -> bytes | None:
    """Return both models as one; None where either is no model."""
    models = (ModelProto(), ModelProto())
    try:
        for model, data in zip(models, (first, second), strict=True):
            model.ParseFromString(data)
        Mutator(seed).join(*models)
        return models[0].SerializeToString()
    except Exception:
        return None
