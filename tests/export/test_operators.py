"""Every float operator and attribute that the compiler knows, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_cases import Array, Case, Input, assert_same_as_onnxruntime, normal, positive

# float32 sums of up to a few hundred products, in another order than ONNX Runtime's; relative to the largest output.
TOLERANCE = 2e-6
IMAGE = Input((2, 8, 9, 11))
MATRIX = Input((3, 10))


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def spread(*shape: int, seed: int = 0) -> Array:
    """Values on both sides of every threshold that an activation has."""
    return normal(*shape, seed=seed) * np.float32(3)


def unary(op: str, opset: int = 17, values=spread, **attributes) -> Case:
    return Case(op, [Input((2, 5, 3, 7), values)], attributes, opset)


# Rounding up adds a window that would lie in the padding alone: such a window does not exist.
BEYOND = {"kernel_shape": [2, 3], "strides": [2, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
WIDE = Input((1, 8, 12, 13), spread)
CASES = {
    "conv 1x1": Case("Conv", [IMAGE, normal(6, 8, 1, 1), normal(6)]),
    "conv 3x3 padded": Case("Conv", [IMAGE, normal(6, 8, 3, 3), normal(6)], {"pads": [1, 1, 1, 1]}),
    "conv without bias": Case("Conv", [IMAGE, normal(6, 8, 3, 3)]),
    "conv uneven pads": Case("Conv", [IMAGE, normal(5, 8, 3, 2)], {"pads": [0, 1, 2, 3], "strides": [2, 1]}),
    "conv stride": Case("Conv", [IMAGE, normal(7, 8, 5, 5)], {"strides": [2, 3], "pads": [2, 2, 2, 2]}),
    "conv dilated": Case("Conv", [IMAGE, normal(4, 8, 3, 3)], {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "conv grouped": Case("Conv", [IMAGE, normal(12, 2, 3, 3), normal(12)], {"group": 4, "pads": [1, 1, 1, 1]}),
    "conv depthwise": Case("Conv", [IMAGE, normal(8, 1, 3, 3)], {"group": 8, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "conv depth multiplier": Case("Conv", [IMAGE, normal(16, 1, 3, 3)], {"group": 8}),
    "conv same upper": Case("Conv", [IMAGE, normal(3, 8, 4, 4)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv same lower": Case("Conv", [IMAGE, normal(3, 8, 4, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "conv valid": Case("Conv", [IMAGE, normal(3, 8, 4, 4)], {"auto_pad": "VALID"}),
    "conv whole image": Case("Conv", [IMAGE, normal(3, 8, 9, 11)]),
    "conv opset 11": Case("Conv", [IMAGE, normal(6, 8, 3, 3), normal(6)], {"pads": [1, 1, 1, 1]}, 11),
    "transposed conv": Case("ConvTranspose", [IMAGE, normal(8, 5, 3, 3), normal(5)]),
    "transposed conv stride": Case("ConvTranspose", [IMAGE, normal(8, 5, 2, 2)], {"strides": [2, 2]}),
    "transposed conv pads": Case(
        "ConvTranspose", [IMAGE, normal(8, 5, 4, 4)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    ),
    "transposed conv output padding": Case(
        "ConvTranspose",
        [IMAGE, normal(8, 5, 3, 3), normal(5)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "transposed conv output padding beyond": Case(
        "ConvTranspose", [IMAGE, normal(8, 5, 2, 2), normal(5)], {"strides": [3, 3], "output_padding": [2, 1]}
    ),
    "transposed conv groups": Case(
        "ConvTranspose", [IMAGE, normal(8, 3, 3, 3), normal(12)], {"group": 4, "strides": [2, 1]}
    ),
    "transposed conv dilated": Case("ConvTranspose", [IMAGE, normal(8, 3, 3, 3)], {"dilations": [2, 2]}),
    "transposed conv output shape": Case(
        "ConvTranspose", [IMAGE, normal(8, 3, 3, 3)], {"strides": [2, 2], "output_shape": [18, 22]}
    ),
    "transposed conv same upper": Case(
        "ConvTranspose", [IMAGE, normal(8, 3, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}
    ),
    "gemm": Case("Gemm", [MATRIX, normal(10, 7), normal(7)]),
    "gemm transposed weights": Case("Gemm", [MATRIX, normal(7, 10), normal(7)], {"transB": 1}),
    "gemm without bias": Case("Gemm", [MATRIX, normal(7, 10)], {"transB": 1}),
    "gemm alpha beta": Case("Gemm", [MATRIX, normal(10, 7), normal(1, 7)], {"alpha": 0.5, "beta": 2.0}),
    "gemm scalar bias": Case("Gemm", [MATRIX, normal(10, 7), normal(1)]),
    "gemm bias of rank 0, scaled": Case(
        "Gemm", [MATRIX, normal(10, 7), np.float32(0.7)], {"alpha": -0.5, "beta": -2.0}
    ),
    "gemm bias per row": Case("Gemm", [MATRIX, normal(10, 7), normal(3, 1)]),
    "gemm bias matrix": Case("Gemm", [MATRIX, normal(10, 7), normal(3, 7)]),
    "gemm bias at run time": Case("Gemm", [MATRIX, normal(10, 7), Input((3, 7))]),
    "matmul": Case("MatMul", [MATRIX, normal(10, 7)]),
    "matmul rank 3": Case("MatMul", [Input((2, 5, 10)), normal(10, 7)]),
    "matmul rank 4": Case("MatMul", [Input((2, 3, 5, 10)), normal(10, 7)]),
    "batch norm": Case("BatchNormalization", [IMAGE, normal(8), normal(8), normal(8), positive(8)], {"epsilon": 1e-3}),
    "batch norm rank 2": Case("BatchNormalization", [MATRIX, normal(10), normal(10), normal(10), positive(10)]),
    "relu": unary("Relu"),
    "leaky relu": unary("LeakyRelu", alpha=0.2),
    "leaky relu default": unary("LeakyRelu"),
    "elu": unary("Elu", alpha=0.7),
    "sigmoid": unary("Sigmoid"),
    "hard sigmoid": unary("HardSigmoid", alpha=0.3, beta=0.4),
    "hard sigmoid default": unary("HardSigmoid"),
    "hard swish": unary("HardSwish"),
    "tanh": unary("Tanh"),
    "gelu": unary("Gelu", 20),
    "gelu tanh": unary("Gelu", 20, approximate="tanh"),
    "mish": unary("Mish", 18),
    "softplus": unary("Softplus"),
    "erf": unary("Erf"),
    "exp": unary("Exp"),
    "log": unary("Log", values=positive),
    "sqrt": unary("Sqrt", values=positive),
    "abs": unary("Abs"),
    "neg": unary("Neg"),
    "reciprocal": unary("Reciprocal", values=positive),
    "floor": unary("Floor"),
    "ceil": unary("Ceil"),
    "clip": Case("Clip", [WIDE, np.float32(-1), np.float32(2)]),
    "clip low": Case("Clip", [WIDE, np.float32(-1)]),
    "clip high": Case("Clip", [WIDE, None, np.float32(2)]),
    "clip as relu": Case("Clip", [WIDE, np.float32(0)]),
    "clip open": Case("Clip", [WIDE]),
    "prelu per channel": Case("PRelu", [WIDE, normal(8, 1, 1)]),
    "prelu one slope": Case("PRelu", [WIDE, normal(1)]),
    "prelu rank 2": Case("PRelu", [MATRIX, normal(10)]),
    "add": Case("Add", [WIDE, WIDE]),
    "add broadcast": Case("Add", [WIDE, Input((8, 1, 1))]),
    "add broadcast both ways": Case("Add", [Input((2, 1, 3, 1)), Input((4, 1, 5))]),
    "add ranks": Case("Add", [Input((3, 4, 5)), Input((5,))]),
    "sub": Case("Sub", [WIDE, WIDE]),
    "mul": Case("Mul", [WIDE, WIDE]),
    "mul gate": Case("Mul", [WIDE, Input((1, 8, 1, 1))]),
    "div": Case("Div", [WIDE, Input((1, 8, 12, 13), positive)]),
    "max": Case("Max", [WIDE, WIDE, Input((1, 8, 1, 1))]),
    "max alone": Case("Max", [WIDE]),
    "min": Case("Min", [WIDE, WIDE]),
    "pow": Case("Pow", [Input((2, 3, 4), positive), Input((2, 3, 4))]),
    "sum": Case("Sum", [WIDE, WIDE, WIDE]),
    "add constant": Case("Add", [WIDE, normal(8, 1, 1)]),
    "add scalar": Case("Add", [WIDE, np.float32(1.5)]),
    "add row": Case("Add", [WIDE, normal(13)]),
    "constant minus": Case("Sub", [np.float32(1), WIDE]),
    "constant per channel minus": Case("Sub", [normal(8, 1, 1), WIDE]),
    "constant map minus": Case("Sub", [normal(12, 13), WIDE]),
    "minus constant": Case("Sub", [WIDE, normal(1, 8, 1, 1)]),
    "mul scalar": Case("Mul", [np.float32(0.3), WIDE]),
    "mul rank 2": Case("Mul", [MATRIX, normal(10)]),
    "mul rank 1": Case("Mul", [Input((10,)), normal(10)]),
    "div constant": Case("Div", [WIDE, np.float32(3)]),
    "one over": Case("Div", [np.float32(1), Input((2, 3), positive)]),
    "two over": Case("Div", [np.float32(2), Input((2, 3), positive)]),
    "max constant": Case("Max", [WIDE, np.float32(0.5)]),
    "max zero": Case("Max", [np.float32(0), WIDE]),
    "min constant": Case("Min", [WIDE, np.float32(0.5)]),
    "min per channel": Case("Min", [WIDE, normal(8, 1, 1)]),
    "pow 2": Case("Pow", [WIDE, np.float32(2)]),
    "pow 3": Case("Pow", [WIDE, np.float32(3)]),
    "pow of integers": Case("Pow", [Input((2, 4), positive), ints(0, 1, 2, 3)]),
    "pow of doubles": Case("Pow", [Input((2, 3), positive), np.array([3.0, 1.5, -2.0])]),
    "pow of one base": Case("Pow", [np.float32(2), WIDE]),
    "pow half": Case("Pow", [Input((2, 3), positive), np.float32(0.5)]),
    "pow minus half": Case("Pow", [Input((2, 3), positive), np.float32(-0.5)]),
    "pow minus one": Case("Pow", [Input((2, 3), positive), np.float32(-1)]),
    "max pool": Case("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max pool ceil": Case("MaxPool", [WIDE], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max pool ceil, a window in the padding": Case("MaxPool", [IMAGE], BEYOND),
    "max pool dilated": Case("MaxPool", [IMAGE], {"kernel_shape": [2, 3], "dilations": [2, 2]}),
    "max pool same": Case("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "max pool uneven": Case("MaxPool", [IMAGE], {"kernel_shape": [2, 3], "pads": [0, 1, 1, 2], "strides": [1, 2]}),
    "average pool": Case("AveragePool", [IMAGE], {"kernel_shape": [2, 3], "strides": [2, 2]}),
    "average pool ceil, a window in the padding": Case("AveragePool", [IMAGE], BEYOND),
    "average pool ceil, padding counted, a window in the padding": Case(
        "AveragePool", [IMAGE], {**BEYOND, "count_include_pad": 1}
    ),
    "average pool padded": Case("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average pool counts padding": Case(
        "AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    ),
    "average pool ceil": Case("AveragePool", [WIDE], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    "average pool ceil padded": Case(
        "AveragePool", [WIDE], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0], "ceil_mode": 1}, 19
    ),
    "global average pool": Case("GlobalAveragePool", [IMAGE]),
    "global max pool": Case("GlobalMaxPool", [IMAGE]),
    "mean of image": Case("ReduceMean", [IMAGE], {"axes": [2, 3]}),
    "mean of image, squeezed": Case("ReduceMean", [IMAGE], {"axes": [-1, -2], "keepdims": 0}),
    "mean of channels": Case("ReduceMean", [IMAGE], {"axes": [1]}),
    "mean of everything": Case("ReduceMean", [Input((2, 3, 4))], {"keepdims": 1}),
    "mean, axes as input": Case("ReduceMean", [IMAGE, ints(2, 3)], {"keepdims": 0}, 18),
    "mean of nothing": Case("ReduceMean", [IMAGE], {"noop_with_empty_axes": 1}, 18),
    "softmax": Case("Softmax", [MATRIX]),
    "softmax channels": Case("Softmax", [IMAGE], {"axis": 1}),
    "softmax last": Case("Softmax", [IMAGE], {"axis": -1}),
    "softmax opset 11": Case("Softmax", [Input((2, 3, 4))], {"axis": 1}, 11),
    "log softmax": Case("LogSoftmax", [MATRIX], {"axis": 1}),
    "log softmax opset 11": Case("LogSoftmax", [Input((2, 3, 4))], {}, 11),
    "concat channels": Case("Concat", [IMAGE, Input((2, 3, 9, 11)), Input((2, 1, 9, 11))], {"axis": 1}),
    "concat last": Case("Concat", [Input((2, 3)), Input((2, 5))], {"axis": -1}),
    "concat constant": Case("Concat", [Input((2, 3)), normal(2, 5)], {"axis": 1}),
    "slice": Case("Slice", [IMAGE, ints(1, 2), ints(7, 100), ints(1, 3), ints(2, 3)]),
    "slice negative": Case("Slice", [IMAGE, ints(-3), ints(-1), ints(-1)]),
    "slice all axes": Case("Slice", [Input((4, 6)), ints(1, 2), ints(3, 5)]),
    "split": Case("Split", [IMAGE, ints(3, 5)], {"axis": 1}, outputs=2),
    "split equal": Case("Split", [IMAGE], {"axis": 1}, outputs=4),
    "split uneven": Case("Split", [Input((2, 7))], {"axis": 1, "num_outputs": 3}, 18, outputs=3),
    "split opset 11": Case("Split", [IMAGE], {"axis": 1, "split": [2, 6]}, 11, outputs=2),
    "gather scalar": Case("Gather", [IMAGE, np.array(2, np.int64)], {"axis": 1}),
    "gather range": Case("Gather", [IMAGE, ints(1, 3, 5)], {"axis": 1}),
    "gather negative": Case("Gather", [Input((4, 5)), ints(-1)], {"axis": 0}),
    "transpose": Case("Transpose", [IMAGE], {"perm": [0, 2, 3, 1]}),
    "transpose default": Case("Transpose", [Input((2, 3, 4))]),
    "reshape": Case("Reshape", [IMAGE, ints(2, -1, 11)]),
    "reshape zero": Case("Reshape", [IMAGE, ints(0, 4, -1, 11)]),
    "flatten": Case("Flatten", [IMAGE]),
    "flatten axis": Case("Flatten", [IMAGE], {"axis": 3}),
    "squeeze": Case("Squeeze", [Input((2, 1, 3, 1)), ints(1, 3)]),
    "squeeze all": Case("Squeeze", [Input((2, 1, 3, 1))]),
    "squeeze opset 11": Case("Squeeze", [Input((2, 1, 3, 1))], {"axes": [1]}, 11),
    "unsqueeze": Case("Unsqueeze", [Input((2, 3)), ints(0, 3)]),
    "unsqueeze opset 11": Case("Unsqueeze", [Input((2, 3))], {"axes": [1]}, 11),
    "expand to itself": Case("Expand", [Input((2, 3)), ints(1, 2, 3)]),
    "identity": Case("Identity", [MATRIX]),
    "dropout": Case("Dropout", [MATRIX]),
    "cast to itself": Case("Cast", [MATRIX], {"to": 1}),
    "cast like": Case("CastLike", [MATRIX, normal(1)]),
    "pad": Case("Pad", [IMAGE, ints(0, 1, 2, 3, 0, 4, 0, 1), np.float32(1.5)]),
    "pad default": Case("Pad", [Input((2, 3)), ints(0, 1, 2, 0)]),
    "pad reflect": Case("Pad", [IMAGE, ints(0, 0, 2, 3, 0, 0, 1, 4)], {"mode": "reflect"}),
    "pad edge": Case("Pad", [IMAGE, ints(0, 0, 2, 3, 0, 0, 1, 4)], {"mode": "edge"}),
    "pad axes": Case("Pad", [IMAGE, ints(1, 2), None, ints(-1)], {}, 18),
    "pad negative": Case("Pad", [IMAGE, ints(0, 0, -1, 2, 0, 0, 3, -2)]),
    "depth to space": Case("DepthToSpace", [IMAGE], {"blocksize": 2}),
    "depth to space crd": Case("DepthToSpace", [IMAGE], {"blocksize": 2, "mode": "CRD"}),
    "space to depth": Case("SpaceToDepth", [Input((1, 3, 6, 8))], {"blocksize": 2}),
    "opset 13 softmax": Case("Softmax", [Input((2, 3, 4))], {"axis": 1}, 13),
    "swish": Case("Swish", [MATRIX], {}, 24),
}


def resize(mode: str, coordinates: str, factor: tuple[float, float], sizes: bool = False, **more) -> Case:
    h, w = 9, 11
    scales = np.array([1, 1, *factor], np.float32)
    out = ints(2, 8, int(h * factor[0]), int(w * factor[1]))
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, **more}
    return Case("Resize", [IMAGE, None, None, out] if sizes else [IMAGE, None, scales], attributes)


for _mode in ("nearest", "linear", "cubic"):
    for _coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        for _factor in ((2.0, 2.0), (0.6, 1.7), (3.0, 1.0)):
            # Where a size is rounded, ONNX aligns the corners of the exact size, ONNX Runtime those of the whole one.
            _sizes = _coordinates == "align_corners" and _factor == (0.6, 1.7)
            CASES[f"resize {_mode} {_coordinates} {_factor}"] = resize(_mode, _coordinates, _factor, _sizes)
    CASES[f"resize {_mode} to size"] = resize(_mode, "half_pixel", (2.5, 1.4), sizes=True)
for _nearest in ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil"):
    CASES[f"resize {_nearest}"] = resize("nearest", "half_pixel", (1.5, 2.5), nearest_mode=_nearest)
    CASES[f"resize {_nearest} asymmetric"] = resize("nearest", "asymmetric", (1.5, 0.5), nearest_mode=_nearest)
CASES["resize cubic coefficient"] = resize("cubic", "half_pixel", (2.0, 2.0), cubic_coeff_a=-0.5)
CASES["resize axes"] = Case("Resize", [IMAGE, None, None, ints(18, 22)], {"axes": [2, 3], "mode": "linear"}, 18)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert_same_as_onnxruntime(case.model(), case.feeds(), tmp_path, TOLERANCE)
