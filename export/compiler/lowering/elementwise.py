"""Functions of single elements."""

from __future__ import annotations

import numpy as np

from edgelane.export.compiler.graph import Activation, Tensor
from edgelane.export.compiler.lowering.arithmetic import FLOAT_MAX, binary, clipped, per_channel
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers

PLAIN = {
    "Sigmoid": "sigmoid",
    "HardSwish": "hard_swish",
    "Tanh": "tanh",
    "Mish": "mish",
    "Softplus": "softplus",
    "Erf": "erf",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Reciprocal": "reciprocal",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
}
OF_NUMBERS = {"Relu": "relu", "Abs": "abs", "Neg": "neg", "Sign": "sign"}


@lowers(*PLAIN)
def plain(node: Node, builder: Builder) -> Tensor:
    """Lower a function without parameters to unary."""
    return builder.unary(node.x, PLAIN[node.op])


@lowers(*OF_NUMBERS, accepts="number")
def of_numbers(node: Node, builder: Builder) -> Tensor:
    """Lower a function of floats or integers to unary."""
    return builder.unary(node.x, OF_NUMBERS[node.op])


@lowers("LeakyRelu")
def leaky_relu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary leaky_relu."""
    return builder.unary(node.x, "leaky_relu", node.real("alpha", 0.01))


@lowers("Elu")
def elu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary elu."""
    return builder.unary(node.x, "elu", node.real("alpha", 1.0))


@lowers("Selu")
def selu(node: Node, builder: Builder) -> Tensor:
    """Lower to elu times a constant."""
    alpha, gamma = node.real("alpha", 1.67326319217681884765625), node.real("gamma", 1.05070102214813232421875)
    return binary(builder, "mul", builder.unary(node.x, "elu", alpha), builder.like(node.x, gamma))


@lowers("Celu")
def celu(node: Node, builder: Builder) -> Tensor:
    """Lower to elu of the scaled value, scaled back."""
    alpha = node.real("alpha", 1.0)
    if alpha == 1.0:
        return builder.unary(node.x, "elu", 1.0)
    scaled = builder.unary(binary(builder, "div", node.x, builder.like(node.x, alpha)), "elu", 1.0)
    return binary(builder, "mul", scaled, builder.like(node.x, alpha))


@lowers("HardSigmoid")
def hard_sigmoid(node: Node, builder: Builder) -> Tensor:
    """Lower to unary hard_sigmoid."""
    return builder.unary(node.x, "hard_sigmoid", node.real("alpha", 0.2), node.real("beta", 0.5))


@lowers("Gelu")
def gelu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary gelu, exact or with tanh."""
    return builder.unary(node.x, "gelu_tanh" if node.choice("approximate", ("none", "tanh")) == "tanh" else "gelu")


@lowers("Swish")
def swish(node: Node, builder: Builder) -> Tensor:
    """Lower x * sigmoid(alpha x) to unary silu where alpha is 1."""
    alpha = node.real("alpha", 1.0)
    if alpha == 1.0:
        return builder.unary(node.x, "silu")
    gate = builder.unary(binary(builder, "mul", node.x, builder.like(node.x, alpha)), "sigmoid")
    return builder.binary("mul", node.x, gate)


@lowers("Softsign")
def softsign(node: Node, builder: Builder) -> Tensor:
    """Lower to x / (1 + |x|)."""
    one = builder.like(node.x, 1.0)
    return builder.binary("div", node.x, binary(builder, "add", builder.unary(node.x, "abs"), one))


@lowers("Shrink", accepts="number")
def shrink(node: Node, builder: Builder) -> Tensor:
    """Lower to a selection between x + bias, x - bias and 0."""
    x, bias, limit = node.x, node.real("bias", 0.0), node.real("lambd", 0.5)
    below = builder.binary("less", x, builder.like(x, -limit))
    above = builder.binary("less", builder.like(x, limit), x)
    shift = builder.like(x, bias)
    high = builder.where(above, builder.binary("sub", x, shift), builder.like(x, 0))
    return builder.where(below, builder.binary("add", x, shift), high)


@lowers("ThresholdedRelu")
def thresholded_relu(node: Node, builder: Builder) -> Tensor:
    """Lower to a selection between x and 0."""
    x = node.x
    above = builder.binary("less", builder.like(x, node.real("alpha", 1.0)), x)
    return builder.where(above, x, builder.like(x, 0))


@lowers("Clip", accepts="number")
def clip(node: Node, builder: Builder) -> Tensor:
    """Lower to relu or clip, or to max and min where the limits are computed at run time or the values are integers."""
    x = node.x
    limits = [node.optional(1), node.optional(2)]
    if x.dtype == "float32" and all(limit is None or limit.data is not None for limit in limits):
        low = node.scalar(1, "its minimum") if node.has(1) else node.real("min", -FLOAT_MAX)
        high = node.scalar(2, "its maximum") if node.has(2) else node.real("max", FLOAT_MAX)
        if low <= high:
            return clipped(builder, x, low, high)
    for limit, function in zip(limits, ("max", "min"), strict=True):
        if limit is not None:
            x = builder.binary(function, x, builder.reshape(limit, ()))
    return x


@lowers("PRelu", accepts="number")
def prelu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary prelu, to leaky_relu where all channels share one slope, or to a binary step."""
    x, slope = node.x, node.input(1)
    if node.opset < 7 and slope.elements > 1:  # one for each channel
        slope = builder.reshape(slope, (slope.elements,) + (1,) * (len(x.shape) - 2))
    if x.dtype != "float32":
        negative = builder.binary("less", x, builder.like(x, 0))
        return builder.where(negative, builder.binary("mul", x, slope), x)
    if slope.data is None:
        return builder.binary("prelu", x, slope)
    if slope.elements == 1:
        return builder.unary(x, "leaky_relu", float(slope.data.reshape(-1)[0]))
    values = per_channel(slope.data, x.shape)
    if values is None:
        return builder.binary("prelu", x, slope)
    slopes = builder.constant(values.astype(np.float32), "slope")
    return builder.step("unary", [x], node.shape, activation=Activation("prelu", slope=slopes))


@lowers("Not", accepts="any")
def logical_not(node: Node, builder: Builder) -> Tensor:
    """Lower to unary logical_not."""
    if node.x.dtype != "bool":
        raise Unsupported(f"its input is {node.x.dtype}, expected bool")
    return builder.unary(node.x, "logical_not")


@lowers("IsNaN")
def is_nan(node: Node, builder: Builder) -> Tensor:
    """Lower to unary is_nan."""
    return builder.unary(node.x, "is_nan", dtype="bool")


@lowers("IsInf")
def is_inf(node: Node, builder: Builder) -> Tensor:
    """Lower to unary is_inf; alpha and beta say which infinities count."""
    alpha, beta = node.flag("detect_negative", 1), node.flag("detect_positive", 1)
    return builder.unary(node.x, "is_inf", float(alpha), float(beta), dtype="bool")


@lowers("BitwiseNot", accepts="number")
def bitwise_not(node: Node, builder: Builder) -> Tensor:
    """Lower to an exclusive or with all ones."""
    return builder.binary("bit_xor", node.x, builder.like(node.x, -1))


@lowers("Cast", "CastLike", accepts="any")
def cast(node: Node, builder: Builder) -> Tensor:
    """Lower to cast."""
    return builder.cast(node.x, node.dtypes[0])
