"""Puts normalisations together that exporters before opset 17 leave in pieces."""

from __future__ import annotations

import math

import numpy as np

from edgelane.export.compiler.graph import NONE, Graph, Step, Tensor, repeat
from edgelane.export.compiler.passes import constants, set_constant


def recognise(graph: Graph) -> None:
    """Replace decompositions by normalize steps, and give these the scale and bias that follow them."""
    repeat(graph, layer_norm, scale_and_bias)


def layer_norm(graph: Graph, step: Step) -> bool:
    """(x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon), the means over the last axes."""
    if step.op != "binary" or step.attributes["function"] != "div" or step.activation != NONE:
        return False
    centred, axes = _centred(step.x)
    root = step.other.producer
    if centred is None or root is None or root.op != "unary" or root.activation.kind != "sqrt":
        return False
    epsilon, variance = _without_shift(root.x)
    if epsilon is None or variance is None or _mean(variance) != axes or variance.producer is None:
        return False
    square = variance.producer.x.producer
    if square is None or square.op != "unary" or square.activation.kind != "square":
        return False
    # torch computes the difference once or twice.
    if square.x is not step.x and _centred(square.x) != (centred, axes):
        return False
    if axes != list(range(axes[0], len(centred.shape))):
        return False
    step.op, step.attributes = "normalize", {"axis": axes[0], "mode": "variance", "epsilon": epsilon}
    graph.set_inputs(step, [centred])
    return True


def _mean(tensor: Tensor) -> list[int]:
    """Return the axes over which `tensor` is a mean, kept as 1."""
    step = tensor.producer
    known = step is not None and step.op == "reduce" and step.attributes.get("reduction", "mean") == "mean"
    return list(step.attributes["axes"]) if step is not None and known and tensor.dtype == "float32" else []


def _centred(tensor: Tensor) -> tuple[Tensor | None, list[int]]:
    """Return x and the axes of the mean where `tensor` is x minus its mean."""
    step = tensor.producer
    if step is None or step.op != "binary" or step.attributes["function"] != "sub" or step.activation != NONE:
        return None, []
    axes = _mean(step.other)
    same = bool(axes) and step.other.producer is not None and step.other.producer.x is step.x
    return (step.x, axes) if same else (None, [])


def _without_shift(tensor: Tensor) -> tuple[float | None, Tensor | None]:
    """Return a constant that was added to a tensor, and the tensor."""
    step = tensor.producer
    if step is None or step.activation != NONE:
        return None, None
    if step.op == "affine":
        scale, shift = constants(step)
        return (float(shift[0]), step.x) if np.all(scale == 1) and np.all(shift == shift[0]) else (None, None)
    if step.op == "binary" and step.attributes["function"] == "add":
        for addend, other in ((step.x, step.other), (step.other, step.x)):
            if addend.data is not None and addend.elements == 1:
                return float(addend.data.reshape(-1)[0]), other
    return None, None


def scale_and_bias(graph: Graph, step: Step) -> bool:
    """Give a normalize step the constant that its result alone is multiplied by, or that is added to it."""
    if step.op != "binary" or step.attributes["function"] not in ("mul", "add") or step.activation != NONE:
        return False
    for value, constant in ((step.x, step.other), (step.other, step.x)):
        before = value.producer
        if before is None or before.op != "normalize" or constant.data is None:
            continue
        inner = value.shape[before.attributes["axis"] :]
        if constant.shape != inner or value.shape != step.output.shape or graph.only_consumer(value) is not step:
            continue
        multiplies = step.attributes["function"] == "mul"
        if len(before.inputs) > (1 if multiplies else 2):
            continue
        flat = constant.data.reshape(math.prod(inner)).astype(np.float32)
        graph.set_inputs(before, [*before.inputs, *[None] * (1 if multiplies else 3 - len(before.inputs))])
        set_constant(graph, before, 1 if multiplies else 2, flat)
        graph.take_over(before, step)
        return True
    return False
