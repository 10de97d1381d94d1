"""GridSample: an input that is read at points which are computed at run time."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.arithmetic import binary
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.movement import sliced

CUBIC = -0.75
MODES = {"linear": "linear", "bilinear": "linear", "nearest": "nearest", "cubic": "cubic", "bicubic": "cubic"}


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
    mode = MODES.get(node.attributes.get("mode", "linear"))
    padding = node.attributes.get("padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border", "reflection"):
        raise Unsupported(f"mode {node.attributes.get('mode')!r} with padding_mode {padding!r}")
    n, channels = x.shape[:2]
    count = grid.elements // (n * rank)
    table = builder.transpose(builder.reshape(x, (n, channels, x.elements // (n * channels))), [0, 2, 1])
    table = builder.reshape(table, (x.elements // channels, channels))  # one row for each pixel
    flat = builder.reshape(grid, (n, count, rank))
    axes, taps = [], []
    for axis, size in enumerate(x.shape[2:]):
        points = _Points(builder, size, padding, bool(node.flag("align_corners")))
        place = points.pixels(sliced(builder, flat, 2, rank - 1 - axis, 1))  # the grid has x before y
        if mode != "cubic":
            place = builder.unary(place, "clip", 0.0, size - 1.0) if padding == "border" else points.inside(place)
        axes.append(points)
        taps.append([(*points.index(position), weight) for position, weight in points.taps(place, mode)])
    samples = builder.constant(np.arange(n, dtype=np.int64)[:, None, None], "samples")
    parts = []
    for combination in itertools.product(*taps):
        row: Tensor = samples
        for points, (index, _, _) in zip(axes, combination, strict=True):
            row = builder.binary("add", builder.binary("mul", row, builder.like(index, points.size)), index)
        values = builder.moved("gather", [table], (n, count, 1, channels), (row,), axis=0)
        values = builder.reshape(values, (n, count, channels))
        weights = [weight for _, _, weight in combination if weight is not None]
        if weights:
            values = builder.binary("mul", values, reduce(lambda a, b: builder.binary("mul", a, b), weights))
        masks = [mask for _, mask, _ in combination if mask is not None]
        if masks:
            mask = reduce(lambda a, b: builder.binary("and", a, b), masks)
            values = builder.where(mask, values, builder.like(values, 0.0))
        parts.append(values)
    total = reduce(lambda a, b: binary(builder, "add", a, b), parts)
    return builder.reshape(builder.transpose(total, [0, 2, 1]), node.shape)
