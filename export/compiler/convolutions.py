"""Convolutions that fit the runtime's rows badly, written so that they multiply fewer zeros.

The runtime computes a convolution in rows that are as long as the input with its border, so that every tap is one
constant offset. Dilated by as much as the map is wide, as in the ASPP of DeepLab, they are mostly border: one of 36
beside 32 columns makes two thirds of all multiply-adds those of zeros. Of a single pixel, as in squeeze-and-excitation,
one lane of each vector is used.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from edgelane.export.compiler.graph import NONE, Graph, Step, Tensor, repeat
from edgelane.export.compiler.passes import set_constant

DEFAULTS: dict[str, Any] = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "groups": 1}
MOST_COLUMNS = 7  # of taps, each of which makes a copy of the input
LARGEST_GROWTH = 1.5  # of a row by its border; beyond it, copies of the input take less time than what they save


def compact(graph: Graph) -> None:
    """Apply the rules to every convolution."""
    repeat(graph, trim_taps, split_columns, linear_of_pixel)


def trim_taps(graph: Graph, step: Step) -> bool:
    """Drop outer rows and columns of taps that read padding alone."""
    if step.op != "conv2d":
        return False
    weight, window = step.other, DEFAULTS | step.attributes
    pads = list(window["pads"])
    assert weight.data is not None
    kept = []
    for axis in (0, 1):
        size, out = step.x.shape[2 + axis], step.output.shape[2 + axis]
        stride, dilation = window["strides"][axis], window["dilations"][axis]
        taps = weight.shape[2 + axis]
        first = [tap * dilation - pads[axis] for tap in range(taps)]  # where each tap begins to read
        used = [tap for tap in range(taps) if first[tap] < size and first[tap] + (out - 1) * stride >= 0]
        begin, end = (used[0], used[-1] + 1) if used else (0, taps)
        before, after = pads[axis] - begin * dilation, pads[2 + axis] - (taps - end) * dilation
        if before < 0 or after < 0:  # a convolution cannot crop
            begin, end, before, after = 0, taps, pads[axis], pads[2 + axis]
        pads[axis], pads[2 + axis] = before, after
        kept.append(slice(begin, end))
    data = weight.data[:, :, kept[0], kept[1]]
    if data.shape == weight.shape:
        return False
    set_constant(graph, step, 1, data)
    step.attributes["pads"] = pads
    return True


def split_columns(graph: Graph, step: Step) -> bool:
    """Make a column of taps of a wide border, over copies of the input that are shifted to where each column reads."""
    window = DEFAULTS | step.attributes
    if step.op != "conv2d" or window["groups"] != 1 or window["strides"] != [1, 1] or window["dilations"][1] == 1:
        return False  # undilated, such a map is so small that copies cost as much as they save
    x, weight, pads = step.x, step.other, window["pads"]
    n, channels, height, width = x.shape
    columns = weight.shape[3]
    if width + max(pads[1], pads[3]) <= LARGEST_GROWTH * width or not 2 <= columns <= MOST_COLUMNS:
        return False
    if channels % 4:  # int8 weights are stored in quads of channels, which have to stay together
        return False
    out = step.output.shape[3]
    starts = [column * window["dilations"][1] - pads[1] for column in range(columns)]
    if starts[-1] >= width or starts[0] + out <= 0:  # padding alone, which could not be trimmed
        return False
    parts = []
    for start in starts:
        low, high = max(start, 0), min(start + out, width)
        part = _before(
            graph, step, "slice", [x], (n, channels, height, high - low), starts=[0, 0, 0, low], steps=[1] * 4
        )
        shape, before = (n, channels, height, out), [0, 0, 0, low - start]
        parts.append(_before(graph, step, "pad", [part], shape, before=before, mode="constant", value=0.0))
    joined = _before(graph, step, "concat", parts, (n, columns * channels, height, out), axis=1)
    assert weight.data is not None
    data = weight.data.transpose(0, 3, 1, 2).reshape(weight.shape[0], columns * channels, weight.shape[2], 1)
    set_constant(graph, step, 1, data)
    graph.set_inputs(step, [joined, *step.inputs[1:]])
    step.attributes["pads"] = [pads[0], 0, pads[2], 0]
    step.attributes["dilations"] = [window["dilations"][0], 1]
    return True


def linear_of_pixel(graph: Graph, step: Step) -> bool:
    """Make a linear layer of a convolution of one pixel."""
    if step.op != "conv2d" or len(step.inputs) > 3 or step.activation.slope is not None:
        return False
    output, weight, groups = step.output, step.other, (DEFAULTS | step.attributes)["groups"]
    if groups != 1 or "intermediate_scale" in step.attributes:
        return False
    if step.x.shape[2:] + output.shape[2:] + weight.shape[2:] != (1,) * 6:
        return False
    assert weight.data is not None
    set_constant(graph, step, 1, weight.data.reshape(weight.shape[:2]))
    flat = _before(graph, step, "reshape", [step.x], step.x.shape[:2])
    graph.set_inputs(step, [flat, *step.inputs[1:]])
    result = dataclasses.replace(output, name=f"{output.name}.linear", shape=output.shape[:2], source="", consumers=[])
    step.op, step.attributes, step.output, result.producer = "linear", {}, result, step
    graph.add(Step("reshape", step.name, [result], output), after=step)
    return True


def _before(
    graph: Graph, step: Step, op: str, inputs: list[Tensor], shape: tuple[int, ...], **attributes: object
) -> Tensor:
    """Insert a step that moves elements before another one."""
    first = inputs[0]
    output = Tensor(f"{step.output.name}.{op}", shape, first.dtype)
    output.quantization, output.stored_as = first.quantization, first.stored_as
    return graph.add(Step(op, step.name, list(inputs), output, dict(attributes), NONE), before=step)
