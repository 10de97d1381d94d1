"""Reductions over axes, and functions that need a whole axis at once."""

from __future__ import annotations

import math

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers, normalize_axis

REDUCTIONS = {
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "product",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
    "ReduceSumSquare": "sum_square",
}


@lowers(*REDUCTIONS, accepts="any")
def reduce_(node: Node, builder: Builder) -> Tensor:
    """Lower to global_average_pool for the mean of height and width, else to reduce."""
    x, reduction = builder.widened(node.x), REDUCTIONS[node.op]
    given = node.ints("axes", 1)
    if not given:
        if node.flag("noop_with_empty_axes"):
            return _of_one(node, builder, x, reduction)
        given = list(range(len(x.shape)))
    axes = sorted({normalize_axis(axis, len(x.shape)) for axis in given})
    if not axes:  # a scalar
        return _of_one(node, builder, x, reduction)
    if x.dtype == "bool":
        if reduction not in ("max", "min"):
            raise Unsupported("its input is bool, expected float32, int32, int64, int8 or uint8")
        x = builder.cast(x, "int32")
    if len(x.shape) == 4 and axes == [2, 3] and reduction == "mean" and x.dtype == "float32":
        result = builder.step("global_average_pool", [x], (*x.shape[:2], 1, 1))
    else:
        result = builder.reduce(x, axes, reduction)
    return builder.cast(builder.reshape(result, node.shape), node.dtypes[0])


def _of_one(node: Node, builder: Builder, x: Tensor, reduction: str) -> Tensor:
    """Reduce each element by itself."""
    if reduction in ("mean", "sum", "max", "min", "product"):
        return node.x
    one = builder.reduce(builder.reshape(x, (x.elements, 1)), [1], reduction)
    return builder.cast(builder.reshape(one, x.shape), node.dtypes[0])


@lowers("ArgMax", "ArgMin", accepts="number")
def arg_reduce(node: Node, builder: Builder) -> Tensor:
    """Lower to arg_reduce."""
    x = node.x
    axis = normalize_axis(node.flag("axis"), len(x.shape))
    kept = tuple(1 if i == axis else dim for i, dim in enumerate(x.shape))
    best = builder.step(
        "arg_reduce",
        [x],
        kept,
        dtype="int64",
        axis=axis,
        largest=int(node.op == "ArgMax"),
        select_last=node.flag("select_last_index"),
    )
    return builder.reshape(best, node.shape)


def _flat_before_13(node: Node, builder: Builder) -> tuple[Tensor, int]:
    """Return the input and the axis; before opset 13 everything from the axis on was one axis."""
    x = node.x
    if node.opset >= 13:
        return x, normalize_axis(node.flag("axis", -1), len(x.shape))
    axis = normalize_axis(node.flag("axis", 1), len(x.shape)) if node.flag("axis", 1) != len(x.shape) else len(x.shape)
    if x.shape[axis:] and math.prod(x.shape[axis:]) == x.shape[axis]:
        return x, axis
    return builder.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))), 1


@lowers("Softmax", "LogSoftmax")
def softmax(node: Node, builder: Builder) -> Tensor:
    """Lower to softmax or log_softmax."""
    x, axis = _flat_before_13(node, builder)
    op = "softmax" if node.op == "Softmax" else "log_softmax"
    return builder.reshape(builder.step(op, [x], x.shape, axis=axis), node.shape)


@lowers("Hardmax")
def hardmax(node: Node, builder: Builder) -> Tensor:
    """Lower to a comparison of each index with that of the first maximum."""
    x, axis = _flat_before_13(node, builder)
    kept = tuple(1 if i == axis else dim for i, dim in enumerate(x.shape))
    best = builder.step("arg_reduce", [x], kept, dtype="int64", axis=axis, largest=1)
    places = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(x.shape))])
    hit = builder.binary("equal", best, builder.constant(places, "places"))
    return builder.reshape(builder.cast(hit, "float32"), node.shape)
