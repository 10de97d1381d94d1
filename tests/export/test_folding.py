"""Constant nodes that ONNX's own evaluator computes otherwise than engines do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_cases import edgelane_outputs, graph_model, normal, onnxruntime_outputs, positive

import edgelane


@pytest.mark.parametrize(
    ("opset", "outputs", "training"),
    [(11, "w", False), (11, "w, a, b, c, d", True), (17, "w", False), (17, "w, a, b", True)],
)
def test_batch_normalization_of_weights(opset: int, outputs: str, training: bool, tmp_path: Path) -> None:
    """Standardised weights: in training mode their statistics are their own."""
    attributes = "<epsilon = 0.001, momentum = 1.0" + (", training_mode = 1>" if training and opset >= 14 else ">")
    body = f"{{ {outputs} = BatchNormalization{attributes}(v, g, s, m, u) y = Conv(x, w) }}"
    constants = {"v": 3 * normal(1, 6, 5, 5) + 1, "g": normal(6), "s": normal(6, seed=1), "m": normal(6, seed=2)}
    constants["u"] = positive(6)
    model = graph_model(f"(float[1,6,9,9] x) => (float[1,1,5,5] y) {body}", constants, opset=opset)
    onnx.save(model, tmp_path / "model.onnx")
    edgelane.compile(tmp_path / "model.onnx", tmp_path / "model.lane", golden=False)
    feeds = {"x": normal(1, 6, 9, 9)}
    wanted = onnxruntime_outputs(tmp_path / "model.onnx", feeds)["y"]
    found = edgelane_outputs(tmp_path / "model.lane", feeds)["y"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
