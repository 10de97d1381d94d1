"""An ONNX graph as a reader of Q/DQ patterns needs it: who makes and who reads a value, and what is constant."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgelane.export.compiler.inference import dtype_name

Array = npt.NDArray[Any]

ACTIVATION_FUNCTIONS = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Mish", "Gelu", "Swish",
    "Softplus",
)  # fmt: skip
# TensorRT moves DQ forward and Q backward over these, so that a layer behind them reads int8 all the same.
COMMUTING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout")
MOVING = ("Pad", "Resize", "Upsample", "Concat", "Slice", "Split", "Gather", "DepthToSpace", "SpaceToDepth")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SAME_VALUES = ("Identity", "Transpose", "Reshape", "Cast")


@dataclass(frozen=True)
class Parameters:
    """Of a QuantizeLinear or DequantizeLinear node; None for what is computed at run time."""

    scale: Array | None
    zero_point: Array | None  # None where there is none, which means 0
    dtype: str  # of the integers


@dataclass(frozen=True)
class Weight:
    """The constant weights of a layer."""

    values: Array  # as stored: integers where they are quantised
    output_axis: int  # of the output channels in `values`
    dequantizer: onnx.NodeProto | None
    scales: int  # how many
    axis: int | None  # that the scales run along, in `values`; None where a Transpose or Reshape stands behind

    @property
    def quantized(self) -> bool:
        """Whether a DequantizeLinear stands between the constant and the layer."""
        return self.dequantizer is not None


class View:
    """The nodes of the main graph with names, producers, readers and constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.opset = max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=1)
        self.names = [node.name or f"{node.op_type}_{index}" for index, node in enumerate(self.nodes)]
        self._name_of = {id(node): name for node, name in zip(self.nodes, self.names, strict=True)}
        self._producers = {value: node for node in self.nodes for value in node.output if value}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for value in dict.fromkeys(node.input):
                self._readers[value].append(node)
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._arrays: dict[str, Array] = {}
        self.outputs = {info.name for info in model.graph.output}
        self._int8_inputs = {
            info.name: {2: "uint8", 3: "int8"}[info.type.tensor_type.elem_type]
            for info in model.graph.input
            if info.type.tensor_type.elem_type in (2, 3) and info.name not in self._initializers
        }

    @property
    def quantized(self) -> bool:
        """Whether any node quantises or computes in integers."""
        words = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantize")
        return any(node.op_type.startswith(words) or node.op_type == "QGemm" for node in self.nodes)

    def name(self, node: onnx.NodeProto) -> str:
        """The node's name, or its operator and position."""
        return self._name_of[id(node)]

    def producer(self, value: str) -> onnx.NodeProto | None:
        """The node that computes `value`; None for inputs and initialisers."""
        return self._producers.get(value)

    def readers(self, value: str) -> list[onnx.NodeProto]:
        """The nodes that read `value`."""
        return self._readers.get(value, [])

    def constant(self, value: str) -> Array | None:
        """The constant that `value` is, through Identity, or None."""
        node = self._producers.get(value)
        while node is not None and node.op_type == "Identity":
            value = node.input[0]
            node = self._producers.get(value)
        if value in self._arrays:
            return self._arrays[value]
        tensor = self._initializers.get(value)
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
        if tensor is None:
            return None
        array = self._arrays[value] = np.asarray(numpy_helper.to_array(tensor))
        return array

    def parameters(self, node: onnx.NodeProto) -> Parameters:
        """Scale, zero point and type of a QuantizeLinear or DequantizeLinear node."""
        scale = self.constant(node.input[1])
        has_zero = len(node.input) > 2 and node.input[2]
        zero = self.constant(node.input[2]) if has_zero else None
        if zero is not None:
            dtype = str(zero.dtype)
        elif node.op_type == "QuantizeLinear":
            dtype = dtype_name(_attribute(node, "output_dtype", 0) or onnx.TensorProto.UINT8)
        else:
            dtype = self._integer_type(node.input[0])
        return Parameters(scale, zero, dtype)

    def _integer_type(self, value: str) -> str:
        constant, before = self.constant(value), self.producer(value)
        if constant is not None:
            return str(constant.dtype)
        if before is not None and before.op_type == "QuantizeLinear":
            return self.parameters(before).dtype
        return self._int8_inputs.get(value, "int8")

    def is_int8(self, value: str) -> bool:
        """Whether `value` is what a QuantizeLinear node writes, or an integer input of the model."""
        before = self.producer(value)
        return value in self._int8_inputs or (before is not None and before.op_type == "QuantizeLinear")

    def is_float(self, node: onnx.NodeProto) -> bool:
        """Whether a node that moves values moves real ones: none of them is quantised."""
        return not any(self.is_int8(value) for value in node.input)

    def from_constant(self, node: onnx.NodeProto) -> bool:
        """Whether a DequantizeLinear reads what was quantised from a constant."""
        before = self.producer(node.input[0])
        return before is not None and before.op_type == "QuantizeLinear" and self.constant(before.input[0]) is not None

    def dequantizer(self, value: str, commuting: bool = False) -> onnx.NodeProto | None:
        """The DequantizeLinear of an activation that computes `value`, if any; `commuting`: through COMMUTING nodes."""
        node = self.producer(value)
        while commuting and node is not None and node.op_type in COMMUTING:
            node = self.producer(node.input[0])
        if node is None or node.op_type != "DequantizeLinear":
            return None
        return None if self.constant(node.input[0]) is not None or self.from_constant(node) else node

    def mover(self, value: str) -> onnx.NodeProto | None:
        """The MOVING node that computes `value` from dequantised values, through COMMUTING ones."""
        node = self.producer(value)
        while node is not None and node.op_type in COMMUTING:
            node = self.producer(node.input[0])
        if node is None or node.op_type not in MOVING:
            return None
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        found = any(self.dequantizer(source, commuting=True) or self.mover(source) for source in sources)
        return node if found else None

    def int8_layer(self, value: str) -> bool:
        """Whether `value` is the float result of a layer (and BatchNorm) whose input and weights were dequantised."""
        node = self.producer(value)
        if node is not None and node.op_type == "BatchNormalization":
            node = self.producer(node.input[0])
        weight = self.weight(node) if node is not None else None
        if node is None or weight is None or not weight.quantized:
            return False
        return self.dequantizer(node.input[0], commuting=True) is not None

    def becomes_int8(self, node: onnx.NodeProto) -> bool:
        """Whether the node's result is quantised, at once or behind an activation function: else it is float anyway."""
        readers = self.readers(node.output[0])
        functions = [reader for reader in readers if reader.op_type in ACTIVATION_FUNCTIONS]
        return any(reader.op_type == "QuantizeLinear" for reader in readers) or any(map(self.becomes_int8, functions))

    def rounded_bias(self, node: onnx.NodeProto) -> bool:
        """Whether an int8 layer has a float bias that is no multiple of input scale times weight scale.

        Sums of int8 products are such multiples, so a bias that is added to them as an integer is rounded to one.
        """
        bias = self.constant(node.input[2]) if len(node.input) > 2 else None
        weight, source = self.weight(node), self.dequantizer(node.input[0], commuting=True)
        if node.op_type == "ConvTranspose" or bias is None or weight is None or source is None:
            return False
        if weight.dequantizer is None:
            return False
        scales = self.parameters(source).scale, self.parameters(weight.dequantizer).scale
        if scales[0] is None or scales[1] is None or scales[1].size not in (1, bias.size):
            return False
        steps = bias.astype(np.float64) / (scales[0].astype(np.float64) * scales[1].reshape(-1))
        # A float32 cannot say where between two large multiples it lies.
        return bool(np.any(np.abs(steps - np.rint(steps)) > 1e-3 + 1e-6 * np.abs(steps)))

    def group(self, node: onnx.NodeProto) -> int:
        """The groups of a convolution."""
        return _attribute(node, "group", 1)

    def weight(self, node: onnx.NodeProto) -> Weight | None:
        """The weights of a layer; None for other nodes, and where they are computed at run time."""
        if node.op_type not in WEIGHTED or len(node.input) < 2:
            return None
        if node.op_type in ("Conv", "ConvTranspose"):
            output_axis = 0 if node.op_type == "Conv" else 1
        else:
            output_axis = 0 if node.op_type == "Gemm" and _attribute(node, "transB", 0) else 1
        value, moved, dequantizer = node.input[1], 0, None
        while self.constant(value) is None:
            before = self.producer(value)
            if before is None:
                return None
            if before.op_type in SAME_VALUES:
                moved += before.op_type in ("Transpose", "Reshape")
            elif before.op_type == "DequantizeLinear":
                dequantizer = before
            elif before.op_type != "QuantizeLinear":
                return None
            value = before.input[0]
        values = self.constant(value)
        assert values is not None
        if moved and values.ndim == 2:  # a Transpose: what were columns are rows
            output_axis = 1 - output_axis
        scales, axis = 1, None
        if dequantizer is not None:
            scale = self.parameters(dequantizer).scale
            scales = scale.size if scale is not None else 1
            if not moved or values.ndim == 2:
                axis = _attribute(dequantizer, "axis", 1) % max(values.ndim, 1)
        if output_axis >= values.ndim:
            return None
        return Weight(values, output_axis, dequantizer, scales, axis)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)
