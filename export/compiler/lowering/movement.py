"""Ops that move elements without changing them, for every dtype."""

from __future__ import annotations

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers, normalize_axis


@lowers("Identity", "Dropout", any_dtype=True)
def identity(node: Node, builder: Builder) -> Tensor:
    """Hand the input on."""
    if node.op == "Dropout" and len(node.shapes) > 1 and node.shapes[1] is not None:
        raise Unsupported("its mask is used")
    return node.x


@lowers("Cast", "CastLike", any_dtype=True)
def cast(node: Node, builder: Builder) -> Tensor:
    """Hand the input on; a cast that changes the type of run-time values is not possible."""
    target = int(node.attributes["to"]) if node.op == "Cast" else None
    names = {1: "float32", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
    wanted = names.get(target) if target is not None else node.input(1).dtype
    if node.x.dtype != wanted or node.x.quantization is not None:
        raise Unsupported(f"from {node.x.dtype} to {wanted or f'ONNX type {target}'}")
    return node.x


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze", any_dtype=True)
def reshape(node: Node, builder: Builder) -> Tensor:
    """Lower to reshape; the shape is known."""
    return builder.reshape(node.x, node.shape)


@lowers("Expand", any_dtype=True)
def expand(node: Node, builder: Builder) -> Tensor:
    """Lower an expansion that copies nothing to reshape."""
    if node.x.elements != int(np.prod(node.shape)):
        raise Unsupported(f"from {list(node.x.shape)} to {list(node.shape)} it would copy elements")
    return builder.reshape(node.x, node.shape)


@lowers("Transpose", any_dtype=True)
def transpose(node: Node, builder: Builder) -> Tensor:
    """Lower to transpose; a dequantised constant keeps its integers."""
    x = node.x
    perm = tuple(int(axis) for axis in node.attributes.get("perm", reversed(range(len(x.shape)))))
    if x.data is not None:  # the weights of a linear layer behind DequantizeLinear
        result = builder.constant(x.data.transpose(perm), "transposed")
        result.origin = x.origin.transposed(perm) if x.origin else None
        return result
    return builder.moved("transpose", [x], node.shape, perm=list(perm))


@lowers("Concat", any_dtype=True)
def concat(node: Node, builder: Builder) -> Tensor:
    """Lower to concat."""
    parts = [tensor for tensor in node.inputs if tensor is not None]
    if len(parts) > 255:
        raise Unsupported(f"{len(parts)} inputs, at most 255 are possible")
    return builder.moved(
        "concat", parts, node.shape, axis=normalize_axis(int(node.attributes["axis"]), len(node.shape))
    )


def sliced(builder: Builder, x: Tensor, axis: int, start: int, size: int, step: int = 1) -> Tensor:
    """Append x[start : start + size * step : step] along one axis."""
    shape = list(x.shape)
    shape[axis] = size
    starts = [start if i == axis else 0 for i in range(len(shape))]
    steps = [step if i == axis else 1 for i in range(len(shape))]
    return builder.moved("slice", [x], tuple(shape), starts=starts, steps=steps)


@lowers("Slice", any_dtype=True)
def slice_(node: Node, builder: Builder) -> Tensor:
    """Lower to slice with clamped starts."""
    rank = len(node.x.shape)
    starts, ends = node.ints("starts", 1), node.ints("ends", 2)
    if starts is None or ends is None:
        raise Unsupported("starts or ends are absent")
    axes = node.ints("axes", 3) or list(range(len(starts)))
    steps = node.ints("steps", 4) or [1] * len(starts)
    begin, stride = [0] * rank, [1] * rank
    for axis, start, step in zip(axes, starts, steps, strict=True):
        if step < 1:
            raise Unsupported(f"step {step}, only positive steps are possible")
        position = normalize_axis(axis, rank)
        size = node.x.shape[position]
        begin[position] = min(max(start + size if start < 0 else start, 0), size)
        stride[position] = step
    return builder.moved("slice", [node.x], node.shape, starts=begin, steps=stride)


@lowers("Split", any_dtype=True)
def split(node: Node, builder: Builder) -> list[Tensor]:
    """Lower to one slice for each output."""
    axis = normalize_axis(int(node.attributes.get("axis", 0)), len(node.x.shape))
    sizes = node.ints("split", 1)
    if sizes is None:
        count, size = len(node.shapes), node.x.shape[axis]
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
    starts = np.cumsum([0, *sizes]).tolist()
    return [sliced(builder, node.x, axis, start, size) for start, size in zip(starts, sizes, strict=False)]


@lowers("Gather", any_dtype=True)
def gather(node: Node, builder: Builder) -> Tensor:
    """Lower evenly spaced constant indices to slice."""
    axis = normalize_axis(int(node.attributes.get("axis", 0)), len(node.x.shape))
    size = node.x.shape[axis]
    indices = [int(i) % size for i in node.constant(1, "its indices").reshape(-1)]
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    if step < 1 or indices != list(range(indices[0], indices[0] + step * len(indices), step)):
        raise Unsupported("its indices are not evenly spaced and rising")
    return builder.reshape(sliced(builder, node.x, axis, indices[0], len(indices), step), node.shape)


@lowers("DepthToSpace", "SpaceToDepth", any_dtype=True)
def depth_space(node: Node, builder: Builder) -> Tensor:
    """Lower to reshape, transpose, reshape."""
    n, c, h, w = node.x.shape
    b = int(node.attributes["blocksize"])
    if node.op == "SpaceToDepth":
        folded, perm = (n, c, h // b, b, w // b, b), [0, 3, 5, 1, 2, 4]
    elif node.attributes.get("mode", "DCR") == "DCR":
        folded, perm = (n, b, b, c // (b * b), h, w), [0, 3, 4, 1, 5, 2]
    else:
        folded, perm = (n, c // (b * b), b, b, h, w), [0, 1, 4, 2, 5, 3]
    moved = builder.moved(
        "transpose", [builder.reshape(node.x, folded)], tuple(folded[axis] for axis in perm), perm=perm
    )
    return builder.reshape(moved, node.shape)


@lowers("Pad")
def pad(node: Node, builder: Builder) -> Tensor:
    """Lower to pad; negative amounts crop first."""
    rank = len(node.x.shape)
    given = node.ints("pads", 1)
    mode = node.attributes.get("mode", "constant")
    if given is None or mode not in ("constant", "reflect", "edge"):
        raise Unsupported(f"mode {mode!r}, expected constant, reflect or edge")
    axes = [normalize_axis(axis, rank) for axis in node.ints("axes", 3) or range(rank)]
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = given[position], given[position + len(axes)]
    value = node.scalar(2, "its value") if node.has(2) else float(node.attributes.get("value", 0.0))
    x = node.x
    if min(before + after) < 0:  # a negative padding crops
        starts = [max(-amount, 0) for amount in before]
        kept = tuple(x.shape[i] - starts[i] - max(-after[i], 0) for i in range(rank))
        x = builder.moved("slice", [x], kept, starts=starts, steps=[1] * rank)
    before = [max(amount, 0) for amount in before]
    return builder.step("pad", [x], node.shape, before=before, mode=mode, value=value if mode == "constant" else 0.0)
