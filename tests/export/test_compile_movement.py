"""Steps that only move elements run on integers between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_cases import compiled, edgelane_outputs, graph_model, normal, onnxruntime_outputs

CONSTANTS = {
    "s": np.float32(0.05),
    "z": np.int8(3),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "rows": np.array([3, 1, 0]),
    "shape": np.array([2, 4, 6, 6]),
    "one": np.float32(1),
}


@pytest.mark.parametrize(
    ("body", "moved"),
    [
        ('m = Pad<mode = "reflect">(d, pads)', "pad"),
        ("m = Pad(d, pads)", "pad"),
        ("m = Gather<axis = 1>(d, rows)", "gather"),
        ("m = Expand(d, shape)", "pad"),
    ],
)
def test_movement_of_integers(body: str, moved: str, tmp_path: Path) -> None:
    model = graph_model(
        f"""(float[1,4,6,6] x) => (float[a,b,c,d] y) {{
            q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
            {body}
            p = QuantizeLinear(m, s, z) y = DequantizeLinear(p, s, z)
        }}""",
        CONSTANTS,
    )
    report, _ = compiled(model, tmp_path)
    assert [(layer.op, layer.dtype) for layer in report.layers] == [
        ("quantize", "float32"),
        (moved, "int8"),
        ("dequantize", "int8"),
    ]
    feeds = {"x": normal(1, 4, 6, 6)}
    expected = onnxruntime_outputs(tmp_path / "model.onnx", feeds, as_written=True)
    np.testing.assert_array_equal(edgelane_outputs(tmp_path / "model.lane", feeds)["y"], expected["y"])


def test_a_border_that_no_integer_stands_for_stays_float(tmp_path: Path) -> None:
    model = graph_model(
        """(float[1,4,6,6] x) => (float[1,4,8,8] y) {
            q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Pad(d, pads, one)
        }""",
        CONSTANTS | {"one": np.float32(100)},
    )
    report, _ = compiled(model, tmp_path)
    assert [(layer.op, layer.dtype) for layer in report.layers][-1] == ("pad", "float32")
