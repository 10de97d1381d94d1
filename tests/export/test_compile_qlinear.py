"""QLinear models become int8 steps, and give ONNX Runtime's integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_cases import ops, rng
from qdq_builder import IMAGE, SCALE, QdqBuilder, check


class Qlinear(QdqBuilder):
    """Adds QLinear nodes: every value travels with its scale and zero point."""

    def value(self, x: str, scale: float, zero_point: int = 0) -> list[str]:
        parameters = self.parameters(scale, zero_point)
        return [self.node("QuantizeLinear", x, *parameters), *parameters]

    def integers(self, *shape: int, scales: int) -> list[str]:
        scale = rng(7).uniform(0.002, 0.02, scales) if scales > 1 else 0.01
        zero = np.zeros(scales) if scales > 1 else 0
        values = rng(7).integers(-127, 128, shape)
        return [self.constant(values, "int8"), self.constant(scale, "float32"), self.constant(zero, "int8")]


MS = "com.microsoft"


def qlinear_conv(b: Qlinear, x: list[str], out: tuple[str, str]) -> str:
    bias = b.constant(rng(3).integers(-3000, 3000, 6), "int32")
    return b.node("QLinearConv", *x, *b.integers(6, 8, 3, 3, scales=6), *out, bias, pads=[1, 1, 1, 1])


QLINEAR: dict[str, tuple[tuple[int, ...], float, Callable[[Qlinear, list[str], tuple[str, str]], str], list[str]]] = {
    "QLinearConv": (IMAGE, 0.6, qlinear_conv, ["conv2d"]),
    "QLinearMatMul": (
        (5, 20),
        0.1,
        lambda b, x, out: b.node("QLinearMatMul", *x, *b.integers(20, 7, scales=1), *out),
        ["linear"],
    ),
    "QGemm": (
        (5, 20),
        0.1,
        lambda b, x, out: b.node("QGemm", *x, *b.integers(7, 20, scales=7), "", *out, domain=MS, transB=1),
        ["linear"],
    ),
    "QLinearAdd": (IMAGE, 0.0817, lambda b, x, out: b.node("QLinearAdd", *x, *x, *out, domain=MS), ["binary"]),
    "QLinearMul": (IMAGE, 0.05, lambda b, x, out: b.node("QLinearMul", *x, *x, *out, domain=MS), ["binary"]),
    "QLinearConcat": (
        IMAGE,
        0.04,
        lambda b, x, out: b.node("QLinearConcat", *out, *x, *x, domain=MS, axis=1),
        ["concat"],
    ),
    "QLinearGlobalAveragePool": (
        IMAGE,
        0.004,
        lambda b, x, out: b.node("QLinearGlobalAveragePool", *x, *out, domain=MS, channels_last=0),
        ["global_average_pool"],
    ),
    "QLinearAveragePool": (
        IMAGE,
        0.03,
        lambda b, x, out: b.node("QLinearAveragePool", *x, *out, domain=MS, kernel_shape=[3, 3]),
        ["average_pool2d"],
    ),
    "QLinearSigmoid": (IMAGE, 0.01, lambda b, x, out: b.node("QLinearSigmoid", *x, *out, domain=MS), ["unary"]),
    "QLinearLeakyRelu": (
        IMAGE,
        0.04,
        lambda b, x, out: b.node("QLinearLeakyRelu", *x, *out, domain=MS, alpha=0.1),
        ["unary"],
    ),
    "QLinearSoftmax": (
        (3, 20),
        0.004,
        lambda b, x, out: b.node("QLinearSoftmax", *x, *out, domain=MS, opset=13, axis=-1),
        ["dequantize", "softmax", "quantize"],
    ),
}


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", QLINEAR)
def test_qlinear(name: str, unsigned: bool, tmp_path: Path) -> None:
    shape, scale, build, expected = QLINEAR[name]
    if name == "QLinearSoftmax":
        zero_point = -128  # what ONNX Runtime's kernel takes for granted
        scale = 1 / 256
    else:
        zero_point = -2
    b = Qlinear(unsigned)
    out = b.parameters(scale, zero_point)
    y = build(b, b.value(b.input(*shape), SCALE, 1), out)
    y = b.node("DequantizeLinear", y, *out)
    assert ops(check(b, y, scale, tmp_path, rank=len(shape))) == ["quantize", *expected, "dequantize"]


@pytest.mark.parametrize("oc", [6, 8])
def test_qlinear_convolution_whose_scales_are_computed(oc: int, tmp_path: Path) -> None:
    """Scales that only folding makes known: the bias stays, and the scales belong to the output channels."""
    b = Qlinear()
    values, scales, zeros = b.integers(oc, 8, 3, 3, scales=oc)
    out = b.parameters(0.6, 0)
    bias = b.constant(rng(3).integers(-30000, 30000, oc), "int32")
    x = b.value(b.input(*IMAGE), SCALE, 1)
    x[1] = b.node("Identity", x[1])
    scales = b.node("Mul", scales, b.constant(1.0, "float32"))
    y = b.node("QLinearConv", *x, values, scales, zeros, *out, bias)
    y = b.node("DequantizeLinear", y, *out)
    assert ops(check(b, y, 0.6, tmp_path, rank=4)) == ["quantize", "conv2d", "dequantize"]


def test_qgemm_with_alpha_and_bias(tmp_path: Path) -> None:
    """The bias of a QGemm stands at the scale alpha * a * b."""
    b = Qlinear()
    out = b.parameters(0.05, 0)
    bias = b.constant(rng(3).integers(-3000, 3000, 7), "int32")
    x = b.value(b.input(5, 20), SCALE, 1)
    y = b.node("QGemm", *x, *b.integers(7, 20, scales=7), bias, *out, domain=MS, transB=1, alpha=0.5)
    y = b.node("DequantizeLinear", y, *out)
    assert ops(check(b, y, 0.05, tmp_path, rank=2)) == ["quantize", "linear", "dequantize"]
