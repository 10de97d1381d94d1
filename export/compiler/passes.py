"""Clean-up and fusion of float steps. Every rule keeps the values that the network computes, up to rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelane.export.compiler.graph import (
    NONE,
    Activation,
    Array,
    Graph,
    QuantizedConstant,
    Step,
    Tensor,
    repeat,
)

# These end in `activation`, so an element-wise function that follows costs nothing.
TAKES_ACTIVATION = ("conv2d", "conv_transpose2d", "linear", "affine", "binary")
TAKES_SLOPES = ("conv2d", "conv_transpose2d", "affine")
WEIGHTED = ("conv2d", "conv_transpose2d", "linear")


def clean(graph: Graph) -> None:
    """Remove steps that do nothing, merge chains of movement, drop dead code."""
    repeat(graph, drop_no_op, merge_reshapes, merge_transposes, channel_shuffle, drop_expand)


def fuse(graph: Graph) -> None:
    """Fold affine steps and padding into convolutions, and activations into the steps before them."""
    repeat(graph, merge_affines, fuse_activation)  # first, for an affine step goes elsewhere with its activation
    repeat(graph, merge_affines, split_affine, fold_affine, fold_bias, fold_pad, fuse_activation)


def bypass(graph: Graph, step: Step, source: Tensor) -> None:
    """Let everything read `source` in place of the step's output, and remove the step."""
    graph.redirect(step.output, source)
    graph.remove(step)


def drop_no_op(graph: Graph, step: Step) -> bool:
    """Remove a step whose output is its input."""
    x, a = step.inputs[0], step.attributes
    if x is None or x.shape != step.output.shape or x.dtype != step.output.dtype or step.activation != NONE:
        return False
    same = (
        step.op == "reshape"
        or (step.op == "slice" and max(a["steps"]) == 1)
        or (step.op == "transpose" and a["perm"] == sorted(a["perm"]))
        or (step.op == "concat" and len(step.inputs) == 1)
        or (step.op == "pad")
        or (step.op == "resize" and a["scales"] == [1.0, 1.0])
        or (step.op in ("max_pool2d", "average_pool2d") and a["kernel_shape"] == [1, 1] and not any(a.get("pads", [])))
    )
    if same:
        bypass(graph, step, x)
    return same


def merge_reshapes(graph: Graph, step: Step) -> bool:
    """Let a reshape read what the reshape before it read."""
    if step.op == "transpose":
        moved = [step.x.shape[axis] for axis in step.attributes["perm"] if step.x.shape[axis] != 1]
        if moved == [dim for dim in step.x.shape if dim != 1] and _keeps_order(step):
            step.op, step.attributes = "reshape", {}
            return True
    before = step.x.producer if step.op == "reshape" else None
    if before is None or before.op != "reshape":
        return False
    graph.set_inputs(step, [before.x])
    return True


def _keeps_order(step: Step) -> bool:
    """Whether a transpose only moves axes of size 1."""
    real = [axis for axis in step.attributes["perm"] if step.x.shape[axis] != 1]
    return real == sorted(real)


def merge_transposes(graph: Graph, step: Step) -> bool:
    """Compose two transposes in a row into one."""
    before = step.x.producer if step.op == "transpose" else None
    if before is None or before.op != "transpose":
        return False
    step.attributes["perm"] = [before.attributes["perm"][axis] for axis in step.attributes["perm"]]
    graph.set_inputs(step, [before.x])
    return True


def channel_shuffle(graph: Graph, step: Step) -> bool:
    """Recognise reshape to [n, g, c/g, h, w], transpose to [n, c/g, g, h, w], reshape back."""
    middle = step.x.producer if step.op == "reshape" else None
    first = middle.x.producer if middle is not None and middle.op == "transpose" else None
    if middle is None or first is None or first.op != "reshape" or middle.attributes["perm"] != [0, 2, 1, 3, 4]:
        return False
    n, groups, _, h, w = first.output.shape
    x = first.x
    if len(x.shape) != 4 or x.shape != step.output.shape or (x.shape[0], *x.shape[2:]) != (n, h, w):
        return False
    if x.dtype not in ("float32", "int8"):
        return False
    step.op, step.attributes = "channel_shuffle", {"groups": groups}
    graph.set_inputs(step, [x])
    return True


def drop_expand(graph: Graph, step: Step) -> bool:
    """Read a value that was only copied along axes of size 1 as it was before, where the step does that by itself."""
    if step.op not in ("binary", "where"):
        return False
    sources = [_before_copies(tensor) for tensor in step.inputs]
    if all(source is tensor for source, tensor in zip(sources, step.inputs, strict=True)):
        return False
    if np.broadcast_shapes(*(source.shape for source in sources if source is not None)) != step.output.shape:
        return False
    graph.set_inputs(step, sources)
    return True


def _before_copies(tensor: Tensor | None) -> Tensor | None:
    step = tensor.producer if tensor is not None else None
    if step is None or step.op != "pad" or step.attributes["mode"] != "edge":
        return tensor
    copied = all(a in (1, b) for a, b in zip(step.x.shape, step.output.shape, strict=True))
    return step.x if copied else tensor


def takes(step: Step, activation: Activation) -> bool:
    """Whether a step could end in `activation`."""
    return step.op in (TAKES_SLOPES if activation.kind == "prelu" else TAKES_ACTIVATION) and step.activation == NONE


def fuse_activation(graph: Graph, step: Step) -> bool:
    """Move a unary step into the step that produces its input."""
    before = step.x.producer if step.op == "unary" else None
    if before is None or not takes(before, step.activation):
        return False
    if graph.only_consumer(before.output) is not step:
        return False
    # Integers, truth values and what tells floats from others have no activation.
    if before.output.dtype not in ("float32", "int8") or step.output.dtype != before.output.dtype:
        return False
    # An int8 value was rounded before the function: only relu at the same scale gives the same integers without that.
    relu = step.activation.kind == "relu" and before.output.quantization == step.output.quantization
    if before.output.dtype != "float32" and not relu:
        return False
    before.activation = step.activation
    graph.take_over(before, step)
    return True


def constants(step: Step) -> tuple[Array, Array]:
    """Return scale and shift of an affine step in float64."""
    scale, shift = step.inputs[1], step.inputs[2]
    assert scale is not None
    assert shift is not None
    assert scale.data is not None
    assert shift.data is not None
    return scale.data.astype(np.float64), shift.data.astype(np.float64)


def set_constant(graph: Graph, step: Step, index: int, value: Array, origin: QuantizedConstant | None = None) -> None:
    """Give a step another constant for one of its inputs, of the same scales; other steps keep the old one."""
    old = step.inputs[index]
    name = old.name if old is not None else f"{step.output.name}.bias"
    new = Tensor(name, value.shape, str(value.dtype), np.ascontiguousarray(value), origin=origin)
    new.scales = old.scales if old is not None else None
    graph.set_inputs(step, [new if i == index else tensor for i, tensor in enumerate(step.inputs)])


def merge_affines(graph: Graph, step: Step) -> bool:
    """Fold an affine step into the one after it."""
    before = step.x.producer if step.op == "affine" else None
    if before is None or before.op != "affine" or before.activation != NONE or graph.is_output(before.output):
        return False
    (inner_scale, inner_shift), (scale, shift) = constants(before), constants(step)
    set_constant(graph, step, 1, (inner_scale * scale).astype(np.float32))
    set_constant(graph, step, 2, (inner_shift * scale + shift).astype(np.float32))
    graph.set_inputs(step, [before.x, *step.inputs[1:]])
    return True


def split_affine(graph: Graph, step: Step) -> bool:
    """Move an affine step before the concatenation of channels that it follows, where that lets a layer take its part.

    The others keep an affine step of their own, which costs what it did.
    """
    concat = step.x.producer if step.op == "affine" else None
    if concat is None or concat.op != "concat" or concat.attributes["axis"] != 1:
        return False
    parts = [part for part in concat.inputs if part is not None]
    alone = graph.only_consumer(concat.output) is step and all(graph.only_consumer(part) is concat for part in parts)
    layers = [part.producer for part in parts if part.producer is not None and part.producer.op in WEIGHTED]
    if not alone or not any(layer.activation == NONE and len(layer.inputs) <= 3 for layer in layers):
        return False
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    pieces = [np.split(values, ends) for values in constants(step)]
    slope = step.activation.slope
    slopes = np.split(slope.data, ends) if slope is not None and slope.data is not None else [None] * len(parts)
    moved: list[Tensor | None] = []
    for number, (part, scale, shift, slope_piece) in enumerate(zip(parts, *pieces, slopes, strict=True)):
        name = f"{step.output.name}.{number}"
        inputs: list[Tensor | None] = [
            part,
            _float_constant(f"{name}.scale", scale),
            _float_constant(f"{name}.shift", shift),
        ]
        activation = step.activation
        if slope_piece is not None:
            activation = Activation("prelu", slope=_float_constant(f"{name}.slope", slope_piece))
        own = Step("affine", step.name, inputs, Tensor(name, part.shape), activation=activation)
        moved.append(graph.add(own, before=concat))
    graph.set_inputs(concat, moved)
    graph.take_over(concat, step)
    return True


def _float_constant(name: str, values: Array) -> Tensor:
    return Tensor(name, values.shape, "float32", np.ascontiguousarray(values, dtype=np.float32))


def fold_affine(graph: Graph, step: Step) -> bool:
    """Fold an affine step (BatchNorm, a scale, a shift) into the weights and bias of the layer before it."""
    before = step.x.producer if step.op == "affine" else None
    if before is None or before.op not in WEIGHTED or not takes(before, step.activation):
        return False
    if graph.only_consumer(before.output) is not step or (before.op == "linear" and len(step.x.shape) != 2):
        return False
    weight = before.other
    if weight.data is None or len(before.inputs) > 3:
        return False
    scale, shift = constants(step)
    bias = before.inputs[2]
    old_bias = bias.data.astype(np.float64) if bias is not None and bias.data is not None else np.zeros(len(scale))
    if not np.all(scale == 1):
        set_constant(graph, before, 1, *_scaled_weights(before, weight, scale))
    exact = bias.origin if bias is not None and np.all(scale == 1) and not shift.any() else None
    if bias is not None or shift.any():
        set_constant(graph, before, 2, (old_bias * scale + shift).astype(np.float32), exact)
    before.activation = step.activation
    graph.take_over(before, step)
    return True


def _scaled_weights(step: Step, weight: Tensor, scale: NDArray[np.float64]) -> tuple[Array, QuantizedConstant | None]:
    """Multiply each output channel's weights by its scale; dequantised ones keep their integers if signs allow it."""
    assert weight.data is not None
    if step.op == "conv_transpose2d":  # [ic][oc / groups][kh][kw]
        groups = step.attributes.get("groups", 1)
        per_group = weight.data.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        scaled = per_group * scale.reshape(groups, 1, weight.shape[1], 1, 1)
        return scaled.reshape(weight.shape).astype(np.float32), None
    shape = (-1,) + (1,) * (weight.data.ndim - 1)
    scaled = (weight.data * scale.reshape(shape)).astype(np.float32)
    origin = weight.origin
    if origin is None or np.any(scale == 0) or (origin.scales.size > 1 and origin.axis != 0):
        return scaled, None
    signs = np.where(scale < 0, -1, 1).reshape(shape)
    if np.any(signs < 0) and origin.values.min() == -128:
        return scaled, None
    scales = (np.broadcast_to(origin.scales, scale.shape) * np.abs(scale)).astype(np.float32)
    return scaled, QuantizedConstant((origin.values * signs).astype(np.int8), scales, 0)


def fold_bias(graph: Graph, step: Step) -> bool:
    """Fold `linear + constant` into the bias, for any rank (MatMul followed by Add)."""
    if step.op != "binary" or step.attributes["function"] != "add":
        return False
    for layer, addend in ((step.x, step.other), (step.other, step.x)):
        before = layer.producer
        if before is None or before.op != "linear" or before.activation != NONE or addend.data is None:
            continue
        oc = layer.shape[-1]
        if graph.only_consumer(layer) is not step or addend.shape[-1:] != (oc,) or addend.elements != oc:
            continue
        if step.output.shape != layer.shape:  # the constant has a higher rank, and gives it to the result
            continue
        bias = before.inputs[2]
        old = bias.data if bias is not None and bias.data is not None else np.float32(0)
        set_constant(graph, before, 2, (addend.data.reshape(oc) + old).astype(np.float32))
        before.activation = step.activation
        graph.take_over(before, step)
        return True
    return False


def fold_pad(graph: Graph, step: Step) -> bool:
    """Fold zero padding of height and width into the convolution or the counting average pool after it."""
    before = step.x.producer if step.op in ("conv2d", "average_pool2d") else None
    if (
        before is None
        or before.op != "pad"
        or before.attributes["mode"] != "constant"
        or before.attributes["value"] != 0
    ):
        return False
    pads = step.attributes.get("pads", [0, 0, 0, 0])
    if step.op == "average_pool2d" and any(pads):
        return False
    amounts = before.attributes["before"]
    after = [before.output.shape[i] - before.x.shape[i] - amounts[i] for i in range(4)]
    if any(amounts[:2] + after[:2]):
        return False
    if step.op == "average_pool2d" and max(amounts[2:] + after[2:]) >= min(step.attributes["kernel_shape"]):
        return False  # a window may not lie in the padding alone
    step.attributes["pads"] = [pad + more for pad, more in zip(pads, amounts[2:] + after[2:], strict=True)]
    if step.op == "average_pool2d":
        step.attributes["count_include_pad"] = 1
    graph.set_inputs(step, [before.x, *step.inputs[1:]])
    return True


def fuse_residual(graph: Graph, step: Step) -> bool:
    """Fold `conv2d + x` into the convolution that ends its branch, with the activation after it (float32)."""
    if step.op != "binary" or step.attributes["function"] != "add" or step.x is step.other:
        return False
    if step.x.shape != step.other.shape or step.output.dtype != "float32":
        return False
    candidates = []
    for branch, residual in ((step.x, step.other), (step.other, step.x)):
        conv = branch.producer
        if conv is None or conv.op != "conv2d" or conv.x.dtype != "float32" or residual.data is not None:
            continue
        if conv.activation == NONE and len(conv.inputs) == 3 and graph.only_consumer(branch) is step:
            candidates.append((conv, residual))
    if not candidates:
        return False
    # Of two convolutions (a block with a projection), the later one ends the longer branch.
    conv, residual = max(candidates, key=lambda pair: graph.steps.index(pair[0]))
    conv.activation = step.activation
    graph.take_over(conv, step)
    graph.set_inputs(conv, [*conv.inputs, residual])
    return True
