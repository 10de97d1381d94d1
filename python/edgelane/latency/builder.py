"""Writes small ONNX networks operator by operator, in float32 or as explicit Q/DQ, with zeros in a pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
SCALE = 0.05  # of every int8 activation: times do not depend on values, and equal scales let concatenations join
BLOCKS = {"unstructured": (1, 1), "4x1": (4, 1), "1x4": (1, 4), "4x4": (4, 4)}  # (output channels, input channels)


class Builder:
    """A network under construction. Values are named by strings; `shape[name]` is [1, c, h, w] or [1, features].

    With int8, every value that `quantized` returns has passed QuantizeLinear and DequantizeLinear.
    """

    def __init__(self, rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> None:
        self.rng = rng
        self.int8 = dtype == "int8"
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shape: dict[str, tuple[int, ...]] = {"images": shape}
        self.input = shape
        self.constants: dict[str, str] = {}

    def node(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        """Add a node with one output and return the output's name, which is the node's name, too."""
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        self.shape[name] = shape
        return name

    def constant(self, values: np.ndarray) -> str:
        """Add an initialiser."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def shared(self, key: str, values: np.ndarray) -> str:
        """An initialiser that many nodes read."""
        if key not in self.constants:
            self.constants[key] = self.constant(values)
        return self.constants[key]

    def quantized(self, x: str) -> str:
        """`x` through int8 and back; `x` itself in a float32 network."""
        if not self.int8:
            return x
        scale = self.shared("scale", np.float32(SCALE).reshape(()))
        zero = self.shared("zero", np.zeros((), np.int8))
        q = self.node("QuantizeLinear", [x, scale, zero], self.shape[x])
        return self.node("DequantizeLinear", [q, scale, zero], self.shape[x])

    def weights(self, shape: tuple[int, ...], pattern: str, density: float) -> np.ndarray:
        """Normal weights of which about the share `density` of the pattern's blocks is left, at random places."""
        values = self.rng.standard_normal(shape, dtype=np.float32)
        if pattern != "dense":
            bo, bi = BLOCKS[pattern]
            grid = (-(-shape[0] // bo), -(-shape[1] // bi), *shape[2:])
            keep = self.rng.random(grid, dtype=np.float32) < density
            keep.flat[0] = True
            mask = keep.repeat(bo, axis=0).repeat(bi, axis=1)[: shape[0], : shape[1]]
            values *= mask
        fan_in = max(1.0, float(np.count_nonzero(values)) / shape[0])
        values *= np.float32(fan_in**-0.5)
        return values

    def _weight(self, values: np.ndarray) -> str:
        """The weights as a float initialiser, or int8 with one scale per output channel behind a DequantizeLinear."""
        if not self.int8:
            return self.constant(values)
        largest = np.abs(values).reshape(values.shape[0], -1).max(axis=1)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        integers = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1)))
        # No nonzero is rounded to zero: the zeros are those of the pattern.
        integers = np.where((integers == 0) & (values != 0), 1, integers).astype(np.int8)
        zero = self.constant(np.zeros(values.shape[0], np.int8))
        return self.node(
            "DequantizeLinear", [self.constant(integers), self.constant(scale), zero], values.shape, axis=0
        )

    def conv(
        self,
        x: str,
        oc: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        pattern: str = "dense",
        density: float = 1.0,
    ) -> str:
        """A convolution that keeps the map's size (over the stride), with a bias. No activation, not quantised."""
        _, ic, h, w = self.shape[x]
        values = self.weights((oc, ic // groups, kernel, kernel), pattern, density)
        pad = (kernel - 1) // 2 * dilation
        size = [(side + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1 for side in (h, w)]
        return self.node(
            "Conv",
            [x, self._weight(values), self.constant(np.full(oc, 0.01, np.float32))],
            (1, oc, size[0], size[1]),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            dilations=[dilation, dilation],
            group=groups,
        )

    def linear(self, x: str, oc: int) -> str:
        """A fully connected layer over [1, features]."""
        values = self.weights((oc, self.shape[x][1]), "dense", 1.0)
        bias = self.constant(np.full(oc, 0.01, np.float32))
        return self.node("Gemm", [x, self._weight(values), bias], (self.shape[x][0], oc), transB=1)

    def activation(self, x: str, kind: str) -> str:
        """An element-wise function by the name that export/FORMAT.md gives it."""
        shape = self.shape[x]
        if kind == "none":
            return x
        if kind == "clip":
            low, high = self.shared("low", np.float32(0).reshape(())), self.shared("high", np.float32(6).reshape(()))
            return self.node("Clip", [x, low, high], shape)
        if kind == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x], shape)], shape)
        names = {"relu": "Relu", "hard_swish": "HardSwish", "sigmoid": "Sigmoid", "hard_sigmoid": "HardSigmoid"}
        return self.node(names[kind], [x], shape)

    def pool(self, x: str, op: str, kernel: int, stride: int) -> str:
        """MaxPool or AveragePool that keeps the map's size (over the stride)."""
        _, c, h, w = self.shape[x]
        pad = (kernel - 1) // 2
        size = [(side + 2 * pad - kernel) // stride + 1 for side in (h, w)]
        window = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": [pad] * 4}
        return self.node(op, [x], (1, c, size[0], size[1]), **window)

    def resize(self, x: str, scale: int, mode: str) -> str:
        """Enlarge a map by a whole factor."""
        _, c, h, w = self.shape[x]
        scales = self.constant(np.array([1, 1, scale, scale], np.float32))
        return self.node(
            "Resize",
            [x, "", scales],
            (1, c, h * scale, w * scale),
            mode=mode,
            coordinate_transformation_mode="half_pixel" if mode == "linear" else "asymmetric",
            **({} if mode == "linear" else {"nearest_mode": "floor"}),
        )

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        """The finished network."""
        graph = helper.make_graph(
            self.nodes,
            "calibration",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, self.input)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape[name]) for name in outputs],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
