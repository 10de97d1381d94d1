"""Single-layer networks: one convolution of a known network, with zeros in a pattern, as a `.lane` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import edgelane
from benchmarks.kernels.make_layers import LAYERS

SPARSITY = 0.9
BLOCKS = {"dense": None, "unstructured": (1, 1), "4x1": (4, 1), "1x4": (1, 4), "4x4": (4, 4)}


@dataclass(frozen=True)
class Layer:
    """A convolution with ReLU: one line of layers.txt."""

    network: str
    ic: int
    oc: int
    kernel: int
    stride: int
    groups: int
    height: int
    width: int
    uses: int
    prunable: bool

    def __str__(self) -> str:
        kind = "depthwise" if self.groups > 1 else f"{self.kernel}x{self.kernel}"
        stride = f" s{self.stride}" if self.stride > 1 else ""
        return f"{kind} {self.ic}-{self.oc} @{self.width}x{self.height}{stride}"

    @property
    def macs(self) -> int:
        """Multiply-adds of all uses of this shape, dense."""
        out_h, out_w = _shapes(self)[1][2:]
        return self.uses * self.oc * self.ic // self.groups * self.kernel**2 * out_h * out_w


def convolutions() -> list[Layer]:
    """The convolutions of layers.txt; all there have square kernels and no dilation."""
    found = []
    for line in LAYERS.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[1:2] == ["conv2d"]:
            ic, oc, kernel, _, stride, _, groups, height, width, uses = map(int, words[2:12])
            found.append(Layer(words[0], ic, oc, kernel, stride, groups, height, width, uses, words[12] == "prunable"))
    return found


def weights(layer: Layer, pattern: str) -> np.ndarray:
    """Normal float32 weights [oc][ic / groups][k][k], 90 % of the pattern's blocks zero; seeded by the shape alone."""
    shape = (layer.oc, layer.ic // layer.groups, layer.kernel, layer.kernel)
    generator = np.random.default_rng(shape)
    values: np.ndarray = generator.standard_normal(shape).astype(np.float32) * np.float32(
        (shape[1] * layer.kernel**2) ** -0.5
    )
    block = BLOCKS[pattern]
    if block is None:
        return values
    grid = (-(-shape[0] // block[0]), -(-shape[1] // block[1]), layer.kernel, layer.kernel)
    order = generator.permutation(int(np.prod(grid)))
    keep = (order >= round(SPARSITY * order.size)).reshape(grid)  # exactly 10 % of the blocks, whatever the seed
    mask = keep.repeat(block[0], axis=0).repeat(block[1], axis=1)[: shape[0], : shape[1]]
    return np.asarray(values * mask, np.float32)


def compile_layer(layer: Layer, pattern: str, dtype: str, folder: Path) -> Path:
    """The `.lane` file of one layer; with dtype "int8" its input and output are int8 too, so that only the kernel is
    timed.
    """
    source, target = folder / "layer.onnx", folder / "layer.lane"
    onnx.save(_float_model(layer, pattern) if dtype == "float32" else _int8_model(layer, pattern), str(source))
    edgelane.compile(source, target, golden=False)
    return target


def _conv(layer: Layer, names: list[str], output: str) -> onnx.NodeProto:
    pad = layer.kernel // 2
    return helper.make_node(
        "Conv", names, [output], "conv", strides=[layer.stride] * 2, pads=[pad] * 4, group=layer.groups
    )


def _shapes(layer: Layer) -> tuple[list[int], list[int]]:
    out = [(size - 1) // layer.stride + 1 for size in (layer.height, layer.width)]
    return [1, layer.ic, layer.height, layer.width], [1, layer.oc, *out]


def _float_model(layer: Layer, pattern: str) -> onnx.ModelProto:
    bias = np.random.default_rng(1).standard_normal(layer.oc).astype(np.float32)
    nodes = [_conv(layer, ["x", "weight", "bias"], "sum"), helper.make_node("Relu", ["sum"], ["y"], "relu")]
    constants = {"weight": weights(layer, pattern), "bias": bias}
    return _model(layer, nodes, constants, TensorProto.FLOAT)


def _int8_model(layer: Layer, pattern: str) -> onnx.ModelProto:
    values = weights(layer, pattern)
    scales = np.abs(values).reshape(layer.oc, -1).max(axis=1)
    scales = np.where(scales > 0, scales, 1).astype(np.float32) / np.float32(127)
    quantised = np.clip(np.rint(values / scales[:, None, None, None]), -127, 127).astype(np.int8)
    constants = {
        "weight": quantised,
        "weight_scale": scales,
        "weight_zero": np.zeros(layer.oc, np.int8),
        "bias": np.random.default_rng(1).standard_normal(layer.oc).astype(np.float32),
        "x_scale": np.float32(0.02),
        "y_scale": np.float32(0.03),
        "zero": np.int8(0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "zero"], ["x_real"], "x_dq"),
        helper.make_node(
            "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["weight_real"], "w_dq", axis=0
        ),
        _conv(layer, ["x_real", "weight_real", "bias"], "sum"),
        helper.make_node("Relu", ["sum"], ["y_real"], "relu"),
        helper.make_node("QuantizeLinear", ["y_real", "y_scale", "zero"], ["y"], "y_q"),
    ]
    return _model(layer, nodes, constants, TensorProto.INT8)


def _model(layer: Layer, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], dtype: int) -> onnx.ModelProto:
    x, y = _shapes(layer)
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info("y", dtype, y)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
