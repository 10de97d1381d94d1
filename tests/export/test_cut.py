"""Models whose sizes depend on values: the compiler names where they can be cut, and compiles what comes before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_cases import edgelane_outputs, graph_model, normal

import edgelane
from edgelane.errors import EdgelaneError
from edgelane.export.compiler.unsupported import UnsupportedNodes

# Scores above a threshold, and the rows that they belong to: what detectors end in.
BODY = """
    scores = Sigmoid(x)
    best = ReduceMax<axes=[1], keepdims=0>(scores)
    half = Constant<value_float=0.5>()
    above = Greater(best, half)
    places = NonZero(above)
    rows = Transpose(places)
    kept = GatherND(scores, rows)
"""


def test_named_values_can_be_outputs(tmp_path: Path) -> None:
    model = graph_model(f"(float[12,5] x) => (float[12,5] scores, float[k,5] kept) {{ {BODY} }}", opset=17)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(
        UnsupportedNodes, match=r"NonZero.*; what comes before can be compiled with --outputs"
    ) as caught:
        edgelane.compile(tmp_path / "model.onnx", tmp_path / "model.lane")
    assert str(caught.value).count("--outputs") == 1
    assert caught.value.cut == ("scores", "above")

    edgelane.compile(tmp_path / "model.onnx", tmp_path / "model.lane", outputs=caught.value.cut)
    x = normal(12, 5)
    found = edgelane_outputs(tmp_path / "model.lane", {"x": x})
    scores = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["above"], scores.max(axis=1) > 0.5)


def test_a_model_that_cannot_be_cut_names_nothing(tmp_path: Path) -> None:
    model = graph_model("(float[4] x) => (int64[1,k] y) { y = NonZero(x) }", opset=17)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(EdgelaneError) as caught:
        edgelane.compile(tmp_path / "model.onnx", tmp_path / "model.lane")
    assert "NonZero" in str(caught.value)
