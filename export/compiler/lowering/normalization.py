"""BatchNormalization and the normalisations over what one sample holds."""

from __future__ import annotations

import math

import numpy as np

from edgelane.export.compiler.graph import Shape, Tensor
from edgelane.export.compiler.lowering.arithmetic import binary
from edgelane.export.compiler.lowering.base import Builder, Malformed, Node, Unsupported, lowers, normalize_axis


@lowers("BatchNormalization")
def batch_normalization(node: Node, builder: Builder) -> Tensor:
    """Lower inference BatchNorm to affine; a pass folds it into the layer before it where that is possible."""
    if node.flag("training_mode") or (node.opset < 14 and any(node.wants(index) for index in range(1, 5))):
        raise Unsupported("it is in training mode; export the model after model.eval()")
    names = ("scale", "B", "mean", "var")
    gamma, beta, mean, variance = (node.constant(i + 1, name).astype(np.float64) for i, name in enumerate(names))
    if len(node.x.shape) < 2 or any(part.shape != node.x.shape[1:2] for part in (gamma, beta, mean, variance)):
        raise Malformed(f"its constants do not fit input {list(node.x.shape)}")
    scale = gamma / np.sqrt(variance + node.real("epsilon", 1e-5))
    return builder.affine(node.x, scale, beta - mean * scale)


@lowers("LayerNormalization", "RMSNormalization")
def layer_normalization(node: Node, builder: Builder) -> list[Tensor]:
    """Lower to normalize, with a scale and a bias that are constants, or with steps for them."""
    x = node.x
    axis = normalize_axis(node.flag("axis", -1), len(x.shape))
    mode = "variance" if node.op == "LayerNormalization" else "mean_square"
    epsilon = node.real("epsilon", 1e-5)
    inner = x.shape[axis:]
    parts = [_spread(builder, node.optional(index), inner) for index in (1, 2)]
    fused = all(part is None or part.data is not None for part in parts)
    flat = [builder.reshape(p, (math.prod(inner),)) if p is not None and fused else None for p in parts]
    inputs = [x, *flat] if flat[1] is not None else [x, *flat[:1]] if flat[0] is not None else [x]
    result = builder.step("normalize", list(inputs), x.shape, axis=axis, mode=mode, epsilon=epsilon)
    if not fused:
        for part, function in zip(parts, ("mul", "add"), strict=True):
            result = builder.binary(function, result, part) if part is not None else result
    return [result, *_statistics(node, builder, axis, epsilon)]


def _spread(builder: Builder, part: Tensor | None, inner: Shape) -> Tensor | None:
    """Return a constant scale or bias with one value for each normalised element."""
    if part is None or part.data is None or part.shape == inner:
        return part
    return builder.constant(np.broadcast_to(part.data, inner), "spread")


def _statistics(node: Node, builder: Builder, axis: int, epsilon: float) -> list[Tensor]:
    """Append the mean and the inverse of the deviation that LayerNormalization can return."""
    if not node.wants(1) and not node.wants(2):
        return []
    x, axes = node.x, list(range(axis, len(node.x.shape)))
    average = builder.reduce(x, axes, "mean")
    variance = builder.reduce(builder.unary(builder.binary("sub", x, average), "square"), axes, "mean")
    return [average, builder.unary(binary(builder, "add", variance, builder.like(x, epsilon)), "rsqrt")]


@lowers("InstanceNormalization")
def instance_normalization(node: Node, builder: Builder) -> Tensor:
    """Lower to normalize over the pixels of each channel, then affine."""
    x = node.x
    n, c = x.shape[:2]
    return _by_groups(node, builder, n * c, node.input(1), node.input(2))


@lowers("GroupNormalization")
def group_normalization(node: Node, builder: Builder) -> Tensor:
    """Lower to normalize over the channels and pixels of each group, then affine."""
    groups, channels = node.flag("num_groups", 1), node.x.shape[1]
    if channels % groups:
        raise Malformed(f"{channels} channels in {groups} groups")
    scale, bias = node.input(1), node.input(2)
    if node.opset < 21 and groups != channels:  # one value for each group
        rows = np.repeat(np.arange(groups), channels // groups)
        scale, bias = (_repeated(builder, part, rows) for part in (scale, bias))
    return _by_groups(node, builder, node.x.shape[0] * groups, scale, bias)


def _repeated(builder: Builder, part: Tensor, rows: np.ndarray) -> Tensor:
    return builder.constant(part.data[rows], "spread") if part.data is not None else builder.take(part, rows, 0)


def _by_groups(node: Node, builder: Builder, rows: int, scale: Tensor, bias: Tensor) -> Tensor:
    x = node.x
    flat = builder.reshape(x, (rows, x.elements // rows))
    epsilon = node.real("epsilon", 1e-5)
    even = builder.step("normalize", [flat], flat.shape, axis=1, mode="variance", epsilon=epsilon)
    even = builder.reshape(even, x.shape)
    if scale.data is not None and bias.data is not None:
        return builder.affine(even, scale.data, bias.data)
    shape = (x.shape[1],) + (1,) * (len(x.shape) - 2)
    scaled = builder.binary("mul", even, builder.reshape(scale, shape))
    return builder.binary("add", scaled, builder.reshape(bias, shape))


@lowers("LRN")
def local_response(node: Node, builder: Builder) -> Tensor:
    """Lower to x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta."""
    x, size = node.x, node.flag("size")
    n, c = x.shape[:2]
    squares = builder.reshape(builder.unary(x, "square"), (n, 1, c, x.elements // (n * c)))
    before = (size - 1) // 2
    kernel = np.full((1, 1, size, 1), node.real("alpha", 1e-4) / size, np.float32)
    bias = np.full(1, node.real("bias", 1.0), np.float32)
    base = builder.step(
        "conv2d",
        [squares, builder.constant(kernel, "window"), builder.constant(bias, "bias")],
        squares.shape,
        pads=[before, 0, size - 1 - before, 0],
    )
    power = binary(builder, "pow", builder.reshape(base, x.shape), builder.like(x, node.real("beta", 0.75)))
    return builder.binary("div", x, power)


@lowers("LpNormalization")
def lp_normalization(node: Node, builder: Builder) -> Tensor:
    """Lower to x divided by its norm along an axis; 0 where the norm is 0."""
    x, p = node.x, node.flag("p", 2)
    if p not in (1, 2):
        raise Unsupported(f"p is {p}, expected 1 or 2")
    axis = normalize_axis(node.flag("axis", -1), len(x.shape))
    norm = builder.reduce(x, [axis], "l1" if p == 1 else "l2")
    empty = builder.binary("equal", norm, builder.like(x, 0))
    return builder.binary("div", x, builder.where(empty, builder.like(x, 1), norm))
