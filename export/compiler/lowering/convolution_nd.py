"""Convolutions of three axes: one convolution of height and width for each tap along the depth, added up."""

from __future__ import annotations

from functools import reduce

import numpy as np

from edgelane.export.compiler.graph import Shape, Tensor
from edgelane.export.compiler.lowering.base import Builder
from edgelane.export.compiler.lowering.windows import Window, conv2d, conv_transpose2d


def _plane_window(window: Window) -> Window:
    """Return the window of height and width."""
    return Window(window.kernel[1:], window.strides[1:], window.dilations[1:], window.before[1:], window.after[1:])


def _depth_first(builder: Builder, x: Tensor) -> Tensor:
    """Return [n, c, d, h, w] as [n, d, c, h, w]."""
    return builder.transpose(x, [0, 2, 1, 3, 4])


def _padded(builder: Builder, x: Tensor, before: int, after: int) -> Tensor:
    """Append zeros around the depth of [n, d, c, h, w]."""
    if not before and not after:
        return x
    shape = (x.shape[0], x.shape[1] + before + after, *x.shape[2:])
    return builder.step("pad", [x], shape, before=[0, before, 0, 0, 0], mode="constant", value=0.0)


def _slices(builder: Builder, x: Tensor, start: int, count: int, step: int) -> Tensor:
    """Append x[:, start : start + count * step : step] of [n, d, c, h, w]."""
    shape = (x.shape[0], count, *x.shape[2:])
    return builder.moved("slice", [x], shape, starts=[0, start, 0, 0, 0], steps=[1, step, 1, 1, 1])


def conv3d(
    builder: Builder, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int, shape: Shape
) -> Tensor:
    """Append a convolution of [n, c, d, h, w]."""
    assert weight.data is not None
    n, depth = shape[0], shape[2]
    source = _padded(builder, _depth_first(builder, x), window.before[0], window.after[0])
    parts = []
    for tap in range(window.kernel[0]):
        part = _slices(builder, source, tap * window.dilations[0], depth, window.strides[0])
        images = builder.reshape(part, (n * depth, *part.shape[2:]))
        taps = builder.constant(weight.data[:, :, tap], "weight")
        parts.append(conv2d(builder, images, taps, bias if tap == 0 else None, _plane_window(window), groups))
    total = reduce(lambda a, b: builder.binary("add", a, b), parts)
    return _depth_first(builder, builder.reshape(total, (n, depth, shape[1], *shape[3:])))


def conv_transpose3d(
    builder: Builder, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int, shape: Shape
) -> Tensor:
    """Append a transposed convolution of [n, c, d, h, w] to an output of `shape`."""
    assert weight.data is not None
    n, depth, stride = shape[0], x.shape[2], window.strides[0]
    images = _depth_first(builder, x)
    images = builder.reshape(images, (n * depth, *images.shape[2:]))
    spread = (depth - 1) * stride + 1
    full = spread + window.covered(0) - 1  # depth of the result before padding is cut off or added
    parts = []
    for tap in range(window.kernel[0]):
        taps = builder.constant(weight.data[:, :, tap], "weight")
        planes = conv_transpose2d(builder, images, taps, None, _plane_window(window), groups, shape[3:])
        planes = builder.reshape(planes, (n, depth, 1, shape[1] * shape[3] * shape[4]))
        if stride > 1:  # stride - 1 empty planes behind each
            zeros = [0, 0, 0, 0]
            wide = (n, depth, stride, planes.shape[3])
            planes = builder.step("pad", [planes], wide, before=zeros, mode="constant", value=0.0)
        planes = builder.reshape(planes, (n, depth * stride, shape[1], *shape[3:]))
        planes = _slices(builder, planes, 0, spread, 1)
        start = tap * window.dilations[0]
        parts.append(_padded(builder, planes, start, full - spread - start))
    total = reduce(lambda a, b: builder.binary("add", a, b), parts)
    begin, size = window.before[0], shape[2]
    total = _padded(builder, total, max(-begin, 0), max(begin + size - full, 0))
    result = _depth_first(builder, _slices(builder, total, max(begin, 0), size, 1))
    if bias is None or bias.data is None:
        return result
    return builder.affine(result, np.ones(shape[1]), bias.data)
