"""Puts activations together that exporters leave in pieces: hard_sigmoid, hard_swish, silu, gelu, mish, clip."""

from __future__ import annotations

import math

import numpy as np

from edgelane.export.compiler.graph import NONE, Activation, Graph, Step, Tensor, repeat
from edgelane.export.compiler.passes import constants, merge_affines

SQRT_HALF = math.sqrt(0.5)


def recognise(graph: Graph) -> None:
    """Replace every known decomposition by one unary step. Runs before activations are fused into layers."""
    repeat(graph, merge_affines, merge_clips, hard_sigmoid, product)


def _uniform(step: Step | None) -> tuple[float, float] | None:
    """Return scale and shift of an affine step that is the same for every channel."""
    if step is None or step.op != "affine" or step.activation != NONE:
        return None
    scale, shift = constants(step)
    if np.any(scale != scale[0]) or np.any(shift != shift[0]):
        return None
    return float(scale[0]), float(shift[0])


def _close(pair: tuple[float, float] | None, scale: float, shift: float) -> bool:
    return (
        pair is not None and math.isclose(pair[0], scale, rel_tol=1e-5) and math.isclose(pair[1], shift, abs_tol=1e-6)
    )


def _limits(activation: Activation) -> tuple[float, float] | None:
    if activation.kind == "relu":
        return 0.0, float(np.finfo(np.float32).max)
    return (activation.alpha, activation.beta) if activation.kind == "clip" else None


def _unary(tensor: Tensor, kind: str) -> Step | None:
    """Return the unary step of that kind that produces `tensor`."""
    step = tensor.producer
    return step if step is not None and step.op == "unary" and step.activation.kind == kind else None


def _become(graph: Graph, step: Step, x: Tensor, activation: Activation) -> bool:
    step.op, step.attributes, step.activation = "unary", {}, activation
    graph.set_inputs(step, [x])
    return True


def merge_clips(graph: Graph, step: Step) -> bool:
    """Merge relu and clip that follow one another (Max then Min)."""
    before = step.x.producer if step.op == "unary" else None
    if before is None or before.op != "unary" or before.output.dtype != "float32":
        return False
    outer, inner = _limits(step.activation), _limits(before.activation)
    if outer is None or inner is None:
        return False
    low, high = (min(max(limit, outer[0]), outer[1]) for limit in inner)
    merged = Activation("relu") if (low, high) == _limits(Activation("relu")) else Activation("clip", low, high)
    return _become(graph, step, before.x, merged)


def hard_sigmoid(graph: Graph, step: Step) -> bool:
    """clip(a x + b, 0, 1), or clip(a x + b, 0, m) / m."""
    pair = _uniform(step)
    clip = _unary(step.x, "clip") if pair is not None else None
    if pair is not None and clip is not None and clip.activation.alpha == 0 and pair[1] == 0:
        inner, top = _uniform(clip.x.producer), clip.activation.beta
        if inner is not None and top > 0 and math.isclose(pair[0] * top, 1.0, rel_tol=1e-5):
            assert clip.x.producer is not None
            return _become(graph, step, clip.x.producer.x, Activation("hard_sigmoid", inner[0] / top, inner[1] / top))
    if step.op == "unary" and step.activation == Activation("clip", 0.0, 1.0):
        inner = _uniform(step.x.producer)
        if inner is not None:
            assert step.x.producer is not None
            return _become(graph, step, step.x.producer.x, Activation("hard_sigmoid", *inner))
    return False


def product(graph: Graph, step: Step) -> bool:
    """X times a function of x."""
    if step.op != "binary" or step.attributes["function"] != "mul" or step.activation != NONE:
        return False
    for x, gate in ((step.x, step.other), (step.other, step.x)):
        if _unary(gate, "sigmoid") and _input(gate) is x:
            return _become(graph, step, x, Activation("silu"))
        tanh = _unary(gate, "tanh")
        if tanh and _unary(tanh.x, "softplus") and _input(tanh.x) is x:
            return _become(graph, step, x, Activation("mish"))
        hard = _unary(gate, "hard_sigmoid")
        if hard and hard.x is x and _close((hard.activation.alpha, hard.activation.beta), 1 / 6, 0.5):
            return _become(graph, step, x, Activation("hard_swish"))
        if _hard_swish_times_six(graph, step, x, gate) or _gelu(graph, step, x, gate):
            return True
    return False


def _input(tensor: Tensor) -> Tensor | None:
    return tensor.producer.x if tensor.producer is not None else None


def _hard_swish_times_six(graph: Graph, step: Step, x: Tensor, gate: Tensor) -> bool:
    """X * clip(x + 3, 0, 6), with the division by six after it or on x."""
    clip = _unary(gate, "clip")
    if (
        clip is None
        or clip.activation != Activation("clip", 0.0, 6.0)
        or not _close(_uniform(clip.x.producer), 1.0, 3.0)
    ):
        return False
    source = _input(clip.x)
    assert source is not None
    if source is x:
        sixth = graph.only_consumer(step.output)
        if sixth is not None and _close(_uniform(sixth), 1 / 6, 0.0):
            graph.take_over(step, sixth)
            return _become(graph, step, x, Activation("hard_swish"))
    elif _close(_uniform(x.producer), 1 / 6, 0.0) and _input(x) is source:
        return _become(graph, step, source, Activation("hard_swish"))
    return False


def _gelu(graph: Graph, step: Step, x: Tensor, gate: Tensor) -> bool:
    """X * (1 + erf(x / sqrt 2)) / 2, with the half before, inside or after."""
    pair = _uniform(gate.producer)
    erf = _unary(gate.producer.x, "erf") if gate.producer is not None and pair is not None else None
    if erf is None or not _close(_uniform(erf.x.producer), SQRT_HALF, 0.0):
        return False
    source = _input(erf.x)
    assert source is not None
    if _close(pair, 0.5, 0.5) and source is x:
        return _become(graph, step, x, Activation("gelu"))
    if not _close(pair, 1.0, 1.0):
        return False
    if source is x:
        half = graph.only_consumer(step.output)
        if half is not None and _close(_uniform(half), 0.5, 0.0):
            graph.take_over(step, half)
            return _become(graph, step, x, Activation("gelu"))
        return False
    if _close(_uniform(x.producer), 0.5, 0.0) and _input(x) is source:
        return _become(graph, step, source, Activation("gelu"))
    return False
