"""Elements that are picked or placed by indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import (
    NARROW,
    Builder,
    Malformed,
    Node,
    Unsupported,
    lowers,
    normalize_axis,
)
from edgelane.export.compiler.lowering.movement import sliced

SCATTER_REDUCTIONS = ("none", "add", "mul", "max", "min")


def _indices(node: Node, builder: Builder, index: int = 1) -> Tensor:
    """Return the indices of a node; the ops take int32 and int64."""
    tensor = node.input(index)
    if tensor.dtype not in ("int32", "int64"):
        raise Unsupported(f"its indices are {tensor.dtype}, expected int32 or int64")
    return tensor


@lowers("Gather", accepts="any")
def gather(node: Node, builder: Builder) -> Tensor:
    """Lower evenly spaced constant indices to slice, others to gather."""
    x, indices = node.x, _indices(node, builder)
    axis = normalize_axis(node.flag("axis"), len(x.shape))
    size = x.shape[axis]
    if indices.data is None:
        return builder.moved("gather", [x], node.shape, (indices,), axis=axis)
    if not size or not indices.elements:
        raise Unsupported(f"an empty tensor of shape {list(node.shape)}")
    rows = indices.data % size
    flat = rows.reshape(-1)
    step = int(flat[1] - flat[0]) if len(flat) > 1 else 1
    if step >= 1 and np.array_equal(flat, flat[0] + step * np.arange(len(flat))):
        return builder.reshape(sliced(builder, x, axis, int(flat[0]), len(flat), step), node.shape)
    return builder.take(x, rows, axis)


@lowers("GatherElements", accepts="any")
def gather_elements(node: Node, builder: Builder) -> Tensor:
    """Lower to gather_elements."""
    axis = normalize_axis(node.flag("axis"), len(node.x.shape))
    return builder.moved("gather_elements", [node.x], node.shape, (_indices(node, builder),), axis=axis)


@lowers("GatherND", accepts="any")
def gather_nd(node: Node, builder: Builder) -> Tensor:
    """Lower to gather_nd."""
    indices = _indices(node, builder)
    return builder.moved("gather_nd", [node.x], node.shape, (indices,), batch_dims=node.flag("batch_dims"))


@lowers("ScatterElements", "Scatter", accepts="any")
def scatter_elements(node: Node, builder: Builder) -> Tensor:
    """Lower to scatter_elements."""
    axis = normalize_axis(node.flag("axis"), len(node.x.shape))
    return _scatter(node, builder, "scatter_elements", axis=axis)


@lowers("ScatterND", accepts="any")
def scatter_nd(node: Node, builder: Builder) -> Tensor:
    """Lower to scatter_nd."""
    return _scatter(node, builder, "scatter_nd")


def _scatter(node: Node, builder: Builder, op: str, **attributes: Any) -> Tensor:
    x, indices, updates = node.x, _indices(node, builder), node.input(2)
    reduction = node.choice("reduction", SCATTER_REDUCTIONS)
    if not updates.elements:
        return x
    if reduction != "none":
        if x.dtype == "bool":
            raise Unsupported(f"the reduction {reduction!r} of bool")
        x, updates = builder.widened(x), builder.widened(updates)
    x, updates = builder.alike([x, updates])
    output = builder.step(
        op, [x, indices, updates], node.shape, dtype=x.dtype, scatter_reduction=reduction, **attributes
    )
    output.quantization, output.stored_as = x.quantization, x.stored_as
    return builder.cast(output, node.dtypes[0]) if node.dtypes[0] in NARROW and output.dtype == "int32" else output


@lowers("TopK", accepts="number")
def top_k(node: Node, builder: Builder) -> list[Tensor]:
    """Lower to top_k, which gives the indices, and gather_elements for the values."""
    x = node.x
    axis = normalize_axis(node.flag("axis", -1), len(x.shape))
    count = node.flag("k") if "k" in node.attributes else int(node.scalar(1, "its k"))
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    places = builder.step("top_k", [x], shape, dtype="int64", axis=axis, largest=node.flag("largest", 1))
    return [builder.moved("gather_elements", [x], shape, (places,), axis=axis), places]


@lowers("OneHot", accepts="any")
def one_hot(node: Node, builder: Builder) -> Tensor:
    """Lower to a comparison with every class and a selection between the two values."""
    indices, depth = builder.widened(node.x), int(node.scalar(1, "its depth"))
    if indices.dtype == "float32":
        indices = builder.cast(indices, "int64")
    axis = normalize_axis(node.flag("axis", -1), len(node.shape))
    shape = (*indices.shape[:axis], 1, *indices.shape[axis:])
    column = builder.reshape(indices, shape)
    negative = builder.binary("less", column, builder.like(column, 0))
    column = builder.where(negative, builder.binary("add", column, builder.like(column, depth)), column)
    classes = np.arange(depth, dtype=column.dtype).reshape([depth if i == axis else 1 for i in range(len(shape))])
    hit = builder.binary("equal", column, builder.constant(classes, "classes"))
    values = node.input(2)
    off, on = (builder.reshape(sliced(builder, values, 0, i, 1), ()) if values.data is None else None for i in (0, 1))
    if values.data is not None:
        off, on = (builder.constant(values.data[i], name) for i, name in enumerate(("off", "on")))
    assert off is not None
    assert on is not None
    return builder.where(hit, on, off)


@lowers("Compress", accepts="any")
def compress(node: Node, builder: Builder) -> Tensor:
    """Lower to gather: which elements stay is known."""
    x, keep = node.x, np.flatnonzero(node.constant(1, "its condition"))
    if "axis" not in node.attributes:
        return builder.take(builder.reshape(x, (x.elements,)), keep, 0)
    return builder.take(x, keep, normalize_axis(node.flag("axis"), len(x.shape)))


@lowers("ReverseSequence", accepts="any")
def reverse_sequence(node: Node, builder: Builder) -> Tensor:
    """Lower to gather over time and batch together: the lengths are known."""
    x, lengths = node.x, node.constant(1, "its sequence_lens")
    time, batch = node.flag("time_axis"), node.flag("batch_axis", 1)
    order = [batch, time, *(axis for axis in range(len(x.shape)) if axis not in (batch, time))]
    steps = np.arange(x.shape[time])
    rows = np.stack([np.where(steps < n, n - 1 - steps, steps) for n in lengths])
    rows = rows + np.arange(x.shape[batch])[:, None] * x.shape[time]
    moved = builder.transpose(x, order)
    flat = builder.reshape(moved, (rows.size, *moved.shape[2:]))
    back = builder.reshape(builder.take(flat, rows.reshape(-1), 0), moved.shape)
    return builder.transpose(back, [order.index(axis) for axis in range(len(order))])


@lowers("Trilu", accepts="any")
def trilu(node: Node, builder: Builder) -> Tensor:
    """Lower to a selection between the input and 0 by a constant mask."""
    x, k = node.x, int(node.scalar(1, "its k")) if node.has(1) else 0
    ones = np.ones(x.shape[-2:], bool)
    mask = builder.constant(np.triu(ones, k) if node.flag("upper", 1) else np.tril(ones, k), "mask")
    x = builder.plain(x)
    return builder.where(mask, x, builder.like(x, 0))


@lowers("EyeLike", accepts="any")
def eye_like(node: Node, builder: Builder) -> Tensor:
    """Make a constant of the input's shape."""
    return builder.constant(np.eye(node.x.shape[0], node.x.shape[1], k=node.flag("k")).astype(node.dtypes[0]), "eye")


@lowers("CumSum", "CumProd", accepts="number")
def cumulative(node: Node, builder: Builder) -> Tensor:
    """Lower to log2(size) additions or products of the values with themselves, shifted by 1, 2, 4, ..."""
    x, rank = node.x, len(node.x.shape)
    axis = normalize_axis(int(node.scalar(1, "its axis")), rank)
    size = x.shape[axis]
    function, neutral = ("add", 0.0) if node.op == "CumSum" else ("mul", 1.0)
    backwards = np.arange(size)[::-1]
    if node.flag("reverse"):
        x = builder.take(x, backwards, axis)

    def shifted(tensor: Tensor, by: int) -> Tensor:
        kept = sliced(builder, tensor, axis, 0, size - by)
        before = [by if i == axis else 0 for i in range(rank)]
        return builder.moved("pad", [kept], tensor.shape, before=before, mode="constant", value=neutral)

    if node.flag("exclusive"):
        x = shifted(x, 1) if size > 1 else builder.constant(np.full(x.shape, neutral, x.dtype), "neutral")
    distance = 1
    while distance < size:
        x = builder.binary(function, x, shifted(x, distance))
        distance *= 2
    return builder.take(x, backwards, axis) if node.flag("reverse") else x


@lowers("TensorScatter", accepts="any")
def tensor_scatter(node: Node, builder: Builder) -> Tensor:
    """Lower to scatter_nd: a run of rows from each sample's own position on, which wraps around in a circular cache."""
    cache, update = node.x, node.input(1)
    rank = len(cache.shape)
    axis = normalize_axis(node.flag("axis", -2), rank)
    length, size = update.shape[axis], cache.shape[axis]
    if axis == 0:
        raise Malformed("its axis is the batch")
    starts = node.optional(2)
    if starts is None:
        starts = builder.constant(np.zeros(cache.shape[0], np.int64), "starts")
    if starts.dtype not in ("int32", "int64"):
        raise Unsupported(f"its write_indices are {starts.dtype}, expected int32 or int64")
    order = [0, axis, *(i for i in range(1, rank) if i != axis)]
    column = builder.reshape(starts, (cache.shape[0], 1))
    rows = builder.binary("add", column, builder.constant(np.arange(length, dtype=starts.dtype)[None], "offsets"))
    if node.choice("mode", ("linear", "circular")) == "circular":
        rows = builder.binary("mod", rows, builder.like(rows, size))
    batch = builder.constant(np.arange(cache.shape[0], dtype=starts.dtype)[:, None] * size, "batch")
    flat_rows = builder.reshape(builder.binary("add", rows, batch), (cache.shape[0] * length, 1))
    moved, values = builder.alike([builder.transpose(cache, order), builder.transpose(update, order)])
    rest = moved.shape[2:]
    table = builder.reshape(moved, (cache.shape[0] * size, *rest))
    values = builder.reshape(values, (cache.shape[0] * length, *rest))
    result = builder.step(
        "scatter_nd", [table, flat_rows, values], table.shape, dtype=table.dtype, scatter_reduction="none"
    )
    result.quantization, result.stored_as = table.quantization, table.stored_as
    result = builder.reshape(result, moved.shape)
    return builder.transpose(result, [order.index(i) for i in range(rank)])
