"""Rewrites QLinear operators as float operators between Q/DQ, so that one path serves both styles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelane.errors import EdgelaneError

MICROSOFT = "com.microsoft"


class _Expander:
    """Builds the nodes that stand for one QLinear node."""

    def __init__(self, node: onnx.NodeProto, prefix: str) -> None:
        self.node = node
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.added: list[onnx.TensorProto] = []

    def arg(self, index: int) -> str:
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def emit(self, op: str, inputs: list[str], suffix: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{self.prefix}.{suffix}"
        name = self.node.name or self.prefix
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{name}.{suffix}", **attributes))
        return output

    def real(self, first: int, suffix: str, axis: int | None = None) -> str:
        """Dequantise the three inputs value, scale, zero point that begin at `first`."""
        inputs = [self.arg(first), self.arg(first + 1)] + ([self.arg(first + 2)] if self.arg(first + 2) else [])
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.emit("DequantizeLinear", inputs, suffix, **attributes)

    def quantized(self, value: str, first: int) -> None:
        """Quantise `value` with scale and zero point at `first` into the output of the node."""
        inputs = [value, self.arg(first)] + ([self.arg(first + 1)] if self.arg(first + 1) else [])
        self.emit("QuantizeLinear", inputs, "quantize", str(self.node.output[0]))

    def bias(self, index: int, x_scale: int, w_scale: int, alpha: float = 1.0) -> str:
        """Dequantise an int32 bias, whose scale is alpha times that of the input times that of the weights."""
        scale = self.emit("Mul", [self.arg(x_scale), self.arg(w_scale)], "bias_scale")
        if alpha != 1.0:
            factor = f"{self.prefix}.alpha"
            self.added.append(numpy_helper.from_array(np.float32(alpha), factor))
            scale = self.emit("Mul", [scale, factor], "bias_alpha")
        return self.emit("DequantizeLinear", [self.arg(index), scale], "bias", axis=0)

    def attributes(self, *without: str) -> dict[str, Any]:
        return {a.name: helper.get_attribute_value(a) for a in self.node.attribute if a.name not in without}


def _conv(e: _Expander) -> None:
    inputs = [e.real(0, "x"), e.real(3, "weight", axis=0)]
    if e.arg(8):
        inputs.append(e.bias(8, 1, 4))
    e.quantized(e.emit("Conv", inputs, "conv", **e.attributes()), 6)


def _matmul(e: _Expander) -> None:
    e.quantized(e.emit("MatMul", [e.real(0, "a"), e.real(3, "b", axis=1)], "matmul"), 6)


def _gemm(e: _Expander) -> None:
    axis = 0 if e.attributes().get("transB", 0) else 1
    inputs = [e.real(0, "a"), e.real(3, "b", axis=axis)]
    if e.arg(6):
        inputs.append(e.bias(6, 1, 4, float(e.attributes().get("alpha", 1.0))))
    if not e.arg(7):
        e.emit("Gemm", inputs, "gemm", str(e.node.output[0]), **e.attributes())
        return
    e.quantized(e.emit("Gemm", inputs, "gemm", **e.attributes()), 7)


def _binary(e: _Expander) -> None:
    op = "Add" if e.node.op_type == "QLinearAdd" else "Mul"
    e.quantized(e.emit(op, [e.real(0, "a"), e.real(3, "b")], op.lower()), 6)


def _unary(op: str) -> Callable[[_Expander], None]:
    def expand(e: _Expander) -> None:
        e.quantized(e.emit(op, [e.real(0, "x")], op.lower(), **e.attributes("channels_last", "opset")), 3)

    return expand


def _concat(e: _Expander) -> None:
    parts = [e.real(first, f"part{first // 3}") for first in range(2, len(e.node.input), 3)]
    e.quantized(e.emit("Concat", parts, "concat", **e.attributes()), 0)


EXPANSIONS: dict[tuple[str, str], Callable[[_Expander], None]] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "QLinearAdd"): _binary,
    (MICROSOFT, "QLinearMul"): _binary,
    (MICROSOFT, "QLinearConcat"): _concat,
    (MICROSOFT, "QLinearGlobalAveragePool"): _unary("GlobalAveragePool"),
    (MICROSOFT, "QLinearAveragePool"): _unary("AveragePool"),
    (MICROSOFT, "QLinearSigmoid"): _unary("Sigmoid"),
    (MICROSOFT, "QLinearLeakyRelu"): _unary("LeakyRelu"),
    (MICROSOFT, "QLinearSoftmax"): _unary("Softmax"),
}
# ONNX Runtime writes these standard operators in its own domain too.
SAME_AS_STANDARD = ("QuantizeLinear", "DequantizeLinear", "Gelu")


def expand_qlinear(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its QLinear operators expanded; the model itself where it has none."""
    graph = model.graph
    if not any(_key(node) in EXPANSIONS or node.domain == MICROSOFT for node in graph.node):
        return model
    nodes: list[onnx.NodeProto] = []
    added: list[onnx.TensorProto] = []
    for index, node in enumerate(graph.node):
        expand = EXPANSIONS.get(_key(node))
        if expand is None or _channels_last(node):
            if node.domain == MICROSOFT and node.op_type in SAME_AS_STANDARD:
                node = _copy(node)
                node.domain = ""
            nodes.append(node)
            continue
        expander = _Expander(node, f"{node.name or node.op_type}.{index}")
        try:
            expand(expander)
        except (IndexError, ValueError, TypeError) as error:  # no schema of onnx covers these nodes
            raise EdgelaneError(f"node {node.name or node.op_type} ({node.op_type}) is malformed: {error}") from error
        nodes += expander.nodes
        added += expander.added
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(added)
    return result


def _key(node: onnx.NodeProto) -> tuple[str, str]:
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type)


def _channels_last(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
