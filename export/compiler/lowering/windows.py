"""Windows that slide over an input, and convolutions of two axes; those of one axis are images of height 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelane.export.compiler.graph import Array, QuantizedConstant, Shape, Tensor
from edgelane.export.compiler.lowering.base import Builder, Malformed, NeedsConstant, Node, Unsupported, check_table

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass
class Window:
    """A sliding window over the spatial axes, `auto_pad` resolved."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    def covered(self, axis: int) -> int:
        """Elements from the first to the last tap along an axis."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def reach(self, sizes: Shape, results: Shape) -> list[int]:
        """Return the padding at the end, lengthened so that it holds the windows that ceil_mode adds."""
        return [
            max(after, (results[i] - 1) * self.strides[i] + self.covered(i) - sizes[i] - self.before[i])
            for i, after in enumerate(self.after)
        ]


def cells(window: Window, sizes: Sequence[int], results: Sequence[int]) -> Array:
    """Return the flat index, in an input of `sizes`, of each tap of each window: [windows, taps].

    A tap in the padding stands for the window's first one that is not.
    """
    check_table(math.prod(results) * math.prod(window.kernel), "its windows")
    table = np.zeros((1, 1), np.int64)
    for axis, (size, count) in enumerate(zip(sizes, results, strict=True)):
        starts = np.arange(count) * window.strides[axis] - window.before[axis]
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        inside = (taps >= 0) & (taps < size)
        first = np.take_along_axis(taps, inside.argmax(axis=1)[:, None], axis=1)
        taps = np.where(inside, taps, first)
        table = (table[:, None, :, None] * size + taps[None, :, None, :]).reshape(
            table.shape[0] * count, table.shape[1] * window.kernel[axis]
        )
    return table


def window_of(node: Node, kernel: list[int]) -> Window:
    """Read strides, dilations and padding of a node whose window has that size."""
    rank = len(kernel)
    strides = [int(v) for v in node.attributes.get("strides", [1] * rank)]
    dilations = [int(v) for v in node.attributes.get("dilations", [1] * rank)]
    pads = [int(v) for v in node.attributes.get("pads", [0] * (2 * rank))]
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or len(node.x.shape) != rank + 2:
        raise Malformed(f"a window of {rank} axes does not fit its attributes and input {list(node.x.shape)}")
    window = Window(kernel, strides, dilations, pads[:rank], pads[rank:])
    mode = node.choice("auto_pad", AUTO_PADS)
    if mode == "VALID":
        window.before, window.after = [0] * rank, [0] * rank
    elif mode != "NOTSET":
        for axis in range(rank):
            size = node.x.shape[2 + axis]
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + window.covered(axis) - size, 0)
            small, large = total // 2, total - total // 2
            window.before[axis] = large if mode == "SAME_LOWER" else small
            window.after[axis] = small if mode == "SAME_LOWER" else large
    return window


def weight_of(node: Node, index: int, builder: Builder) -> Tensor:
    """Return constant weights as a tensor of their own: passes change them without touching another step's."""
    weight = node.input(index)
    if weight.data is None:
        raise NeedsConstant("its weight", weight)
    if weight.dtype != "float32":
        raise Unsupported(f"its weight is {weight.dtype}, expected float32 or int8 behind DequantizeLinear")
    copy = builder.constant(weight.data, "weight")
    copy.origin = weight.origin
    return copy


def bias_of(node: Node, index: int, count: int, builder: Builder) -> Tensor | None:
    """Return a constant bias of `count` values, or None where there is none."""
    if not node.has(index):
        return None
    values = node.constant(index, "its bias")
    if values.dtype != np.float32:
        raise Unsupported(f"its bias is {values.dtype}, expected float32")
    if values.size not in (1, count):
        raise Malformed(f"a bias of {values.size} values, expected {count}")
    bias = builder.constant(np.broadcast_to(values.reshape(-1), (count,)), "bias")
    if values.size == count:
        bias.origin = node.input(index).origin
    return bias


def misfit(node: Node, weight: Tensor, groups: int) -> Malformed:
    """Say that weights and input do not fit each other."""
    return Malformed(f"weights {list(weight.shape)} in {groups} groups do not fit input {list(node.x.shape)}")


def as_image(builder: Builder, x: Tensor) -> Tensor:
    """Return [n, c, w] as [n, c, 1, w]."""
    return builder.reshape(x, (*x.shape[:2], 1, *x.shape[2:]))


def _lifted(builder: Builder, weight: Tensor) -> Tensor:
    """Return weights of one axis as weights of height 1."""
    lifted = builder.reshape(weight, (*weight.shape[:2], 1, *weight.shape[2:]))
    if weight.origin is not None:
        values = weight.origin.values.reshape(lifted.shape)
        axis = weight.origin.axis + (weight.origin.axis >= 2)
        lifted.origin = QuantizedConstant(values, weight.origin.scales, axis)
    return lifted


def conv2d(builder: Builder, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> Tensor:
    """Append a convolution of one or two axes."""
    lift = [] if window.rank == 2 else [1]
    zero = [0] * len(lift)
    if lift:
        x, weight = as_image(builder, x), _lifted(builder, weight)
    strides, dilations = lift + window.strides, lift + window.dilations
    before, after = zero + window.before, zero + window.after
    sizes = [
        (x.shape[2 + i] + before[i] + after[i] - (weight.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in range(2)
    ]
    return builder.step(
        "conv2d",
        [x, weight, bias],
        (x.shape[0], weight.shape[0], *sizes),
        strides=strides,
        pads=before + after,
        dilations=dilations,
        groups=groups,
    )


def conv_transpose2d(
    builder: Builder, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int, size: Shape
) -> Tensor:
    """Append a transposed convolution of one or two axes to an output of `size`. What negative padding adds is 0."""
    lift = [] if window.rank == 2 else [1]
    zero = [0] * len(lift)
    if lift:
        x, weight, size = as_image(builder, x), _lifted(builder, weight), (1, *size)
    strides, dilations = lift + window.strides, lift + window.dilations
    before, after = zero + window.before, zero + window.after
    # The op takes padding of at least 0 and an output that is longer than that by less than a stride or a dilation.
    margin = [max(-amount, 0) for amount in before]
    inner = []
    for i in range(2):
        most = strides[i] * (x.shape[2 + i] - 1) + (weight.shape[2 + i] - 1) * dilations[i] + 1 - max(before[i], 0)
        most += max(strides[i], dilations[i]) - 1
        inner.append(min(size[i] - margin[i], most))
    channels = weight.shape[1] * groups
    padded = any(margin) or inner != list(size)
    result = builder.step(
        "conv_transpose2d",
        [x, weight, None if padded else bias],
        (x.shape[0], channels, *inner),
        strides=strides,
        pads=[max(amount, 0) for amount in before + after],
        dilations=dilations,
        groups=groups,
    )
    if padded:
        shape = (x.shape[0], channels, *size)
        result = builder.step("pad", [result], shape, before=[0, 0, *margin], mode="constant", value=0.0)
        if bias is not None and bias.data is not None:
            result = builder.affine(result, np.ones(channels), bias.data)
    return result
