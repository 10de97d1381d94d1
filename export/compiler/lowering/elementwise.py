"""Functions of single elements and arithmetic between two tensors."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from edgelane.export.compiler.graph import Activation, Array, Shape, Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.convolution import affine

FLOAT_MAX = float(np.finfo(np.float32).max)
PLAIN = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "HardSwish": "hard_swish",
    "Tanh": "tanh",
    "Mish": "mish",
    "Softplus": "softplus",
    "Erf": "erf",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Neg": "neg",
    "Reciprocal": "reciprocal",
    "Floor": "floor",
    "Ceil": "ceil",
}
FUNCTIONS = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Max": "max",
    "Min": "min",
    "Pow": "pow",
    "Sum": "add",
}


def unary(builder: Builder, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
    """Append an activation as a step of its own."""
    return builder.step("unary", [x], x.shape, activation=Activation(kind, alpha, beta))


@lowers(*PLAIN)
def plain(node: Node, builder: Builder) -> Tensor:
    """Lower a function without parameters to unary."""
    return unary(builder, node.x, PLAIN[node.op])


@lowers("LeakyRelu")
def leaky_relu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary leaky_relu."""
    return unary(builder, node.x, "leaky_relu", float(node.attributes.get("alpha", 0.01)))


@lowers("Elu")
def elu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary elu."""
    return unary(builder, node.x, "elu", float(node.attributes.get("alpha", 1.0)))


@lowers("HardSigmoid")
def hard_sigmoid(node: Node, builder: Builder) -> Tensor:
    """Lower to unary hard_sigmoid."""
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    return unary(builder, node.x, "hard_sigmoid", alpha, beta)


@lowers("Gelu")
def gelu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary gelu, exact or with tanh."""
    return unary(builder, node.x, "gelu_tanh" if node.attributes.get("approximate", "none") == "tanh" else "gelu")


@lowers("Swish")
def swish(node: Node, builder: Builder) -> Tensor:
    """Lower x * sigmoid(x) to unary silu."""
    alpha = float(node.attributes.get("alpha", 1.0))
    if alpha != 1.0:
        raise Unsupported(f"alpha is {alpha}, expected 1")
    return unary(builder, node.x, "silu")


@lowers("Clip")
def clip(node: Node, builder: Builder) -> Tensor:
    """Lower to relu or clip."""
    low = node.scalar(1, "its minimum") if node.has(1) else float(node.attributes.get("min", -FLOAT_MAX))
    high = node.scalar(2, "its maximum") if node.has(2) else float(node.attributes.get("max", FLOAT_MAX))
    return clipped(builder, node.x, low, high)


def clipped(builder: Builder, x: Tensor, low: float, high: float) -> Tensor:
    """Append min(max(x, low), high), as relu where that is what it is."""
    low, high = max(low, -FLOAT_MAX), min(high, FLOAT_MAX)
    return unary(builder, x, "relu") if (low, high) == (0.0, FLOAT_MAX) else unary(builder, x, "clip", low, high)


@lowers("PRelu")
def prelu(node: Node, builder: Builder) -> Tensor:
    """Lower to unary prelu, or to leaky_relu where all channels share one slope."""
    slope = node.constant(1, "its slope")
    if slope.size == 1:
        return unary(builder, node.x, "leaky_relu", float(slope.reshape(-1)[0]))
    values = _per_channel(slope, node.x.shape)
    if values is None:
        raise Unsupported(f"a slope of shape {list(slope.shape)}, expected one per channel")
    slopes = builder.constant(values.astype(np.float32), "slope")
    return builder.step("unary", [node.x], node.shape, activation=Activation("prelu", slope=slopes))


@lowers(*FUNCTIONS)
def arithmetic(node: Node, builder: Builder) -> Tensor:
    """Lower two or more operands; one that is constant per channel makes an affine step."""
    operands = [tensor for tensor in node.inputs if tensor is not None]
    function = FUNCTIONS[node.op]
    if function == "pow":
        operands = _pow_operands(operands, builder)
    if len(operands) == 1:
        return operands[0]
    return reduce(lambda a, b: _binary(builder, function, a, b), operands)


def _pow_operands(operands: list[Tensor], builder: Builder) -> list[Tensor]:
    """Return base and exponent as float32; the standard lets the exponent be of any type."""
    base, exponent = operands
    if base.dtype != "float32":
        raise Unsupported(f"its base is {base.dtype}, expected float32")
    if exponent.data is not None and exponent.dtype != "float32":
        exponent = builder.constant(exponent.data.astype(np.float32), "exponent")
    return [base, exponent]


def _binary(builder: Builder, function: str, a: Tensor, b: Tensor) -> Tensor:
    shape = np.broadcast_shapes(a.shape, b.shape)
    if function == "mul" and a is b:
        return unary(builder, a, "square")
    result = None
    if b.data is not None and a.shape == shape:
        result = _with_constant(builder, function, a, b.data)
    elif a.data is not None and b.shape == shape and function in ("add", "mul", "max", "min"):
        result = _with_constant(builder, function, b, a.data)
    elif a.data is not None and b.shape == shape and function == "sub":
        values = _per_channel(a.data, shape)
        if values is not None:
            result = affine(builder, b, np.full(len(values), -1.0), values)
    elif a.data is not None and b.shape == shape and function == "div" and np.all(a.data == 1):
        result = unary(builder, b, "reciprocal")
    return result or builder.step("binary", [a, b], shape, function=function)


def _with_constant(builder: Builder, function: str, x: Tensor, constant: Array) -> Tensor | None:
    """Express x ∘ constant by a step that fuses better than `binary`, or return None."""
    value = float(constant.reshape(-1)[0]) if constant.size == 1 else math.nan
    if function == "max" and not math.isnan(value):
        return clipped(builder, x, value, FLOAT_MAX)
    if function == "min" and not math.isnan(value):
        return clipped(builder, x, -FLOAT_MAX, value)
    if function == "pow":
        kind = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(value)
        return unary(builder, x, kind) if kind else None
    values = _per_channel(constant, x.shape)
    if values is None or (function == "div" and np.any(values == 0)):
        return None
    one, zero = np.ones(len(values)), np.zeros(len(values))
    match function:
        case "add":
            return affine(builder, x, one, values)
        case "sub":
            return affine(builder, x, one, -values)
        case "mul":
            return affine(builder, x, values, zero)
        case "div":
            return affine(builder, x, 1.0 / values, zero)
    return None


def _per_channel(constant: Array, shape: Shape) -> Array | None:
    """Return `constant`, broadcast to `shape`, as one float64 for each index of axis 1, or None where it is not."""
    if len(shape) < 2 or constant.ndim > len(shape):
        return None
    full_shape = (1,) * (len(shape) - constant.ndim) + constant.shape
    if constant.size != full_shape[1]:
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (shape[1],))
