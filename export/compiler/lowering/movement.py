"""Ops that move elements without changing them, for every dtype."""

from __future__ import annotations

import numpy as np

from edgelane.export.compiler.graph import Array, Tensor
from edgelane.export.compiler.lowering.base import Builder, Malformed, Node, Unsupported, lowers, normalize_axis


@lowers("Identity", accepts="any")
def identity(node: Node, builder: Builder) -> Tensor:
    """Hand the input on."""
    return node.x


@lowers("Dropout", accepts="any")
def dropout(node: Node, builder: Builder) -> list[Tensor]:
    """Hand the input on, with a mask that keeps everything."""
    ratio = node.scalar(1, "its ratio") if node.has(1) else node.real("ratio", 0.5)
    if node.has(2) and node.scalar(2, "its training_mode") and ratio != 0:
        raise Unsupported("it is in training mode; export the model after model.eval()")
    if not node.wants(1):
        return [node.x]
    return [node.x, builder.constant(np.ones(node.x.shape, node.dtypes[1]), "mask")]


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze", accepts="any")
def reshape(node: Node, builder: Builder) -> Tensor:
    """Lower to reshape; the shape is known."""
    return builder.reshape(node.x, node.shape)


@lowers("Expand", accepts="any")
def expand(node: Node, builder: Builder) -> Tensor:
    """Lower to pad, which repeats the one element of an axis."""
    return expanded(builder, node.x, node.shape)


def expanded(builder: Builder, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Append copies along axes of size 1."""
    if x.data is not None:
        return builder.constant(np.broadcast_to(x.data, shape), "expanded")
    x = builder.reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
    return x if x.shape == shape else builder.moved("pad", [x], shape, before=[0] * len(shape), mode="edge")


@lowers("Tile", accepts="any")
def tile(node: Node, builder: Builder) -> Tensor:
    """Lower to pad, which goes on with the input from its beginning."""
    x = node.x
    return x if x.shape == node.shape else builder.moved("pad", [x], node.shape, before=[0] * len(x.shape), mode="wrap")


@lowers("Transpose", accepts="any")
def transpose(node: Node, builder: Builder) -> Tensor:
    """Lower to transpose; a dequantised constant keeps its integers."""
    x = node.x
    perm = tuple(int(axis) for axis in node.attributes.get("perm", reversed(range(len(x.shape)))))
    if x.data is not None:  # the weights of a linear layer behind DequantizeLinear
        result = builder.constant(x.data.transpose(perm), "transposed")
        result.origin = x.origin.transposed(perm) if x.origin else None
        return result
    return builder.moved("transpose", [x], node.shape, perm=list(perm))


@lowers("Concat", accepts="any")
def concat(node: Node, builder: Builder) -> Tensor:
    """Lower to concat; what is empty adds nothing."""
    parts = [tensor for tensor in node.inputs if tensor is not None and tensor.elements]
    if len(parts) > 255:
        raise Unsupported(f"{len(parts)} inputs, at most 255 are possible")
    axis = normalize_axis(node.flag("axis", 1), len(node.shape))
    return parts[0] if len(parts) == 1 else builder.moved("concat", parts, node.shape, axis=axis)


def sliced(builder: Builder, x: Tensor, axis: int, start: int, size: int, step: int = 1) -> Tensor:
    """Append x[start : start + size * step : step] along one axis."""
    shape = list(x.shape)
    shape[axis] = size
    if x.shape == tuple(shape) and step == 1:
        return x
    starts = [start if i == axis else 0 for i in range(len(shape))]
    steps = [step if i == axis else 1 for i in range(len(shape))]
    return builder.moved("slice", [x], tuple(shape), starts=starts, steps=steps)


@lowers("Slice", accepts="any")
def slice_(node: Node, builder: Builder) -> Tensor:
    """Lower to slice with clamped starts; an axis that is read backwards to gather."""
    x, rank = node.x, len(node.x.shape)
    starts, ends = node.ints("starts", 1), node.ints("ends", 2)
    if starts is None or ends is None:
        raise Unsupported("starts or ends are absent")
    axes = node.ints("axes", 3) or list(range(len(starts)))
    steps = node.ints("steps", 4) or [1] * len(starts)
    begin, stride, kept = [0] * rank, [1] * rank, list(x.shape)
    backwards = []
    for axis, start, step in zip(axes, starts, steps, strict=True):
        position = normalize_axis(axis, rank)
        size = x.shape[position]
        first = start + size if start < 0 else start
        if step < 0:
            rows = min(max(first, 0), size - 1) + step * np.arange(node.shape[position])
            backwards.append((position, rows))
            continue
        begin[position] = min(max(first, 0), size)
        stride[position] = step
        kept[position] = node.shape[position]
    if tuple(kept) != x.shape:
        x = builder.moved("slice", [x], tuple(kept), starts=begin, steps=stride)
    for position, rows in backwards:
        x = builder.take(x, rows, position)
    return x


@lowers("Split", accepts="any")
def split(node: Node, builder: Builder) -> list[Tensor]:
    """Lower to one slice for each output."""
    axis = normalize_axis(node.flag("axis"), len(node.x.shape))
    sizes = node.ints("split", 1)
    if sizes is None:
        count, size = len(node.shapes), node.x.shape[axis]
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
    starts = np.cumsum([0, *sizes]).tolist()
    return [
        sliced(builder, node.x, axis, start, size) if node.wants(index) else node.x
        for index, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]


@lowers("DepthToSpace", "SpaceToDepth", accepts="any")
def depth_space(node: Node, builder: Builder) -> Tensor:
    """Lower to reshape, transpose, reshape."""
    n, c, h, w = node.x.shape
    b, depth_first = int(node.attributes["blocksize"]), node.choice("mode", ("DCR", "CRD")) == "DCR"
    if node.op == "SpaceToDepth":
        folded, perm = (n, c, h // b, b, w // b, b), [0, 3, 5, 1, 2, 4] if depth_first else [0, 1, 3, 5, 2, 4]
    elif depth_first:
        folded, perm = (n, b, b, c // (b * b), h, w), [0, 3, 4, 1, 5, 2]
    else:
        folded, perm = (n, c // (b * b), b, b, h, w), [0, 1, 4, 2, 5, 3]
    moved = builder.transpose(builder.reshape(node.x, folded), perm)
    return builder.reshape(moved, node.shape)


@lowers("Pad", accepts="any")
def pad(node: Node, builder: Builder) -> Tensor:
    """Lower to pad; negative amounts crop first."""
    x, rank = node.x, len(node.x.shape)
    given = node.ints("pads", 1)
    mode = node.choice("mode", ("constant", "reflect", "edge", "wrap"))
    if given is None:
        raise Malformed("it has no pads")
    axes = [normalize_axis(axis, rank) for axis in node.ints("axes", 3) or range(rank)]
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = given[position], given[position + len(axes)]
    value = node.scalar(2, "its value") if node.has(2) and mode == "constant" else node.real("value", 0.0)
    if min(before + after) < 0:  # a negative padding crops
        starts = [max(-amount, 0) for amount in before]
        kept = tuple(x.shape[i] - starts[i] - max(-after[i], 0) for i in range(rank))
        x = builder.moved("slice", [x], kept, starts=starts, steps=[1] * rank)
    before = [max(amount, 0) for amount in before]
    if mode == "reflect":
        x, before = _reflected_again(builder, x, before, [max(amount, 0) for amount in after])
    if x.shape == node.shape and not any(before):
        return x
    if mode == "constant" and not np.isfinite(value):  # the step takes finite values
        return _surrounded(builder, x, node.shape, before, value)
    if x.stored_as == "uint8":
        x = builder.plain(x)
    elif mode == "constant" and x.quantization is not None:
        value = (value - x.quantization.zero_point) * x.quantization.scale  # the step takes the real value
    return builder.moved("pad", [x], node.shape, before=before, mode=mode, value=value if mode == "constant" else 0.0)


def _surrounded(builder: Builder, x: Tensor, shape: tuple[int, ...], before: list[int], value: float) -> Tensor:
    """Append padding, then put the value where the padding is."""
    padded = builder.moved("pad", [x], shape, before=before, mode="constant", value=0.0)
    inside = np.ones((1,) * len(shape), bool)
    for axis, size in enumerate(shape):
        if size != x.shape[axis]:
            places: Array = np.arange(size) - before[axis]
            places = places.reshape([-1 if i == axis else 1 for i in range(len(shape))])
            inside = inside & (places >= 0) & (places < x.shape[axis])
    return builder.where(builder.constant(inside, "inside"), padded, builder.like(padded, value))


def _reflected_again(builder: Builder, x: Tensor, before: list[int], after: list[int]) -> tuple[Tensor, list[int]]:
    """Gather along axes with more padding than there are elements to reflect, which goes on from border to border."""
    rest = list(before)
    for axis, size in enumerate(x.shape):
        if max(before[axis], after[axis]) >= size:
            period = max(2 * (size - 1), 1)
            places = (np.arange(-before[axis], size + after[axis]) + size - 1) % period
            x, rest[axis] = builder.take(x, np.abs(places - (size - 1)) * (size > 1), axis), 0
    return x, rest
