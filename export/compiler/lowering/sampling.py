"""GridSample and DeformConv: inputs that are read at points which are computed at run time."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.arithmetic import binary
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.movement import sliced
from edgelane.export.compiler.lowering.products import product
from edgelane.export.compiler.lowering.windows import misfit, window_of

CUBIC = -0.75
MODES = {"linear": "linear", "bilinear": "linear", "nearest": "nearest", "cubic": "cubic", "bicubic": "cubic"}


Tap = tuple[Tensor, Tensor | None, Tensor | None]  # pixel along an axis, whether it is inside, weight


class _Points:
    """Arithmetic on coordinates of one axis, [n, points, 1]."""

    def __init__(self, builder: Builder, size: int, padding: str, aligned: bool) -> None:
        self.builder, self.size, self.padding, self.aligned = builder, size, padding, aligned

    def scaled(self, x: Tensor, factor: float, shift: float) -> Tensor:
        builder = self.builder
        if factor != 1.0:
            x = builder.binary("mul", x, builder.like(x, factor))
        return builder.binary("add", x, builder.like(x, shift)) if shift else x

    def pixels(self, x: Tensor) -> Tensor:
        """Return coordinates from -1 to 1 as positions of pixels."""
        if self.aligned:
            return self.scaled(self.scaled(x, 1.0, 1.0), (self.size - 1) / 2, 0.0)
        return self.scaled(self.scaled(self.scaled(x, 1.0, 1.0), float(self.size), -1.0), 0.5, 0.0)

    def inside(self, x: Tensor) -> Tensor:
        """Return positions that are moved into the image as the padding says; zeros are masked instead."""
        if self.padding == "reflection":
            low, high = (0.0, self.size - 1.0) if self.aligned else (-0.5, self.size - 0.5)
            x = self.reflected(x, low, high)
        return x

    def reflected(self, x: Tensor, low: float, high: float) -> Tensor:
        """Return |((x - low) mod 2 span)| folded back at the span, plus low."""
        span = high - low
        if span == 0:
            return self.builder.binary("mul", x, self.builder.like(x, 0.0))
        builder = self.builder
        distance = builder.unary(self.scaled(x, 1.0, -low), "abs")
        rest = builder.binary("mod", distance, builder.like(x, 2 * span))
        folded = builder.binary("min", rest, self.scaled(rest, -1.0, 2 * span))
        return self.scaled(folded, 1.0, low)

    def taps(self, x: Tensor, mode: str) -> list[tuple[Tensor, Tensor | None]]:
        """Return the positions that count, each a whole number, with its weight."""
        builder = self.builder
        if mode == "nearest":
            return [(builder.unary(x, "round"), None)]
        base = builder.unary(x, "floor")
        part = builder.binary("sub", x, base)
        if mode == "linear":
            rest = self.scaled(part, -1.0, 1.0)
            return [(base, rest), (self.scaled(base, 1.0, 1.0), part)]
        return [(self.scaled(base, 1.0, float(step)), self.cubic(part, step)) for step in (-1, 0, 1, 2)]

    def cubic(self, part: Tensor, step: int) -> Tensor:
        """Return the weight of the tap at `step` from the pixel before the point."""
        distance = self.scaled(part, 1.0, 1.0) if step < 0 else self.scaled(part, -1.0, float(step)) if step else part
        near = step in (0, 1)
        factors = (CUBIC + 2, -(CUBIC + 3), 0.0, 1.0) if near else (CUBIC, -5 * CUBIC, 8 * CUBIC, -4 * CUBIC)
        value = self.scaled(distance, factors[0], factors[1])
        for factor in factors[2:]:
            value = self.scaled(self.builder.binary("mul", value, distance), 1.0, factor)
        return value

    def index(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the pixel at a whole position as int64, and a mask of what lies inside where zeros are around it."""
        builder, last = self.builder, self.size - 1.0
        mask = None
        if self.padding == "zeros":
            low = builder.binary("less_or_equal", builder.like(x, 0.0), x)
            mask = builder.binary("and", low, builder.binary("less_or_equal", x, builder.like(x, last)))
        elif self.padding == "reflection":
            x = self.inside(x)
        return builder.cast(builder.unary(x, "clip", 0.0, last), "int64"), mask


@lowers("GridSample")
def grid_sample(node: Node, builder: Builder) -> Tensor:
    """Lower to one gather for each tap of the interpolation, weighted and added up."""
    x, grid = node.x, node.input(1)
    rank = len(x.shape) - 2
    mode = MODES[node.choice("mode", tuple(MODES))]
    padding = node.choice("padding_mode", ("zeros", "border", "reflection"))
    n, channels = x.shape[:2]
    count = grid.elements // (n * rank)
    table = builder.transpose(builder.reshape(x, (n, channels, x.elements // (n * channels))), [0, 2, 1])
    table = builder.reshape(table, (x.elements // channels, channels))  # one row for each pixel
    flat = builder.reshape(grid, (n, count, rank))
    axes: list[_Points] = []
    taps: list[list[Tap]] = []
    for axis, size in enumerate(x.shape[2:]):
        points = _Points(builder, size, padding, bool(node.flag("align_corners")))
        place = points.pixels(sliced(builder, flat, 2, rank - 1 - axis, 1))  # the grid has x before y
        if mode != "cubic":
            place = builder.unary(place, "clip", 0.0, size - 1.0) if padding == "border" else points.inside(place)
        axes.append(points)
        taps.append([(*points.index(position), weight) for position, weight in points.taps(place, mode)])
    total = _interpolated(builder, table, n, axes, taps)
    return builder.reshape(builder.transpose(total, [0, 2, 1]), node.shape)


def _interpolated(builder: Builder, table: Tensor, images: int, axes: list[_Points], taps: list[list[Tap]]) -> Tensor:
    """Append the weighted sums [images, points, channels] over all combinations of taps along the axes.

    table: one row of channels for each pixel of each image.
    """
    numbers = builder.constant(np.arange(images, dtype=np.int64)[:, None, None], "images")
    parts = []
    for combination in itertools.product(*taps):
        row = numbers
        for points, (index, _, _) in zip(axes, combination, strict=True):
            row = builder.binary("add", builder.binary("mul", row, builder.like(index, points.size)), index)
        count = row.shape[1]
        values = builder.moved("gather", [table], (images, count, 1, table.shape[1]), (row,), axis=0)
        values = builder.reshape(values, (images, count, table.shape[1]))
        weights = [weight for _, _, weight in combination if weight is not None]
        if weights:
            values = builder.binary("mul", values, reduce(lambda a, b: builder.binary("mul", a, b), weights))
        masks = [mask for _, mask, _ in combination if mask is not None]
        if masks:
            mask = reduce(lambda a, b: builder.binary("and", a, b), masks)
            values = builder.where(mask, values, builder.like(values, 0.0))
        parts.append(values)
    return reduce(lambda a, b: binary(builder, "add", a, b), parts)


@lowers("DeformConv")
def deform_conv(node: Node, builder: Builder) -> Tensor:
    """Lower to one gather for each of the four pixels around a tap, then to a product with the weights."""
    x, weight, offset, mask = node.x, node.input(1), node.input(2), node.optional(4)
    if len(x.shape) != 4:
        raise Unsupported(f"an input of rank {len(x.shape)}, expected images [n, c, h, w]")
    window = window_of(node, list(weight.shape[2:]))
    groups, parts = node.flag("group", 1), node.flag("offset_group", 1)
    (n, channels, *sizes), results = x.shape, node.shape[2:]
    if weight.shape[1] * groups != channels or channels % parts:
        raise misfit(node, weight, groups)
    taps, outputs = window.kernel[0] * window.kernel[1], results[0] * results[1]
    count, images, own = taps * outputs, n * parts, channels // parts
    pixels = builder.reshape(x, (images, own, sizes[0] * sizes[1]))
    table = builder.reshape(builder.transpose(pixels, [0, 2, 1]), (x.elements // own, own))
    shifts = builder.reshape(offset, (images, taps, 2, outputs))
    axes: list[_Points] = []
    found: list[list[Tap]] = []
    for axis in range(2):
        tap = np.arange(window.kernel[axis]) * window.dilations[axis] - window.before[axis]
        start = np.arange(results[axis]) * window.strides[axis]
        base = tap[:, None] + start
        shape = (window.kernel[0], 1, results[0], 1) if axis == 0 else (1, window.kernel[1], 1, results[1])
        whole = np.broadcast_to(base.reshape(shape), (*window.kernel, *results)).reshape(1, count, 1)
        shift = builder.reshape(sliced(builder, shifts, 2, axis, 1), (images, count, 1))
        place = builder.binary("add", shift, builder.constant(whole.astype(np.float32), "places"))
        points = _Points(builder, sizes[axis], "zeros", True)
        axes.append(points)
        found.append([(*points.index(position), part) for position, part in points.taps(place, "linear")])
    values = _interpolated(builder, table, images, axes, found)
    if mask is not None:
        values = builder.binary("mul", values, builder.reshape(mask, (images, count, 1)))
    columns = builder.transpose(builder.reshape(values, (images, taps, outputs, own)), [0, 3, 1, 2])
    columns = builder.reshape(columns, (n, groups, channels // groups * taps, outputs))
    rows = builder.reshape(weight, (groups, weight.shape[0] // groups, channels // groups * taps))
    result = builder.reshape(product(builder, rows, columns), node.shape)
    if not node.has(3):
        return result
    return binary(builder, "add", result, builder.reshape(node.input(3), (weight.shape[0], 1, 1)))
