"""Arithmetic, comparison and selection between tensors that broadcast."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from edgelane.export.compiler.graph import Array, Shape, Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers, normalize_axis

FLOAT_MAX = float(np.finfo(np.float32).max)
FUNCTIONS = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min", "Sum": "add"}
COMPARISONS = {  # function, and whether the operands change places
    "Equal": ("equal", False),
    "Less": ("less", False),
    "Greater": ("less", True),
    "LessOrEqual": ("less_or_equal", False),
    "GreaterOrEqual": ("less_or_equal", True),
}
LOGICAL = {"And": "and", "Or": "or", "Xor": "xor"}
BITWISE = {"BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor"}


@lowers(*FUNCTIONS, accepts="number")
def arithmetic(node: Node, builder: Builder) -> Tensor:
    """Lower two or more operands; one that is constant per channel makes an affine step."""
    operands = [tensor for tensor in node.inputs if tensor is not None]
    if "axis" in node.attributes:  # before opset 7 the second operand's axes begin at this one of the first
        a, b = operands
        rest = len(a.shape) - len(b.shape) - normalize_axis(node.flag("axis"), len(a.shape))
        operands = [a, builder.reshape(b, b.shape + (1,) * rest)]
    return reduce(lambda a, b: binary(builder, FUNCTIONS[node.op], a, b), operands)


@lowers("Mean")
def mean(node: Node, builder: Builder) -> Tensor:
    """Lower to a sum that is divided by the number of operands."""
    operands = [tensor for tensor in node.inputs if tensor is not None]
    total = reduce(lambda a, b: binary(builder, "add", a, b), operands)
    return binary(builder, "div", total, builder.like(total, len(operands)))


@lowers("Pow", accepts="number")
def power(node: Node, builder: Builder) -> Tensor:
    """Lower to pow in the type of the base; an exponent of another type is converted, or the base for a float one."""
    base, exponent = node.x, node.input(1)
    wanted = base.dtype
    if exponent.dtype not in ("float32", "int32", "int64") and exponent.data is None:
        raise Unsupported(f"its exponent is {exponent.dtype}, expected float32, int32 or int64")
    if exponent.data is not None and exponent.dtype != base.dtype:
        whole = exponent.data.dtype.kind in "iu" or bool(np.all(np.rint(exponent.data) == exponent.data))
        if wanted == "float32" or whole:
            exponent = builder.constant(exponent.data.astype(wanted), "exponent")
    if exponent.dtype != base.dtype:
        if base.dtype == "float32" or exponent.dtype in ("int32", "int64"):
            exponent = builder.cast(exponent, base.dtype)
        else:
            base = builder.cast(base, "float32")
    return builder.cast(binary(builder, "pow", base, exponent), wanted)


@lowers("Mod", accepts="number")
def modulo(node: Node, builder: Builder) -> Tensor:
    """Lower to mod, whose sign is the divisor's, or to fmod."""
    return builder.binary("fmod" if node.flag("fmod") else "mod", node.x, node.input(1))


@lowers(*BITWISE, accepts="number")
def bitwise(node: Node, builder: Builder) -> Tensor:
    """Lower a function of bits."""
    return builder.binary(BITWISE[node.op], node.x, node.input(1))


@lowers("BitShift", accepts="number")
def bit_shift(node: Node, builder: Builder) -> Tensor:
    """Lower to shift_left or shift_right; negative numbers are shifted as their complements, which fills in ones."""
    x, by = node.x, node.input(1)
    if node.choice("direction", ("LEFT", "RIGHT")) == "LEFT":
        return builder.binary("shift_left", x, by)
    if node.dtypes[0] == "uint8":
        return builder.binary("shift_right", x, by)
    signs = builder.where(builder.binary("less", x, builder.like(x, 0)), builder.like(x, -1), builder.like(x, 0))
    return builder.binary("bit_xor", builder.binary("shift_right", builder.binary("bit_xor", x, signs), by), signs)


@lowers(*LOGICAL, accepts="any")
def logical(node: Node, builder: Builder) -> Tensor:
    """Lower a function of truth values."""
    a, b = node.x, node.input(1)
    if a.dtype != "bool" or b.dtype != "bool":
        raise Unsupported(f"its inputs are {a.dtype} and {b.dtype}, expected bool")
    return builder.binary(LOGICAL[node.op], a, b)


@lowers(*COMPARISONS, accepts="any")
def comparison(node: Node, builder: Builder) -> Tensor:
    """Lower to equal, less or less_or_equal."""
    function, swapped = COMPARISONS[node.op]
    allowed = ("float32", "int32", "int64", *(("bool",) if function == "equal" else ()))
    a, b = (builder.widened(tensor) for tensor in (node.x, node.input(1)))
    if a.dtype not in allowed or b.dtype not in allowed:
        raise Unsupported(f"its inputs are {a.dtype} and {b.dtype}, expected {' or '.join(allowed)}, int8 or uint8")
    return builder.binary(function, *((b, a) if swapped else (a, b)))


@lowers("Where", accepts="any")
def where(node: Node, builder: Builder) -> Tensor:
    """Lower to where."""
    return builder.where(node.x, node.input(1), node.input(2))


def binary(builder: Builder, function: str, a: Tensor, b: Tensor) -> Tensor:
    """Append a ∘ b, by a step that fuses better than `binary` where there is one."""
    if a.dtype != "float32" or b.dtype != "float32":
        return builder.binary(function, a, b)
    shape = np.broadcast_shapes(a.shape, b.shape)
    if function == "mul" and a is b:
        return builder.unary(a, "square")
    result = None
    if b.data is not None and a.shape == shape:
        result = _with_constant(builder, function, a, b.data)
    elif a.data is not None and b.shape == shape and function in ("add", "mul", "max", "min"):
        result = _with_constant(builder, function, b, a.data)
    elif a.data is not None and b.shape == shape and function == "sub":
        values = per_channel(a.data, shape)
        if values is not None:
            result = builder.affine(b, np.full(len(values), -1.0), values)
    elif a.data is not None and b.shape == shape and function == "div" and np.all(a.data == 1):
        result = builder.unary(b, "reciprocal")
    return result or builder.binary(function, a, b)


def _with_constant(builder: Builder, function: str, x: Tensor, constant: Array) -> Tensor | None:
    """Express x ∘ constant by a step that fuses better than `binary`, or return None."""
    value = float(constant.reshape(-1)[0]) if constant.size == 1 else math.nan
    if function in ("max", "min") and not math.isnan(value):
        limits = (value, FLOAT_MAX) if function == "max" else (-FLOAT_MAX, value)
        return clipped(builder, x, *limits) if math.isfinite(value) else None
    if function == "pow":
        kind = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(value)
        return builder.unary(x, kind) if kind else None
    values = per_channel(constant, x.shape)
    if values is None or not np.all(np.isfinite(values)) or (function == "div" and np.any(values == 0)):
        return None
    one, zero = np.ones(len(values)), np.zeros(len(values))
    match function:
        case "add":
            return builder.affine(x, one, values)
        case "sub":
            return builder.affine(x, one, -values)
        case "mul":
            return builder.affine(x, values, zero)
        case "div":
            return builder.affine(x, 1.0 / values, zero)
    return None


def per_channel(constant: Array, shape: Shape) -> Array | None:
    """Return `constant`, broadcast to `shape`, as one float64 for each index of axis 1, or None where it is not."""
    if len(shape) < 2 or constant.ndim > len(shape):
        return None
    full_shape = (1,) * (len(shape) - constant.ndim) + constant.shape
    if constant.size != full_shape[1]:
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (shape[1],))


def clipped(builder: Builder, x: Tensor, low: float, high: float) -> Tensor:
    """Append min(max(x, low), high), as relu where that is what it is."""
    low, high = max(low, -FLOAT_MAX), min(high, FLOAT_MAX)
    return builder.unary(x, "relu") if (low, high) == (0.0, FLOAT_MAX) else builder.unary(x, "clip", low, high)
