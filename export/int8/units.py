"""What each operator is to int8. One unit is one node, or a few that int8 has to take as one:

- a layer and the addition of its bias;
- an activation function that the exporter wrote as several operators: a product (or sum) of values that all follow from
  one value by element-wise functions, as x * sigmoid(x), x * clip(x + 3, 0, 6) / 6 or x * (1 + erf(x / sqrt 2)) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from edgelane.export.int8.fold import is_spatial_mean
from edgelane.export.int8.network import Network, attribute, is_standard

FUNCTIONS = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "Mish", "Swish",
)  # fmt: skip
_ONLY_INSIDE = ("Softplus", "Erf", "Pow")  # of activation functions in pieces; alone they are no int8 operator
_JOINS, _ARITHMETIC = ("Mul", "Add"), ("Add", "Sub", "Mul", "Div")
_MOVES = (
    "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout", "DepthToSpace", "SpaceToDepth",
    "Slice",
)  # fmt: skip
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(eq=False)
class Layer:
    """A convolution or linear layer with constant weights.

    name: as in the torch model where the weights carry its name, else the node's. reason: why it cannot be int8, or "".
    axis: of the output channels in the weights. bias: the name of its constant, or "".
    """

    name: str
    node: onnx.NodeProto
    input: str
    output: str
    weight: str
    bias: str
    axis: int
    reason: str = ""
    add: onnx.NodeProto | None = None  # that adds the bias to a MatMul


@dataclass(eq=False)
class Unit:
    """kind: weight, add, multiply, concat, pool, move, split, activation or other. reads: the activations it takes."""

    kind: str
    nodes: list[onnx.NodeProto]
    reads: list[str]
    outputs: list[str]
    layer: Layer | None = field(default=None)


def units_of(network: Network) -> list[Unit]:
    """All nodes of the network as units, in an order in which values are made before they are read."""
    grouped = _FunctionsInPieces(network)
    found: list[Unit] = []
    inside: set[int] = set()  # nodes of units that end in another node
    names: set[str] = set()
    for index, node in enumerate(network.nodes):
        if id(node) in inside or (id(node) in grouped.members and id(node) not in grouped.ends):
            continue
        if id(node) in grouped.ends:
            source, nodes = grouped.ends[id(node)]
            found.append(Unit("activation", nodes, [source], [node.output[0]]))
            continue
        layer = _layer(node, index, network, names)
        if layer is None:
            found.append(_unit(node, network))
            continue
        nodes = [node]
        if layer.add is not None:
            inside.add(id(layer.add))
            nodes.append(layer.add)
        kind = "other" if layer.reason else "weight"
        found.append(Unit(kind, nodes, [layer.input], [layer.output], layer))
    return found


def _unit(node: onnx.NodeProto, network: Network) -> Unit:
    kind, reads = _kind(node, network)
    return Unit(kind, [node], reads, [output for output in node.output if output])


def _kind(node: onnx.NodeProto, network: Network) -> tuple[str, list[str]]:
    operands = [value for value in node.input if value and not network.is_constant(value)]
    first = operands[:1]
    if not is_standard(node) or not first or not all(map(network.is_float, first)):
        return "other", []
    op = node.op_type
    if op in ("Add", "Mul") or (op == "Sum" and len(node.input) == 2):
        tensors = (
            len(operands) == 2 and all(map(network.is_float, operands)) and not any(map(network.is_scalar, operands))
        )
        return ("multiply" if op == "Mul" else "add", operands) if tensors else ("other", [])
    if op == "Concat":
        return ("concat", operands) if len(operands) == len(node.input) else ("other", [])
    if op in ("AveragePool", "GlobalAveragePool") or (op == "ReduceMean" and is_spatial_mean(node, network)):
        return "pool", first
    if op == "Split":
        return "split", first
    if op in FUNCTIONS:
        return ("activation", first) if operands == first else ("other", [])
    return ("move", first) if _moves(node, network) else ("other", [])


def _moves(node: onnx.NodeProto, network: Network) -> bool:
    """Whether a node only picks or places elements, so that its result has the scale of its input."""
    op = node.op_type
    if op in _MOVES or op == "MaxPool":
        return len([output for output in node.output if output]) == 1
    if op == "Resize":
        return bool(attribute(node, "mode", "nearest") == "nearest")
    if op == "Pad":
        value = network.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        zeros = value is not None and not np.any(value)
        return bool(attribute(node, "mode", "constant") != "constant" or zeros)
    return False


def _layer(node: onnx.NodeProto, index: int, network: Network, names: set[str]) -> Layer | None:
    """The layer that a node is, int8 or not, where its weights are constants."""
    if not is_standard(node) or node.op_type not in _LAYERS or len(node.input) < 2:
        return None
    weight = network.constant(node.input[1])
    if weight is None or network.is_constant(node.input[0]) or weight.ndim < 2:
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    layer = Layer("", node, node.input[0], node.output[0], node.input[1], bias, 0)
    if node.op_type == "MatMul":
        layer.axis = weight.ndim - 1
        _find_bias(layer, network, weight.shape[-1])
    elif node.op_type == "Gemm":
        layer.axis = 0 if attribute(node, "transB", 0) else 1
    elif node.op_type == "ConvTranspose":
        layer.axis = 1
    layer.reason = _reason(layer, network)
    layer.name = _name(layer, index, names)
    return layer


def _find_bias(layer: Layer, network: Network, channels: int) -> None:
    """The addition of a constant per output channel that alone reads a MatMul."""
    add = network.only_reader(layer.output)
    if add is None or not is_standard(add) or add.op_type != "Add":
        return
    other = next((value for value in add.input if value != layer.output), "")
    constant = network.constant(other)
    if constant is None or constant.dtype != np.float32 or constant.size != channels:
        return
    if constant.shape[-1:] == (channels,):
        layer.add, layer.bias, layer.output = add, other, add.output[0]


def _reason(layer: Layer, network: Network) -> str:
    """Why a layer cannot be int8; "" where it can."""
    node, weight = layer.node, network.constant(layer.weight)
    assert weight is not None
    if weight.dtype != np.float32:
        return f"its weights are {weight.dtype}"
    if node.op_type == "ConvTranspose":
        return "transposed convolutions have no int8 kernels"
    if node.op_type == "Conv" and weight.ndim != 4:
        return f"only convolutions over height and width are int8, its weights have {weight.ndim} dimensions"
    if node.op_type == "MatMul" and weight.ndim != 2:
        return f"its weights have {weight.ndim} dimensions, expected 2"
    if node.op_type == "Gemm" and any(attribute(node, key, 1.0) != 1 for key in ("alpha", "beta")):
        return "it has alpha or beta and constants that are not its own"
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return "it transposes its input"
    if layer.bias:
        bias = network.constant(layer.bias)
        if bias is None or bias.dtype != np.float32 or bias.size != weight.shape[layer.axis]:
            return "its bias is no constant per output channel"
    return ""


def _name(layer: Layer, index: int, names: set[str]) -> str:
    """The torch name of a layer from that of its weights, or the node's name; unique."""
    module = layer.weight.removesuffix(".weight")
    own = layer.node.name or f"{layer.node.op_type}_{index}"
    name = module if module != layer.weight and module not in names else own
    count, base = 1, name
    while name in names:
        count += 1
        name = f"{base}_{count}"
    names.add(name)
    return name


class _FunctionsInPieces:
    """Groups of nodes that are one activation function together.

    members: ids of their nodes. ends: by the id of the last node, the value that the function is of, and all nodes.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.members: set[int] = set()
        self.ends: dict[int, tuple[str, list[onnx.NodeProto]]] = {}
        self._before: dict[
            str, tuple[str, list[onnx.NodeProto]]
        ] = {}  # value -> what it is a function of, by which nodes
        for node in network.nodes:
            step = self._function(node)
            if step is not None:
                self._before[node.output[0]] = (step, [node])
            elif is_standard(node) and node.op_type in _JOINS and len(node.input) == 2:
                self._join(node)
        self._settle()

    def _function(self, node: onnx.NodeProto) -> str | None:
        """The value of which a node alone is an element-wise function."""
        if not is_standard(node) or len(node.output) != 1:
            return None
        operands: list[str] = [value for value in node.input if value and not self.network.is_constant(value)]
        if len(operands) != 1 or not self.network.is_float(operands[0]):
            return None
        if node.op_type in (*FUNCTIONS, *_ONLY_INSIDE):
            return operands[0]
        constants = [self.network.constant(value) for value in node.input if value and value != operands[0]]
        scalar = node.op_type in _ARITHMETIC and all(value is not None and value.size == 1 for value in constants)
        return operands[0] if scalar and len(node.input) == 2 else None

    def _join(self, node: onnx.NodeProto) -> None:
        """A product of two functions of one value, whose intermediate values nothing else reads."""
        paths = [self._path(value) for value in node.input]
        common = [value for value in paths[0] if value in paths[1]]
        if not common or node.input[0] == node.input[1]:
            return
        nodes: dict[int, onnx.NodeProto] = {id(node): node}
        for path in paths:
            for value in path[: path.index(common[0])]:
                nodes.update({id(inner): inner for inner in self._before[value][1]})
        made = {value for inner in nodes.values() for value in inner.output} - set(node.output)
        if made & set(self.network.outputs):
            return
        if any(id(reader) not in nodes for value in made for reader in self.network.readers[value]):
            return
        self._before[node.output[0]] = (common[0], list(nodes.values()))

    def _path(self, value: str) -> list[str]:
        """`value`, what it is a function of, what that is a function of, and so on."""
        path = [value]
        while path[-1] in self._before:
            path.append(self._before[path[-1]][0])
        return path

    def _settle(self) -> None:
        """The largest groups, a constant factor behind them included."""
        for node in reversed(self.network.nodes):
            if id(node) in self.members or not node.output or node.output[0] not in self._before:
                continue
            source, nodes = self._before[node.output[0]]
            if len(nodes) == 1 and node.op_type in ("Mul", "Div"):  # a factor behind a group
                before = self._before.get(source)
                if before is not None and len(before[1]) > 1 and self.network.only_reader(source) is node:
                    source, nodes = before[0], [*before[1], node]
            if len(nodes) > 1:
                self.members.update(map(id, nodes))
                self.ends[id(node)] = (source, nodes)
