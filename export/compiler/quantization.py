"""Turns float steps between DequantizeLinear and QuantizeLinear into int8 steps, with the arithmetic of FORMAT.md.

A step becomes int8 when everything it reads was dequantised and everything that reads it quantises alike. Where that is
not so, the float step stays between dequantize and quantize steps: the values are always those that the model states.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelane.export.compiler.graph import NONE, Graph, Step, Tensor, repeat
from edgelane.export.compiler.passes import bypass, fuse_activation

INT32_LIMIT = 2**31 - 1
# These give the same integers before and after: they pick elements, and rounding keeps order.
MOVEMENT = ("max_pool2d", "slice", "transpose", "reshape", "channel_shuffle", "gather")


def quantize(graph: Graph) -> None:
    """Make every step int8 that can be."""
    merge_equal(graph)
    repeat(graph, drop_round_trip, hoist_quantize, sink_dequantize, int8_step)
    merge_equal(graph)
    repeat(graph, int8_layer)
    repeat(graph, fuse_int8_residual, fuse_activation, quantize_output)
    repeat(graph, drop_round_trip, int8_step)


def merge_equal(graph: Graph) -> None:
    """Merge quantize steps of one tensor with equal parameters, and dequantize steps of one tensor."""
    seen: dict[tuple[str, int, object], Tensor] = {}
    for step in graph.steps.copy():
        if step.op not in ("quantize", "dequantize") or step.output.producer is not step:
            continue
        key = (step.op, id(step.x), step.output.quantization)
        if key in seen:
            bypass(graph, step, seen[key])
        else:
            seen[key] = step.output


def _is_movement(step: Step) -> bool:
    if step.op == "pad":  # 0 is exact whatever the scale is
        return bool(step.attributes["mode"] != "constant" or step.attributes["value"] == 0)
    return step.op in MOVEMENT or (step.op == "resize" and step.attributes["mode"] == "nearest")


def _dequantized(tensor: Tensor | None) -> Tensor | None:
    """Return the int8 tensor that `tensor` was dequantised from."""
    producer = tensor.producer if tensor is not None else None
    return producer.x if producer is not None and producer.op == "dequantize" else None


def _quantizer(graph: Graph, tensor: Tensor) -> Step | None:
    """Return the quantize step that alone reads `tensor`."""
    consumer = graph.only_consumer(tensor)
    return consumer if consumer is not None and consumer.op == "quantize" else None


def drop_round_trip(graph: Graph, step: Step) -> bool:
    """Dequantize followed by quantize: nothing where the parameters agree, else requantize."""
    source = _dequantized(step.x) if step.op == "quantize" else None
    if source is None:
        return False
    if source.quantization == step.output.quantization:
        bypass(graph, step, source)
    else:
        step.op = "requantize"
        graph.set_inputs(step, [source])
    return True


def hoist_quantize(graph: Graph, step: Step) -> bool:
    """Quantise before a step that only moves elements, rather than after it."""
    if step.op == "concat":
        return _hoist_over_concat(graph, step)
    last = _quantizer(graph, step.output) if _is_movement(step) and step.output.dtype == "float32" else None
    if last is None:
        return False
    first = _quantized_early(graph, step.x, last, f"{last.output.name}.early", step)
    graph.set_inputs(step, [first, *step.inputs[1:]])
    graph.take_over(step, last)
    return True


def _hoist_over_concat(graph: Graph, step: Step) -> bool:
    """Quantise what a concatenation reads, unless all of that is int8 already: then it does so itself."""
    parts = [part for part in step.inputs if part is not None]
    last = _quantizer(graph, step.output) if step.output.dtype == "float32" else None
    if last is None or all(_dequantized(part) is not None for part in parts):
        return False
    names = [f"{last.output.name}.early.{number}" for number in range(len(parts))]
    graph.set_inputs(
        step, [_quantized_early(graph, part, last, name, step) for part, name in zip(parts, names, strict=True)]
    )
    graph.take_over(step, last)
    return True


def _quantized_early(graph: Graph, x: Tensor, last: Step, name: str, before: Step) -> Tensor:
    """Return `x` quantised as `last` quantises, by a new step in front of `before`."""
    first = Step("quantize", last.name, [x], Tensor(name, x.shape, "int8"))
    first.output.quantization, first.output.stored_as = last.output.quantization, last.output.stored_as
    return graph.add(first, before=before)


def sink_dequantize(graph: Graph, step: Step) -> bool:
    """Dequantise after a step that only moves elements, rather than before it."""
    source = _dequantized(step.x) if _is_movement(step) and step.output.dtype == "float32" else None
    if source is None:
        return False
    moved = Tensor(f"{step.output.name}.int8", step.output.shape, "int8")
    moved.quantization, moved.stored_as = source.quantization, source.stored_as
    real = step.output
    graph.set_inputs(step, [source, *step.inputs[1:]])
    step.output = moved
    moved.producer = step
    graph.add(Step("dequantize", step.name, [moved], real), after=step)
    return True


def int8_step(graph: Graph, step: Step) -> bool:
    """Make concat, add, mul, unary and average pools int8 where they stand between dequantize and quantize."""
    possible = step.op in ("concat", "unary", "average_pool2d", "global_average_pool") or (
        step.op == "binary" and step.attributes["function"] in ("add", "mul")
    )
    if not possible or step.output.dtype != "float32" or step.activation.kind == "prelu":
        return False
    sources = [_dequantized(tensor) for tensor in step.inputs]
    last = _quantizer(graph, step.output)
    if last is None or any(source is None for source in sources):
        return False
    graph.set_inputs(step, list(sources))
    graph.take_over(step, last)
    return True


def int8_layer(graph: Graph, step: Step) -> bool:
    """Make a convolution or linear layer int8 whose input and weights were dequantised."""
    if step.op not in ("conv2d", "linear") or step.x.dtype != "float32":
        return False
    source, weight = _dequantized(step.x), step.other
    if source is None:
        return False
    if weight.origin is None or weight.origin.values.dtype != np.int8:
        return _note(graph, step, "its weights are not symmetric int8")
    if weight.origin.scales.size > 1 and weight.origin.axis != 0:
        return _note(graph, step, "its weight scales are not one per output channel")
    assert source.quantization is not None
    product = (np.float32(source.quantization.scale) * weight.origin.scales).astype(np.float32)
    bias = _int32_bias(step.inputs[2], np.broadcast_to(product, (weight.shape[0],)))
    if step.inputs[2] is not None and bias is None:
        return _note(graph, step, "its bias does not fit int32 at the scale of input times weight")
    if _largest_sum(weight.origin.values, bias, source.quantization.zero_point) > INT32_LIMIT:
        return _note(graph, step, "its sums could pass the range of int32")
    integers = Tensor(weight.name, weight.shape, "int8", np.ascontiguousarray(weight.origin.values))
    integers.scales = weight.origin.scales
    graph.set_inputs(step, [source, integers, bias])
    quantize_output(graph, step)
    return True


def quantize_output(graph: Graph, step: Step) -> bool:
    """Let an int8 layer write int8 itself, where its real result is only quantised."""
    if step.op not in ("conv2d", "linear") or step.x.dtype != "int8" or step.output.dtype != "float32":
        return False
    last = _quantizer(graph, step.output)
    if last is None:
        return False
    graph.take_over(step, last)
    return True


def _largest_sum(weights: NDArray[np.int8], bias: Tensor | None, zero_point: int) -> int:
    """Return the largest magnitude that a sum of a layer can reach, whatever its input is."""
    reach = max(127 - zero_point, 128 + zero_point)
    sums = np.abs(weights.reshape(weights.shape[0], -1).astype(np.int64)).sum(axis=1) * reach
    if bias is not None and bias.data is not None:
        sums = sums + np.abs(bias.data.astype(np.int64))
    return int(sums.max(initial=0))


def _note(graph: Graph, step: Step, reason: str) -> bool:
    """Say in the report why a layer behind DequantizeLinear runs in float32."""
    note = f"{step.name} runs in float32 although its input is quantised: {reason}"
    if note not in graph.notes:
        graph.notes.append(note)
    return False


def _int32_bias(bias: Tensor | None, scales: NDArray[np.float32]) -> Tensor | None:
    """Return the bias as int32 with `scales`: the model's own integers if they have them, else rounded half to even."""
    if bias is None or bias.data is None:
        return None
    origin = bias.origin
    if origin is not None and origin.values.dtype == np.int32 and np.allclose(origin.scales, scales, rtol=1e-5, atol=0):
        integers = origin.values.reshape(-1)
    else:
        rounded = np.rint(bias.data.astype(np.float64) / scales.astype(np.float64))
        if np.abs(rounded).max(initial=0) > INT32_LIMIT:
            return None
        integers = rounded.astype(np.int32)
    result = Tensor(bias.name, bias.shape, "int32", np.ascontiguousarray(integers))
    result.scales = scales
    return result


def fuse_int8_residual(graph: Graph, step: Step) -> bool:
    """Fold an addition into the int8 convolution that ends its branch.

    The convolution's result may be quantised before the addition, which becomes its intermediate scale, or not.
    """
    if (
        step.op != "binary"
        or step.attributes["function"] != "add"
        or step.x.shape != step.other.shape
        or step.x is step.other
    ):
        return False
    candidates = []
    for branch, addend in ((step.x, step.other), (step.other, step.x)):
        found = _residual(graph, step, branch, addend)
        if found is not None:
            candidates.append(found)
    if not candidates:
        return False
    conv, residual = max(candidates, key=lambda pair: graph.steps.index(pair[0]))
    quantized = conv.output.quantization
    if quantized is not None:
        conv.attributes["intermediate_scale"] = quantized.scale
        conv.attributes["intermediate_zero_point"] = quantized.zero_point
    conv.activation = step.activation
    graph.take_over(conv, step)
    graph.set_inputs(conv, [*conv.inputs[:3], residual])
    return True


def _residual(graph: Graph, add: Step, branch: Tensor, addend: Tensor) -> tuple[Step, Tensor] | None:
    """Return the int8 convolution behind `branch` and the int8 residual behind `addend`, where both are there."""
    int8_add = add.output.dtype == "int8"
    residual = addend if int8_add else _dequantized(addend)
    between = branch.producer
    if residual is None or residual.dtype != "int8" or residual.data is not None or between is None:
        return None
    if between.op == "dequantize" and not int8_add:
        if graph.only_consumer(branch) is not add:
            return None
        branch = between.x
        if graph.only_consumer(branch) is not between:
            return None
    elif graph.only_consumer(branch) is not add:
        return None
    conv = branch.producer
    if (
        conv is None
        or conv.op != "conv2d"
        or conv.x.dtype != "int8"
        or conv.activation != NONE
        or len(conv.inputs) != 3
    ):
        return None
    return conv, residual
