"""Builds small quantised models: a chain of nodes with QuantizeLinear and DequantizeLinear where the test puts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import Array, compiled, edgelane_outputs, every_value, make_model, onnxruntime_outputs, rng

from edgelane.export.compiler import lane_file

SCALE = 0.05
IMAGE = (1, 8, 9, 11)


class QdqBuilder:
    """Each method adds nodes and returns the name of the value. `unsigned` makes activations uint8."""

    def __init__(self, unsigned: bool = False, opset: int = 17) -> None:
        self.unsigned = unsigned
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.constants: list[onnx.TensorProto] = []
        self.count = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}_{self.count}"

    def input(self, *shape: int) -> str:
        name = self.name("x")
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self.shapes[name] = shape
        return name

    def constant(self, value: Any, dtype: str) -> str:
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = self.name(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def parameters(self, scale: float, zero_point: int) -> tuple[str, str]:
        """Make scale and zero point; the zero point is given as int8 and shifted for uint8."""
        dtype = "uint8" if self.unsigned else "int8"
        return self.constant(scale, "float32"), self.constant(zero_point + 128 * self.unsigned, dtype)

    def quantize(self, x: str, scale: float, zero_point: int = 0) -> str:
        return self.node("QuantizeLinear", x, *self.parameters(scale, zero_point))

    def round_trip(self, x: str, scale: float, zero_point: int = 0) -> str:
        """Quantise and dequantise."""
        parameters = self.parameters(scale, zero_point)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *parameters), *parameters)

    def weight(self, *shape: int, axis: int | None = 0, seed: int = 7) -> str:
        """Random int8 weights with a scale for each index of `axis`, or one."""
        values = rng(seed).integers(-127, 128, shape)
        scales: Any = 0.01 if axis is None else rng(seed).uniform(0.002, 0.02, shape[axis])
        attributes = {} if axis is None else {"axis": axis}
        zero = np.zeros(np.shape(scales), "int8")
        inputs = [self.constant(values, "int8"), self.constant(scales, "float32"), self.constant(zero, "int8")]
        return self.node("DequantizeLinear", *inputs, **attributes)

    def bias(self, values: Array, scales: Array) -> str:
        inputs = [self.constant(values, "int32"), self.constant(scales, "float32")]
        return self.node("DequantizeLinear", *inputs, axis=0)

    def model(self, *outputs: str, rank: int | None = None) -> onnx.ModelProto:
        return make_model(self.nodes, self.inputs, outputs, self.constants, self.opset, rank)

    def feeds(self) -> dict[str, Array]:
        return {
            name: rng(index).standard_normal(shape, dtype=np.float32)
            for index, (name, shape) in enumerate(self.shapes.items())
        }


def check(
    b: QdqBuilder, output: str, scale: float, folder: Path, rank: int | None = None, as_written: bool = False
) -> lane_file.LaneFile:
    """Compile and compare `output`, a float value with steps of `scale`; no element may be off by more than one.

    The int8 values between the steps are held to that as well.
    """
    _, content = compiled(b.model(output, rank=rank), folder)
    expected = onnxruntime_outputs(folder / "model.onnx", b.feeds(), as_written)[output]
    result = edgelane_outputs(folder / "model.lane", b.feeds())[output]
    assert result.shape == expected.shape
    steps = np.abs(np.rint((result.astype(np.float64) - expected) / scale))
    assert steps.max() <= 1
    assert (steps != 0).mean() <= 0.01  # ties that ONNX Runtime rounds in another order of operations
    for name, (found, wanted) in every_value(folder / "model.onnx", b.feeds()).items():
        if found.dtype == np.int8:
            off = np.abs(found.astype(np.int32) - wanted)
            assert off.max() <= 1, name
            assert (off != 0).mean() <= 0.01, name
    assert len(np.unique(expected)) >= min(expected.size - 1, 12), "the case is saturated or constant"
    return content
