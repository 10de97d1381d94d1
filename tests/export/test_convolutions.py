"""Convolutions that fit the runtime's rows badly are written otherwise, with the same values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_cases import Case, Input, assert_same_as_onnxruntime, graph_model, normal, ops
from qdq_builder import QdqBuilder, check

from edgelane.export.compiler import lane_file

TOLERANCE = 2e-6

# Height and width of the map, attributes; the kernel and the steps that are left.
CASES = {
    "one tap is left": ((16, 16), {"dilations": [24, 24], "pads": [24] * 4}, (1, 1), ["conv2d"]),
    "rows are left": ((30, 16), {"dilations": [16, 16], "pads": [16] * 4}, (3, 1), ["conv2d"]),
    "columns are shifted": ((16, 17), {"dilations": [12, 12], "pads": [12] * 4}, (3, 1), ["slice", "pad"]),
    "no padding on the right": ((14, 20), {"dilations": [1, 9], "pads": [1, 14, 1, 0]}, (3, 1), ["slice", "pad"]),
    "a stride trims too": ((16, 16), {"dilations": [20, 20], "pads": [20] * 4, "strides": [2, 2]}, (1, 1), ["conv2d"]),
    "first taps alone": ((9, 9), {"dilations": [10, 1], "pads": [0, 1, 20, 1]}, (1, 3), ["conv2d"]),
    "cropping would be needed": ((4, 40), {"dilations": [9, 1], "pads": [7, 1, 13, 1]}, (3, 3), ["conv2d"]),
    "narrow borders stay": ((40, 40), {"dilations": [4, 4], "pads": [4] * 4}, (3, 3), ["conv2d"]),
}  # fmt: skip


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_float32(name: str, groups: int, tmp_path: Path) -> None:
    size, attributes, kernel, expected = CASES[name]
    case = Case(
        "Conv", [Input((2, 8, *size)), normal(12, 8 // groups, 3, 3), normal(12)], {**attributes, "group": groups}
    )
    content = assert_same_as_onnxruntime(case.model(), case.feeds(), tmp_path, TOLERANCE)
    found = [op for op in ops(content) if op not in ("import", "export")]
    if expected != ["conv2d"] and groups == 1:
        assert set(expected) < set(found)
        assert weight_shape(content) == (12, 24, *kernel)
    elif expected == ["conv2d"]:
        assert found == ["conv2d"]
        assert weight_shape(content) == (12, 8 // groups, *kernel)
    else:  # channels of a group would not stay together
        assert found == ["conv2d"]


def weight_shape(content: lane_file.LaneFile) -> tuple[int, ...]:
    (step,) = [step for step in content.steps if step.op == "conv2d"]
    return tuple(content.tensors[step.inputs[1]].shape)


@pytest.mark.parametrize("dilation", [12, 24])
def test_int8(dilation: int, tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(1, 8, 16, 16), 0.03, 5)
    y = b.node("Conv", x, b.weight(12, 8, 3, 3), dilations=[dilation] * 2, pads=[dilation] * 4)
    content = check(b, b.round_trip(y, 0.05, -3), 0.05, tmp_path)
    assert weight_shape(content) == ((12, 24, 3, 1) if dilation == 12 else (12, 8, 1, 1))
    (conv,) = [step for step in content.steps if step.op == "conv2d"]
    assert content.tensors[conv.inputs[0]].dtype == "int8"


def test_blocks_of_zeros_stay_blocks(tmp_path: Path) -> None:
    weight = normal(16, 8, 3, 3)
    keep = np.random.default_rng(0).random((4, 1, 8, 3, 3)) < 0.3
    weight *= np.broadcast_to(keep, (4, 4, 8, 3, 3)).reshape(weight.shape)
    case = Case("Conv", [Input((1, 8, 16, 16)), weight], {"dilations": [12, 12], "pads": [12] * 4})
    content = assert_same_as_onnxruntime(case.model(), case.feeds(), tmp_path, TOLERANCE)
    (conv,) = [step for step in content.steps if step.op == "conv2d"]
    values = content.tensors[conv.inputs[1]].data
    assert values is not None
    values = values.reshape(4, 4, -1)
    assert ((values != 0).any(axis=1) == (values != 0).all(axis=1)).all()
    assert (values != 0).mean() == pytest.approx(keep.mean())


PIXEL = {
    "1x1": ((2, 12, 1, 1), "c = Conv(x, w1, b) y = Relu(c)", ["reshape", "linear", "reshape"]),
    "what is left of 3x3": ((1, 12, 1, 1), "y = Conv<pads = [1, 1, 1, 1]>(x, w3, b)", ["reshape", "linear", "reshape"]),
    "two in a row": (
        (1, 12, 1, 1),
        "c = Conv(x, w1, b) r = Relu(c) d = Conv(r, w2) y = Sigmoid(d)",
        ["reshape", "linear", "linear", "reshape"],
    ),
    "a residual": ((1, 12, 1, 1), "c = Conv(x, w2) y = Add(c, x)", ["conv2d"]),
    "slopes": ((1, 12, 1, 1), "c = Conv(x, w1, b) y = PRelu(c, slopes)", ["conv2d"]),
    "a map": ((1, 12, 1, 2), "y = Conv(x, w1, b)", ["conv2d"]),
}


@pytest.mark.parametrize("name", PIXEL)
def test_one_pixel_is_a_linear_layer(name: str, tmp_path: Path) -> None:
    shape, body, expected = PIXEL[name]
    weights = {"w1": normal(12, 12, 1, 1), "w2": normal(12, 12, 1, 1, seed=2), "w3": normal(12, 12, 3, 3)}
    weights |= {"b": normal(12), "slopes": normal(12, 1, 1)}
    sizes = ",".join(map(str, shape))
    model = graph_model(f"(float[{sizes}] x) => (float[{sizes}] y) {{ {body} }}", weights)
    content = assert_same_as_onnxruntime(model, {"x": normal(*shape)}, tmp_path, TOLERANCE)
    assert [op for op in ops(content) if op not in ("import", "export")] == expected


def test_one_int8_pixel(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(2, 12, 1, 1), 0.03, 5)
    y = b.node("Relu", b.node("Conv", x, b.weight(16, 12, 1, 1)))
    content = check(b, b.round_trip(y, 0.05, -3), 0.05, tmp_path)
    (layer,) = [step for step in content.steps if step.op == "linear"]
    assert content.tensors[layer.output].dtype == "int8"
