"""Layer normalisations as exporters before opset 17 write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_cases import assert_same_as_onnxruntime, graph_model, normal, ops

# Sums of 24 squares, a root and a division in another order.
TOLERANCE = 4e-6
CONSTANTS = {
    "two": np.float32(2),
    "epsilon": np.float32(1e-5),
    "gamma": normal(24, seed=1),
    "beta": normal(24, seed=2),
}
NORM = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m)"
TWICE = "m2 = ReduceMean<axes = [-1]>(x) d2 = Sub(x, m2) p = Pow(d2, two)"
REST = "v = ReduceMean<axes = [-1]>(p) e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s)"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"{NORM} p = Pow(d, two) {REST} g = Mul(n, gamma) y = Add(g, beta)", ["normalize"]),
        (f"{NORM} {TWICE} {REST} g = Mul(gamma, n) y = Add(beta, g)", ["normalize"]),
        (f"{NORM} p = Mul(d, d) {REST} y = Add(n, beta)", ["normalize"]),
        (f"{NORM} p = Pow(d, two) {REST} y = Relu(n)", ["normalize", "unary"]),
        # The result is read twice: scale and bias keep steps of their own.
        (f"{NORM} p = Pow(d, two) {REST} g = Mul(n, gamma) y = Add(g, n)", ["normalize", "binary", "binary"]),
    ],
)
def test_layer_norm(body: str, expected: list[str], tmp_path: Path) -> None:
    model = graph_model(f"(float[2,5,24] x) => (float[2,5,24] y) {{ {body} }}", CONSTANTS)
    content = assert_same_as_onnxruntime(model, {"x": normal(2, 5, 24)}, tmp_path, TOLERANCE)
    assert ops(content) == expected


@pytest.mark.parametrize(
    "body",
    [
        # Of another value, over other axes, of an axis that is not the last.
        f"{NORM} o = Exp(x) m2 = ReduceMean<axes = [-1]>(o) d2 = Sub(o, m2) p = Pow(d2, two) {REST} y = Relu(n)",
        "m = ReduceMean<axes = [1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes = [-1]>(p)"
        " e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s) y = Relu(n)",
        "m = ReduceMean<axes = [1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes = [1]>(p)"
        " e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s) y = Relu(n)",
    ],
)
def test_what_is_none(body: str, tmp_path: Path) -> None:
    model = graph_model(f"(float[2,5,24] x) => (float[2,5,24] y) {{ {body} }}", CONSTANTS)
    content = assert_same_as_onnxruntime(model, {"x": normal(2, 5, 24)}, tmp_path, TOLERANCE)
    assert "normalize" not in ops(content)
