"""Products of integers that are no quantised network's: MatMulInteger and ConvInteger, exactly, in int32."""

from __future__ import annotations

import math

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.products import product
from edgelane.export.compiler.lowering.windows import cells, misfit, window_of


def _without_zero_point(node: Node, builder: Builder, index: int, zero: int, axis: int) -> Tensor:
    """Return an operand as int32, its zero point subtracted; one with several values runs along `axis`."""
    x = builder.cast(node.input(index), "int32")
    if not node.has(zero):
        return x
    point = builder.cast(node.input(zero), "int32")
    if point.elements == 1:
        point = builder.reshape(point, ())
    elif len(point.shape) == 1:
        point = builder.reshape(point, tuple(point.elements if i == axis else 1 for i in range(len(x.shape))))
    if x.data is not None and point.data is not None:
        return builder.constant(x.data - point.data, "integers")
    if point.data is not None and not point.data.any():
        return x
    return builder.binary("sub", x, point)


@lowers("MatMulInteger", accepts="any")
def matmul_integer(node: Node, builder: Builder) -> Tensor:
    """Lower to a matmul of int32."""
    a = _without_zero_point(node, builder, 0, 2, len(node.x.shape) - 2)
    b = _without_zero_point(node, builder, 1, 3, len(node.input(1).shape) - 1)
    return builder.reshape(product(builder, a, b), node.shape)


@lowers("ConvInteger", accepts="any")
def conv_integer(node: Node, builder: Builder) -> Tensor:
    """Lower to a matmul of int32 between the weights and the gathered windows."""
    x = _without_zero_point(node, builder, 0, 2, 1)
    weight = _without_zero_point(node, builder, 1, 3, 0)
    groups, (n, channels), sizes = node.flag("group", 1), x.shape[:2], x.shape[2:]
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        raise misfit(node, weight, groups)
    window, results = window_of(node, list(weight.shape[2:])), node.shape[2:]
    if len(sizes) > 2:
        raise Unsupported(f"a convolution of {len(sizes)} axes, 1 or 2 are possible")
    padded = [size + window.before[i] + window.after[i] for i, size in enumerate(sizes)]
    if any(window.before + window.after):
        before = [0, 0, *window.before]
        x = builder.moved("pad", [x], (n, channels, *padded), before=before, mode="constant", value=0.0)
    window.before = [0] * len(sizes)  # the table is that of the padded image
    places = cells(window, padded, results).T
    flat = builder.reshape(x, (n, channels, math.prod(padded)))
    columns = builder.take(flat, places, 2)  # [n, channels, taps, results]
    inner = channels // groups * len(places)
    columns = builder.reshape(columns, (n, groups, inner, places.shape[1]))
    rows = builder.reshape(weight, (groups, weight.shape[0] // groups, inner))
    return builder.reshape(product(builder, rows, columns), node.shape)
