"""Small ONNX models for the tests of `edgelane check`, float and int8, and one changed weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray[Any, Any]
PADDED = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
FLOAT = f"""
    first = Conv<{PADDED}>(x, w0) a = Relu(first)
    second = Conv<{PADDED}>(a, w1) s = Add(second, a) b = Relu(s)
    third = Conv<{PADDED}>(b, w2) c = Relu(third)
    p = GlobalAveragePool(c) f = Flatten(p) y = Gemm<transB = 1>(f, fc)
"""


def values(*shape: int, seed: int) -> Array:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32) / 4


def integers(*shape: int, seed: int) -> Array:
    return np.random.Generator(np.random.PCG64(seed)).integers(-127, 128, shape).astype(np.int8)


def constants() -> dict[str, Array]:
    return {
        "w0": values(8, 3, 3, 3, seed=1),
        "w1": values(8, 8, 3, 3, seed=2),
        "w2": values(16, 8, 3, 3, seed=3),
        "fc": values(5, 16, seed=4),
    }


def quantized() -> tuple[str, dict[str, Array]]:
    """The same layers between Q/DQ, with int8 weights. No round scales: they would make ties of rounding common."""
    made: dict[str, Array] = {"z": np.int8(0), "ws": np.float32(0.0041357), "fs": np.float32(0.0103)}
    for index, shape in enumerate(((8, 3, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3))):
        made[f"w{index}"] = integers(*shape, seed=index + 1)
    made["fc"] = integers(5, 16, seed=9)

    def pair(value: str, name: str, scale: float) -> str:
        made[f"{name}s"] = np.float32(scale)
        return f"{name}q = QuantizeLinear({value}, {name}s, z) {name} = DequantizeLinear({name}q, {name}s, z)"

    weights = " ".join(f"d{i} = DequantizeLinear(w{i}, ws, z)" for i in range(3))
    body = f"""
        {weights} dfc = DequantizeLinear(fc, fs, z)
        {pair("x", "xd", 0.030917)} first = Conv<{PADDED}>(xd, d0) ra = Relu(first) {pair("ra", "a", 0.051871)}
        second = Conv<{PADDED}>(a, d1) s = Add(second, a) rb = Relu(s) {pair("rb", "b", 0.20739)}
        third = Conv<{PADDED}>(b, d2) rc = Relu(third) {pair("rc", "c", 0.81133)}
        p = GlobalAveragePool(c) {pair("p", "m", 0.30171)} f = Flatten(m) y = Gemm<transB = 1>(f, dfc)
    """
    return body, made


def write(
    path: Path, body: str = FLOAT, made: dict[str, Array] | None = None, outputs: str = "float[1,5] y", domain: str = ""
) -> Path:
    """Write a model of x [1,3,12,12] whose nodes are called node_<the value they write>."""
    imports = '"": 17' + (f', "{domain}": 1' if domain else "")
    text = f"<ir_version: 10, opset_import: [{imports}]>\nagraph (float[1,3,12,12] x) => ({outputs}) {{ {body} }}"
    model = onnx.parser.parse_model(text)
    for name, value in (constants() if made is None else made).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    for node in model.graph.node:
        node.name = f"node_{node.output[0]}"
    onnx.save(model, path)
    return path


def changed(source: Path, target: Path, weight: str, by: float) -> Path:
    """The model with `by` added to one weight."""
    model = onnx.load(source)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[10] += array.dtype.type(by)
    tensor.CopyFrom(numpy_helper.from_array(array, weight))
    onnx.save(model, target)
    return target
