"""Pools of one to three axes, and those over whole images."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgelane.export.compiler.graph import Array, Quantization, Shape, Tensor
from edgelane.export.compiler.lowering.arithmetic import binary
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.windows import Window, cells, window_of

Plane = Callable[[Builder, Tensor, Window, Shape], Tensor]  # a pool of two axes and the size of its result


def _window(node: Node) -> Window:
    window = window_of(node, [int(size) for size in node.attributes["kernel_shape"]])
    if not 1 <= window.rank <= 3:
        raise Unsupported(f"a window of {window.rank} axes, 1 to 3 are possible")
    return window


@lowers("MaxPool", accepts="any")
def max_pool(node: Node, builder: Builder) -> list[Tensor]:
    """Lower to max_pool2d; ceil_mode becomes padding. Three axes are two pools, one after the other."""
    x, window = node.x, _window(node)
    if x.dtype not in ("float32", "int8", "uint8"):
        raise Unsupported(f"its input is {x.dtype}, expected float32, int8 or uint8")
    if x.dtype == "uint8":
        x = shifted(builder, x)
    window.after = window.reach(x.shape[2:], node.shape[2:])
    result = builder.reshape(_by_planes(builder, x, window, node.shape, _max_plane), node.shape)
    return [result, _positions(node, builder, x, window)] if node.wants(1) else [result]


def shifted(builder: Builder, x: Tensor) -> Tensor:
    """Return uint8 values as int8 ones that are 128 less, which stand for them."""
    result = builder.step("recode", [x], x.shape, dtype="int8")
    result.quantization, result.stored_as = Quantization(1.0, -128), "uint8"
    return result


def _max_plane(builder: Builder, x: Tensor, window: Window, size: Shape) -> Tensor:
    return builder.moved(
        "max_pool2d",
        [x],
        (*x.shape[:2], *size),
        kernel_shape=window.kernel,
        strides=window.strides,
        pads=window.before + window.after,
        dilations=window.dilations,
    )


def _by_planes(builder: Builder, x: Tensor, window: Window, shape: Shape, pool: Plane) -> Tensor:
    """Append a pool of one to three axes as pools of two."""
    if window.rank == 2:
        return pool(builder, x, window, shape[2:])
    if window.rank == 1:
        image = builder.reshape(x, (*x.shape[:2], 1, x.shape[2]))
        return pool(builder, image, _part(window, None, 0), (1, shape[2]))
    n, c, depth, h, w = x.shape
    columns = pool(builder, builder.reshape(x, (n, c, depth, h * w)), _part(window, 0, None), (shape[2], h * w))
    planes = builder.reshape(columns, (n, c * shape[2], h, w))
    return pool(builder, planes, _part(window, 1, 2), shape[3:])


def _part(window: Window, rows: int | None, columns: int | None) -> Window:
    """Return a window of two axes; None is an axis along which it is one element."""

    def pick(values: list[int], neutral: int) -> list[int]:
        return [neutral if axis is None else values[axis] for axis in (rows, columns)]

    return Window(
        pick(window.kernel, 1),
        pick(window.strides, 1),
        pick(window.dilations, 1),
        pick(window.before, 0),
        pick(window.after, 0),
    )


def _positions(node: Node, builder: Builder, x: Tensor, window: Window) -> Tensor:
    """Append where in its whole input each maximum lies: the first one of the window."""
    sizes, results = x.shape[2:], node.shape[2:]
    rows, columns = x.shape[0] * x.shape[1], math.prod(sizes)
    table = cells(window, sizes, results)
    windows = builder.take(builder.reshape(builder.cast(x, "float32"), (rows, columns)), table, 1)
    best = builder.step("arg_reduce", [windows], (rows, len(table), 1), dtype="int64", axis=2, largest=1)
    best = builder.reshape(best, (rows, len(table)))
    first = builder.constant(np.arange(len(table))[None] * table.shape[1], "first")
    if node.flag("storage_order"):
        table = np.arange(columns).reshape(sizes[::-1]).transpose(range(len(sizes))[::-1]).reshape(-1)[table]
    flat = builder.constant(table.reshape(-1), "cells")
    places = builder.moved("gather", [flat], best.shape, (builder.binary("add", best, first),), axis=0)
    planes = builder.constant(np.arange(rows)[:, None] * columns, "planes")
    return builder.reshape(builder.binary("add", places, planes), node.shape)


@lowers("AveragePool")
def average_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to average_pool2d, or to sums times constants where windows are dilated or have three axes."""
    x, window = node.x, _window(node)
    include = node.flag("count_include_pad")
    declared = list(window.after)
    window.after = window.reach(x.shape[2:], node.shape[2:])
    if window.rank == 3 or max(window.dilations) > 1:
        total = _by_planes(builder, x, window, node.shape, sum_plane)
        counts = _counts(window, x.shape[2:], node.shape[2:], declared if include else None)
        mean = builder.constant((1.0 / counts).astype(np.float32), "counts")
        return builder.binary("mul", builder.reshape(total, node.shape), mean)
    if include:  # only the padding that the model declares may be counted
        window.after = declared

    def plane(builder: Builder, x: Tensor, window: Window, size: Shape) -> Tensor:
        return builder.step(
            "average_pool2d",
            [x],
            (*x.shape[:2], *size),
            kernel_shape=window.kernel,
            strides=window.strides,
            pads=window.before + window.after,
            count_include_pad=include,
        )

    return builder.reshape(_by_planes(builder, x, window, node.shape, plane), node.shape)


def sum_plane(builder: Builder, x: Tensor, window: Window, size: Shape) -> Tensor:
    """Append sums over windows of two axes, as a depthwise convolution with ones."""
    weight = builder.constant(np.ones((x.shape[1], 1, *window.kernel), np.float32), "ones")
    return builder.step(
        "conv2d",
        [x, weight, None],
        (*x.shape[:2], *size),
        strides=window.strides,
        pads=window.before + window.after,
        dilations=window.dilations,
        groups=x.shape[1],
    )


def _counts(window: Window, sizes: Shape, results: Shape, padded: list[int] | None) -> Array:
    """Return over how many elements each result is the mean; those in the padding of `padded` at the end count too."""
    counts = np.ones((1, 1))
    for axis, size in enumerate(sizes):
        starts = np.arange(results[axis]) * window.strides[axis] - window.before[axis]
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (0, size) if padded is None else (-window.before[axis], size + padded[axis])
        counts = counts[..., None] * ((taps >= low) & (taps < high)).sum(axis=1)
    return counts


@lowers("LpPool")
def lp_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to the root of sums of powers."""
    x, window, p = node.x, _window(node), node.flag("p", 2)
    window.after = window.reach(x.shape[2:], node.shape[2:])
    total = _by_planes(builder, _power(builder, x, p), window, node.shape, sum_plane)
    return builder.reshape(_root(builder, total, p), node.shape)


def _power(builder: Builder, x: Tensor, p: int) -> Tensor:
    return builder.unary(x, "square") if p == 2 else binary(builder, "pow", builder.unary(x, "abs"), builder.like(x, p))


def _root(builder: Builder, x: Tensor, p: int) -> Tensor:
    return builder.unary(x, "sqrt") if p == 2 else binary(builder, "pow", x, builder.like(x, 1 / p))


@lowers("GlobalLpPool")
def global_lp_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to the root of the sum of powers over all pixels."""
    p, axes = node.flag("p", 2), list(range(2, len(node.x.shape)))
    if p in (1, 2):
        return builder.reduce(node.x, axes, f"l{p}")
    return _root(builder, builder.reduce(_power(builder, node.x, p), axes, "sum"), p)


@lowers("GlobalAveragePool")
def global_average_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to global_average_pool for height and width, else to reduce."""
    if len(node.x.shape) == 4:
        return builder.step("global_average_pool", [node.x], node.shape)
    return builder.reduce(node.x, list(range(2, len(node.x.shape))), "mean")


@lowers("GlobalMaxPool", accepts="any")
def global_max_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to a max_pool2d over the whole image, or to reduce."""
    x = node.x
    if x.dtype not in ("float32", "int8"):
        raise Unsupported(f"its input is {x.dtype}, expected float32 or int8")
    if len(x.shape) == 4:
        return builder.moved("max_pool2d", [x], node.shape, kernel_shape=list(x.shape[2:]))
    if x.dtype == "int8":
        raise Unsupported(f"int8 values of rank {len(x.shape)}, expected rank 4")
    return builder.reduce(x, list(range(2, len(x.shape))), "max")
