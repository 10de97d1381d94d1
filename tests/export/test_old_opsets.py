"""Operators as opsets 9 to 12 write them, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_cases import Array, Case, Input, assert_same_as_onnxruntime, normal, positive

TOLERANCE = 2e-6  # see test_operators
IMAGE = Input((2, 4, 6, 8))
MATRIX = Input((3, 10))
CUBE = Input((2, 3, 4))


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


CASES = {
    "upsample nearest": Case("Upsample", [IMAGE, floats(1, 1, 2, 3)], {"mode": "nearest"}, 9),
    "upsample linear": Case("Upsample", [IMAGE, floats(1, 1, 2, 2)], {"mode": "linear"}, 9),
    "resize": Case("Resize", [IMAGE, floats(1, 1, 2, 2)], {"mode": "nearest"}, 10),
    "resize linear, smaller": Case("Resize", [IMAGE, floats(1, 1, 0.5, 0.5)], {"mode": "linear"}, 10),
    "slice": Case("Slice", [IMAGE], {"starts": [1, -3], "ends": [3, 1000], "axes": [1, 3]}, 9),
    "slice without axes": Case("Slice", [MATRIX], {"starts": [1, 2], "ends": [3, 9]}, 9),
    "slice inputs": Case("Slice", [IMAGE, ints(0, 1), ints(2, 8), ints(1, 3), ints(1, 2)], {}, 10),
    "top k attribute": Case("TopK", [MATRIX], {"k": 3}, 9, outputs=2),
    "top k input": Case("TopK", [CUBE, ints(2)], {"axis": 1}, 10, outputs=2),
    "dropout": Case("Dropout", [MATRIX], {"ratio": 0.3}, 9),
    "dropout 10": Case("Dropout", [MATRIX], {"ratio": 0.3}, 10),
    "batch norm": Case("BatchNormalization", [IMAGE, normal(4), normal(4), normal(4), positive(4)], {}, 9),
    "pad": Case("Pad", [IMAGE], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}, 9),
    "pad reflect": Case("Pad", [IMAGE], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": "reflect"}, 10),
    "clip": Case("Clip", [IMAGE], {"min": -0.5, "max": 0.7}, 9),
    "clip one end": Case("Clip", [IMAGE], {"max": 0.7}, 10),
    "softmax": Case("Softmax", [CUBE], {}, 9),
    "softmax last": Case("Softmax", [CUBE], {"axis": 2}, 11),
    "log softmax": Case("LogSoftmax", [CUBE], {"axis": 0}, 9),
    "hardmax": Case("Hardmax", [CUBE], {"axis": 1}, 11),
    "squeeze": Case("Squeeze", [Input((2, 1, 3, 1))], {"axes": [1, 3]}, 9),
    "unsqueeze": Case("Unsqueeze", [MATRIX], {"axes": [0, 3]}, 9),
    "split": Case("Split", [IMAGE], {"axis": 1, "split": [1, 3]}, 9, outputs=2),
    "reduce mean": Case("ReduceMean", [IMAGE], {"axes": [2, 3], "keepdims": 0}, 9),
    "reduce sum": Case("ReduceSum", [CUBE], {"axes": [-1]}, 11),
    "reduce max": Case("ReduceMax", [CUBE], {}, 11),
    "reduce l2": Case("ReduceL2", [CUBE], {"axes": [1]}, 9),
    "cast": Case("Cast", [CUBE], {"to": 7}, 9),
    "scatter": Case("Scatter", [MATRIX, np.array([[1, 2], [0, 5]]), normal(2, 2)], {"axis": 1}, 9),
    "arg max": Case("ArgMax", [CUBE], {"axis": 1, "keepdims": 0}, 9),
    "prelu": Case("PRelu", [IMAGE, normal(4, 1, 1)], {}, 9),
    "gemm": Case("Gemm", [MATRIX, normal(10, 4), normal(4)], {"alpha": 0.5}, 9),
    "average pool": Case("AveragePool", [IMAGE], {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}, 9),
    "max pool": Case("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2]}, 9),
    "instance norm": Case("InstanceNormalization", [IMAGE, normal(4), normal(4)], {}, 9),
    "depth to space": Case("DepthToSpace", [IMAGE], {"blocksize": 2}, 9),
    "where": Case("Where", [np.array([[True], [False], [True]]), MATRIX, MATRIX], {}, 9),
    "one hot": Case("OneHot", [Input((3,), lambda *_, **__: ints(0, 4, 2), 7), ints(5), floats(0, 1)], {}, 9),
    "expand": Case("Expand", [Input((3, 1)), ints(2, 3, 4)], {}, 9),
}


@pytest.mark.parametrize("name", CASES)
def test_old_form(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert_same_as_onnxruntime(case.model(), case.feeds(), tmp_path, TOLERANCE)
