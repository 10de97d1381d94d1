"""From the finished graph to the records of a `.lane` file, and to the rows of the report."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgelane.export.compiler import lane_file
from edgelane.export.compiler.golden import GoldenFrame
from edgelane.export.compiler.graph import NONE, Graph, Step, Tensor
from edgelane.export.compiler.lane_file import LaneFile, StepRecord, TensorRecord
from edgelane.export.compiler.lowering.indexing import SCATTER_REDUCTIONS
from edgelane.export.compiler.patterns import BLOCKS, WeightStats, examine
from edgelane.export.compiler.report import Layer

# fmt: off
FUNCTIONS = (
    "add", "sub", "mul", "div", "max", "min", "pow", "mod", "fmod", "equal", "less", "less_or_equal", "and", "or",
    "xor",
    "bit_and", "bit_or", "bit_xor", "shift_left", "shift_right", "prelu",
)
# fmt: on
MODES = {
    "resize": ("nearest", "linear", "cubic"),
    "pad": ("constant", "reflect", "edge", "wrap"),
    "normalize": ("variance", "mean_square"),
    "roi_align": ("average", "max"),
}
REDUCTIONS = ("mean", "sum", "max", "min", "product", "l1", "l2", "log_sum", "log_sum_exp", "sum_square")
COORDINATES = {
    "resize": ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    "roi_align": ("half_pixel", "output_half_pixel"),
}
NEAREST = ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil")
SPARSE_OPS = ("conv2d", "linear")
SLOPE_INPUT = {"conv2d": 4, "conv_transpose2d": 3, "affine": 3, "prelu": 1}


class Emitter:
    """Numbers the tensors and translates the steps."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.records: list[TensorRecord] = []
        self.index: dict[int, int] = {}
        self.names: set[str] = set()
        self.stats: dict[int, WeightStats] = {}
        for tensor in graph.inputs:
            self._tensor(tensor, lane_file.INPUT, tensor.name)
        for tensor, name in zip(graph.outputs, graph.output_names, strict=True):
            self._tensor(tensor, lane_file.OUTPUT, name)
        self.steps = [self._step(step) for step in graph.steps]

    def file(self, metadata: dict[str, Any], frame: GoldenFrame | None = None) -> LaneFile:
        """Return the whole content of the file."""
        content = LaneFile(self.records, self.steps, metadata)
        if frame is not None:
            indices = {record.name: index for index, record in enumerate(self.records)}
            content.golden = {indices[name]: value for name, value in frame.values.items()}
            content.golden_rules = {indices[name]: rule for name, rule in frame.rules.items()}
        return content

    def layers(self) -> list[Layer]:
        """Return one report row for each step; call it after the file was laid out, which sets the stored sizes."""
        return [self._layer(step) for step in self.graph.steps]

    def _tensor(self, tensor: Tensor, kind: int, wanted: str) -> int:
        if id(tensor) in self.index:
            return self.index[id(tensor)]
        name, number = wanted or "tensor", 0
        while name in self.names:
            number += 1
            name = f"{wanted}.{number}"
        self.names.add(name)
        record = TensorRecord(name, tensor.dtype, kind, tensor.shape, data=tensor.data)
        if tensor.quantization is not None:
            record.scales, record.zero_point = (tensor.quantization.scale,), tensor.quantization.zero_point
        elif tensor.scales is not None:
            record.scales = tuple(float(scale) for scale in tensor.scales)
        self.index[id(tensor)] = len(self.records)
        self.records.append(record)
        return self.index[id(tensor)]

    def _step(self, step: Step) -> StepRecord:
        inputs = []
        for tensor in step.inputs:
            kind = lane_file.CONSTANT if tensor is not None and tensor.data is not None else lane_file.INTERMEDIATE
            inputs.append(None if tensor is None else self._tensor(tensor, kind, tensor.name))
        slope = step.activation.slope
        if slope is not None:
            inputs += [None] * (SLOPE_INPUT[_op(step)] - len(inputs))
            inputs.append(self._tensor(slope, lane_file.CONSTANT, slope.name))
        while inputs and inputs[-1] is None:
            inputs.pop()
        if step.op in SPARSE_OPS:
            weight = step.other
            assert weight.data is not None
            stats = examine(weight.data)
            self.stats[id(step)] = stats
            self.records[self.index[id(weight)]].block = stats.block
        output = self._tensor(step.output, lane_file.INTERMEDIATE, step.output.source or step.output.name)
        return StepRecord(step.name, _op(step), inputs, output, _attributes(step))

    def _layer(self, step: Step) -> Layer:
        stored = sum(
            self.records[self.index[id(tensor)]].stored_bytes
            for tensor in step.inputs
            if tensor is not None and tensor.data is not None
        )
        return layer(step, self.stats.get(id(step)), stored)


def layer(step: Step, stats: WeightStats | None, stored: int) -> Layer:
    """One row of the report; `stats` are those of the weights that may be sparse, `stored` bytes its constants take."""
    dense_macs = _macs(step)
    if stats is None:
        form = encoding = "dense" if step.op == "conv_transpose2d" else "-"
        density, block_density, macs = 1.0, {}, dense_macs
    else:
        form, density, block_density = stats.pattern, stats.density, stats.block_density
        encoding = next((name for name, block in BLOCKS.items() if block == stats.block), "dense")
        macs = round(dense_macs * density)
    return Layer(
        step.name,
        _op(step),
        step.x.dtype,
        form,
        encoding,
        density,
        block_density,
        macs,
        dense_macs,
        stored,
        list(step.x.shape),
        list(step.output.shape),
    )


def _op(step: Step) -> str:
    """Return the op of FORMAT.md."""
    return "prelu" if step.op == "unary" and step.activation.slope is not None else step.op


def _macs(step: Step) -> int:
    """Multiply-accumulates of a layer, padding counted as pixels."""
    if step.op in ("conv2d", "linear"):
        return step.output.elements * math.prod(step.other.shape[1:])
    if step.op == "conv_transpose2d":
        return step.x.elements * math.prod(step.other.shape[1:])
    return 0


def _attributes(step: Step) -> dict[str, list[int] | list[float]]:
    """Translate names to the numbers of FORMAT.md; everything is a list there."""
    result: dict[str, list[int] | list[float]] = {}
    for key, value in step.attributes.items():
        result[key] = _cells(step.op, key, value)
    if step.activation != NONE and step.activation.slope is None:
        result["activation"] = [lane_file.ACTIVATIONS[step.activation.kind]]
        if step.activation.alpha or step.activation.beta:
            result["activation_params"] = [_float32(step.activation.alpha), _float32(step.activation.beta)]
    return result


def _cells(op: str, key: str, value: Any) -> list[int] | list[float]:
    if key == "function":
        return [FUNCTIONS.index(value)]
    if key == "mode":
        return [MODES[op].index(value)]
    if key == "reduction":
        return [REDUCTIONS.index(value)]
    if key == "scatter_reduction":
        return [SCATTER_REDUCTIONS.index(value)]
    if key == "coordinates":
        return [COORDINATES[op].index(value)]
    if key == "nearest_mode":
        return [NEAREST.index(value)]
    if key in lane_file.FLOAT_ATTRIBUTES:
        return [_float32(item) for item in value] if isinstance(value, list) else [_float32(value)]
    return [int(item) for item in value] if isinstance(value, (list, tuple)) else [int(value)]


def _float32(value: float) -> float:
    return float(np.float32(value))
