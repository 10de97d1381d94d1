"""Operators beyond those of classifiers against ONNX Runtime: what ONNX's own tests (test_conformance) leave out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from onnx_cases import (
    Array,
    Case,
    Input,
    assert_same_as_onnxruntime,
    compiled,
    edgelane_outputs,
    normal,
    onnxruntime_outputs,
    positive,
    rng,
)

TOLERANCE = 2e-6  # see test_operators
LINE = Input((2, 6, 17))
IMAGE = Input((2, 4, 9, 11))
VOLUME = Input((2, 4, 5, 7, 6))
MATRIX = Input((3, 10))
TWOS = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
CORNERS = {"kernel_shape": [3, 3, 3], "strides": [2, 1, 2], "pads": [1, 0, 1, 0, 1, 1]}


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def integers(*shape: int, seed: int = 0) -> Array:
    return rng(seed).integers(0, 3, shape)


def bools(*shape: int, seed: int = 0) -> Array:
    return rng(seed).integers(0, 2, shape).astype(bool)


def grid(*shape: int, seed: int = 0) -> Array:
    """Points inside and outside an image."""
    return rng(seed).uniform(-1.6, 1.6, shape).astype(np.float32)


INDICES = Input((3, 2), integers, TensorProto.INT64)
MASK = Input((3, 10), bools, TensorProto.BOOL)
CASES = {
    "conv 1-D": Case("Conv", [LINE, normal(5, 6, 3), normal(5)], {"pads": [1, 2], "strides": [2]}),
    "conv 1-D dilated groups": Case("Conv", [LINE, normal(6, 2, 3)], {"group": 3, "dilations": [2]}),
    "conv 1-D same": Case("Conv", [LINE, normal(5, 6, 4)], {"auto_pad": "SAME_LOWER", "strides": [3]}),
    "conv 3-D": Case("Conv", [VOLUME, normal(6, 4, 3, 2, 3), normal(6)], {"pads": [1, 0, 1, 1, 1, 0]}),
    "conv 3-D strided groups": Case(
        "Conv", [VOLUME, normal(6, 2, 2, 3, 1)], {"group": 2, "strides": [2, 2, 1], "dilations": [2, 1, 1]}
    ),
    "conv 3-D same": Case("Conv", [VOLUME, normal(6, 4, 3, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2, 2]}),
    "transposed conv 1-D": Case("ConvTranspose", [LINE, normal(6, 3, 4), normal(3)], {"strides": [2], "pads": [1, 1]}),
    "transposed conv 3-D": Case(
        "ConvTranspose", [VOLUME, normal(4, 3, 3, 2, 2), normal(3)], {"strides": [2, 2, 1], "pads": [1, 0, 0, 1, 1, 0]}
    ),
    "transposed conv 3-D output padding": Case(
        "ConvTranspose",
        [VOLUME, normal(4, 3, 2, 2, 2)],
        {"strides": [2, 2, 2], "output_padding": [1, 1, 0], "group": 2},
    ),
    "transposed conv 3-D dilated": Case("ConvTranspose", [VOLUME, normal(4, 2, 2, 2, 2)], {"dilations": [2, 1, 2]}),
    "max pool 1-D": Case("MaxPool", [LINE], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "max pool 3-D": Case("MaxPool", [VOLUME], CORNERS),
    "max pool 3-D ceil": Case("MaxPool", [VOLUME], {**TWOS, "ceil_mode": 1}),
    "max pool with indices": Case("MaxPool", [IMAGE], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}, outputs=2),
    "max pool 1-D with indices": Case("MaxPool", [LINE], {"kernel_shape": [3], "strides": [2]}, outputs=2),
    "max pool 3-D with indices": Case("MaxPool", [VOLUME], TWOS, outputs=2),
    "average pool 1-D": Case("AveragePool", [LINE], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "average pool 3-D": Case("AveragePool", [VOLUME], CORNERS),
    "average pool 3-D counts padding": Case("AveragePool", [VOLUME], {**CORNERS, "count_include_pad": 1}),
    "average pool dilated": Case("AveragePool", [IMAGE], {"kernel_shape": [2, 3], "dilations": [2, 2]}, 19),
    "lp pool": Case("LpPool", [IMAGE], {"kernel_shape": [2, 3], "strides": [2, 1], "p": 3}),
    "lp pool 2": Case("LpPool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "global average pool 1-D": Case("GlobalAveragePool", [LINE]),
    "global average pool 3-D": Case("GlobalAveragePool", [VOLUME]),
    "global max pool 3-D": Case("GlobalMaxPool", [VOLUME]),
    "global lp pool": Case("GlobalLpPool", [IMAGE], {"p": 3}),
    "max unpool": Case("MaxUnpool", [Input((1, 1, 1, 3)), np.array([[[[5, 0, 11]]]])], {"kernel_shape": [2, 4]}),
    "matmul of activations": Case("MatMul", [Input((2, 3, 4, 5)), Input((3, 5, 6))]),
    "matmul of a constant and an activation": Case("MatMul", [normal(7, 10), Input((2, 10, 3))]),
    "matmul batches of constants": Case("MatMul", [Input((2, 3, 4)), normal(2, 4, 5)]),
    "matmul vector": Case("MatMul", [Input((4,)), Input((2, 4, 3))]),
    "matmul vectors": Case("MatMul", [Input((4,)), Input((4,))]),
    "matmul by a vector": Case("MatMul", [Input((2, 3, 4)), normal(4)]),
    "gemm transposed": Case("Gemm", [Input((10, 3)), normal(10, 7), normal(7)], {"transA": 1}),
    "gemm of activations": Case(
        "Gemm", [Input((10, 3)), Input((7, 10)), Input((3, 7))], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}
    ),
    "gemm scaled addend at run time": Case("Gemm", [MATRIX, normal(10, 7), Input((3, 1))], {"beta": 0.25}),
    "einsum attention": Case("Einsum", [Input((2, 5, 3, 4)), Input((2, 6, 3, 4))], {"equation": "bqhd,bkhd->bhqk"}),
    "einsum implicit": Case("Einsum", [Input((3, 4)), Input((4, 5))], {"equation": "ij,jk"}),
    "einsum sum": Case("Einsum", [Input((3, 4, 5))], {"equation": "abc->ca"}),
    "einsum ellipsis": Case("Einsum", [Input((2, 3, 4)), normal(4, 5)], {"equation": "...i,ij->...j"}),
    "einsum diagonal": Case("Einsum", [Input((2, 4, 4))], {"equation": "bii->bi"}),
    "einsum three": Case("Einsum", [Input((2, 3)), Input((3, 4)), Input((4, 5))], {"equation": "ab,bc,cd->ad"}),
    "instance norm": Case("InstanceNormalization", [IMAGE, normal(4), normal(4)], {"epsilon": 1e-3}),
    "instance norm 3-D": Case("InstanceNormalization", [VOLUME, normal(4), normal(4)]),
    "instance norm, scale at run time": Case("InstanceNormalization", [IMAGE, Input((4,)), Input((4,))]),
    "layer norm": Case("LayerNormalization", [Input((2, 5, 12)), normal(12), normal(12)]),
    "layer norm over two axes": Case("LayerNormalization", [Input((2, 3, 4)), normal(3, 4)], {"axis": 1}),
    "layer norm broadcast scale": Case("LayerNormalization", [Input((2, 3, 4)), normal(4), normal(4)], {"axis": 1}),
    "layer norm, scale at run time": Case("LayerNormalization", [Input((2, 5, 12)), Input((12,)), normal(12)]),
    "lrn": Case("LRN", [IMAGE], {"size": 3, "alpha": 0.1, "beta": 0.6, "bias": 1.5}),
    "lp normalization": Case("LpNormalization", [IMAGE], {"axis": 1, "p": 1}),
    "reduce l1": Case("ReduceL1", [IMAGE, ints(1, 3)], {"keepdims": 0}, 18),
    "reduce log sum exp": Case("ReduceLogSumExp", [IMAGE, ints(1)], {}, 18),
    "reduce sum of everything": Case("ReduceSum", [Input((2, 4, 5, 7, 6), positive)], {"keepdims": 0}),
    "reduce prod": Case("ReduceProd", [Input((2, 3, 4)), ints(-1)], {}, 18),
    "arg min": Case("ArgMin", [IMAGE], {"axis": -1, "select_last_index": 1}),
    "top k smallest": Case("TopK", [IMAGE, ints(3)], {"axis": 2, "largest": 0}, outputs=2),
    "gather anywhere": Case("Gather", [IMAGE, ints(3, 1, -1)], {"axis": 1}),
    "gather matrix": Case("Gather", [MATRIX, np.array([[0, 2], [1, 0]])]),
    "gather at run time": Case("Gather", [MATRIX, INDICES], {"axis": 0}),
    "gather elements": Case("GatherElements", [MATRIX, INDICES], {"axis": 1}),
    "gather nd": Case("GatherND", [Input((3, 3, 4)), INDICES]),
    "scatter elements": Case("ScatterElements", [MATRIX, np.array([[1], [9], [0]]), Input((3, 1))], {"axis": 1}),
    "scatter elements add": Case(
        "ScatterElements", [MATRIX, INDICES, Input((3, 2))], {"axis": 1, "reduction": "add"}, 18
    ),
    "scatter nd": Case("ScatterND", [MATRIX, np.array([[1], [0]]), Input((2, 10))], {}),
    "one hot": Case("OneHot", [INDICES, np.array(3), floats(-1, 2)], {"axis": 0}),
    "trilu": Case("Trilu", [IMAGE, np.array(-1)], {"upper": 0}),
    "cumulative sum": Case("CumSum", [MATRIX, np.array(1)], {"reverse": 1, "exclusive": 1}),
    "reverse sequence": Case("ReverseSequence", [Input((4, 3, 2)), ints(4, 1, 3)]),
    "compress": Case("Compress", [MATRIX, np.array([True, False, True])], {"axis": 0}),
    "where": Case("Where", [MASK, MATRIX, Input((1, 10))]),
    "where constants": Case("Where", [MASK, MATRIX, np.float32(-1e9)]),
    "less": Case("Less", [MATRIX, Input((3, 1))]),
    "greater or equal": Case("GreaterOrEqual", [MATRIX, np.float32(0.1)]),
    "equal integers": Case("Equal", [INDICES, ints(1)]),
    "and": Case("And", [MASK, Input((3, 1), bools, TensorProto.BOOL)]),
    "not": Case("Not", [MASK]),
    "integers": Case("Add", [INDICES, Input((3, 1), integers, TensorProto.INT64)]),
    "integer division": Case("Div", [INDICES, ints(2)]),
    "integer mod": Case("Mod", [INDICES, ints(2)]),
    "float mod": Case("Mod", [MATRIX, np.float32(0.3)], {"fmod": 1}),
    "clip integers": Case("Clip", [INDICES, np.array(1), np.array(1)]),
    "clip at run time": Case("Clip", [MATRIX, Input(()), None]),
    "cast to int64": Case("Cast", [Input((3, 4), lambda *s, **k: 9 * normal(*s, **k))], {"to": TensorProto.INT64}),
    "cast from bool": Case("Cast", [MASK], {"to": TensorProto.FLOAT}),
    "slice backwards": Case("Slice", [IMAGE, ints(-1, 5), ints(-100, 0), ints(2, 3), ints(-1, -2)]),
    "expand": Case("Expand", [Input((3, 1, 5)), ints(2, 1, 4, 1)]),
    "tile": Case("Tile", [IMAGE, ints(1, 2, 1, 3)]),
    "pad wrap": Case("Pad", [IMAGE, ints(0, 1, 2, 0, 0, 0, 1, 3)], {"mode": "wrap"}, 19),
    "depth to space 3": Case("DepthToSpace", [Input((1, 18, 3, 4))], {"blocksize": 3}),
    "selu": Case("Selu", [IMAGE], {"alpha": 1.2, "gamma": 0.9}),
    "celu": Case("Celu", [IMAGE], {"alpha": 0.7}),
    "softsign": Case("Softsign", [IMAGE]),
    "shrink": Case("Shrink", [IMAGE], {"lambd": 0.6, "bias": 0.2}),
    "thresholded relu": Case("ThresholdedRelu", [IMAGE], {"alpha": 0.4}),
    "hardmax": Case("Hardmax", [MATRIX]),
    "prelu everywhere": Case("PRelu", [IMAGE, normal(4, 9, 11)]),
    "prelu at run time": Case("PRelu", [IMAGE, Input((4, 1, 1))]),
    "mean": Case("Mean", [MATRIX, MATRIX, Input((3, 1))]),
    "pow of two types": Case("Pow", [Input((3, 4), positive), Input((3, 4), integers, TensorProto.INT64)]),
    "round": Case("Round", [Input((3, 4), lambda *s, **k: 2 * normal(*s, **k))]),
    "resize antialias": Case("Resize", [IMAGE, None, floats(1, 1, 0.4, 0.6)], {"mode": "linear", "antialias": 1}, 18),
    "resize 1-D": Case("Resize", [LINE, None, floats(1, 1, 1.7)], {"mode": "linear"}),
    "resize 3-D": Case("Resize", [VOLUME, None, floats(1, 1, 2, 2, 2)], {"mode": "linear"}),
    "resize 3-D nearest": Case("Resize", [VOLUME, None, floats(1, 1, 2, 0.5, 1.5)], {"mode": "nearest"}),
    "resize channels": Case("Resize", [IMAGE, None, floats(1, 2, 1, 1)], {"mode": "nearest"}),
    "resize exclude outside": Case(
        "Resize", [IMAGE, None, floats(1, 1, 2, 2)], {"mode": "cubic", "exclude_outside": 1}
    ),
    "resize crop": Case(
        "Resize",
        [IMAGE, floats(0, 0, 0.2, 0.4, 1, 1, 0.9, 1.3), None, ints(2, 4, 6, 5)],
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0},
    ),
    "roi align": Case(
        "RoiAlign",
        [IMAGE, floats(0, 0, 5, 6, 1, 2, 8, 7).reshape(2, 4), ints(0, 1)],
        {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 0.9},
    ),
}
CASES["deform conv"] = Case(
    "DeformConv",
    [
        IMAGE,
        normal(6, 2, 3, 2),
        Input((2, 2 * 3 * 2 * 2, 4, 12)),
        normal(6),
        Input((2, 2 * 3 * 2, 4, 12), positive),
    ],
    {"group": 2, "offset_group": 2, "strides": [2, 1], "pads": [1, 1, 0, 1], "kernel_shape": [3, 2]},
    19,
)
CASES["deform conv without mask"] = Case(
    "DeformConv", [IMAGE, normal(3, 4, 2, 2), Input((2, 8, 7, 9))], {"dilations": [2, 2]}, 19
)
for _mode in ("linear", "nearest", "cubic"):
    for _padding in ("zeros", "border", "reflection"):
        for _aligned in (0, 1):
            CASES[f"grid sample {_mode} {_padding} {_aligned}"] = Case(
                "GridSample",
                [IMAGE, Input((2, 5, 6, 2), grid)],
                {"mode": _mode, "padding_mode": _padding, "align_corners": _aligned},
                20,
            )


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert_same_as_onnxruntime(case.model(), case.feeds(), tmp_path, TOLERANCE)


def test_padding_with_infinity(tmp_path: Path) -> None:
    case = Case("Pad", [IMAGE, ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(-np.inf)])
    compiled(case.model(), tmp_path)
    expected = onnxruntime_outputs(tmp_path / "model.onnx", case.feeds())["out0"]
    np.testing.assert_array_equal(edgelane_outputs(tmp_path / "model.lane", case.feeds())["out0"], expected)
