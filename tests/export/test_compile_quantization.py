"""Q/DQ models become int8 steps, and give ONNX Runtime's integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_cases import compiled, edgelane_outputs, onnxruntime_outputs, ops, rng
from qdq_builder import IMAGE, SCALE, QdqBuilder, check

from edgelane.export.compiler import lane_file


def convolution(b: QdqBuilder, x: str, oc: int = 6, ic: int = 8, k: int = 3, **attributes: object) -> str:
    return b.node("Conv", x, b.weight(oc, ic, k, k), **attributes)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("zero_point", [0, -7])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"pads": [1, 0, 2, 1], "strides": [2, 1]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    ],
    ids=["plain", "padded", "strided", "dilated"],
)
def test_convolution(attributes: dict[str, object], zero_point: int, unsigned: bool, tmp_path: Path) -> None:
    b = QdqBuilder(unsigned)
    y = convolution(b, b.round_trip(b.input(*IMAGE), SCALE, zero_point), **attributes)
    content = check(b, b.round_trip(y, 0.6, zero_point), 0.6, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "dequantize"]


@pytest.mark.parametrize(("oc", "groups"), [(12, 4), (8, 8), (16, 8)])
def test_grouped_convolution(oc: int, groups: int, tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    y = convolution(b, x, oc, 8 // groups, group=groups, pads=[1, 1, 1, 1])
    assert ops(check(b, b.round_trip(y, 0.2), 0.2, tmp_path)) == ["quantize", "conv2d", "dequantize"]


def test_one_weight_scale(tmp_path: Path) -> None:
    b = QdqBuilder()
    y = b.node("Conv", b.round_trip(b.input(*IMAGE), SCALE), b.weight(6, 8, 3, 3, axis=None))
    content = check(b, b.round_trip(y, 0.6), 0.6, tmp_path)
    weight = next(t for t in content.tensors if t.kind == lane_file.CONSTANT and len(t.shape) == 4)
    assert (weight.dtype, len(weight.scales)) == ("int8", 1)


@pytest.mark.parametrize("activation", ["Relu", "HardSwish", "Sigmoid", "Tanh"])
def test_activation_is_fused(activation: str, tmp_path: Path) -> None:
    b = QdqBuilder()
    y = b.node(activation, convolution(b, b.round_trip(b.input(*IMAGE), SCALE)))
    scale = 0.01 if activation in ("Sigmoid", "Tanh") else 0.2
    content = check(b, b.round_trip(y, scale, -3), scale, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "dequantize"]


@pytest.mark.parametrize(
    ("activation", "scale", "expected"),
    [("Sigmoid", 0.01, ["conv2d", "unary"]), ("Relu", 0.6, ["conv2d"]), ("Relu", 0.3, ["conv2d", "unary"])],
)
def test_activation_behind_a_rounded_convolution(
    activation: str, scale: float, expected: list[str], tmp_path: Path
) -> None:
    """The rounding between the two is part of the model; only relu at one scale is the same without it."""
    b = QdqBuilder()
    y = b.round_trip(convolution(b, b.round_trip(b.input(*IMAGE), SCALE)), 0.6)
    content = check(b, b.round_trip(b.node(activation, y), scale), scale, tmp_path)
    assert ops(content) == ["quantize", *expected, "dequantize"]


def slopes(b: QdqBuilder, channels: int) -> str:
    return b.constant(rng(9).uniform(-0.5, 1.0, (channels, 1, 1)), "float32")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("intermediate", [False, True])
def test_slopes_are_fused(intermediate: bool, residual: bool, tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE, 5)
    y = convolution(b, x, oc=8, pads=[1, 1, 1, 1])
    if residual:
        y = b.node("Add", b.round_trip(y, 0.6, -4) if intermediate else y, x)
    content = check(b, b.round_trip(b.node("PRelu", y, slopes(b, 8)), 0.5, -9), 0.5, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "dequantize"]
    assert len(content.steps[1].inputs) == 5


def test_concat_of_a_layer_is_quantised_before_it(tmp_path: Path) -> None:
    """Downsampling of segmenters: BatchNorm and PReLU stand behind a concatenation, and end in the convolution."""
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE, 5)
    pool = b.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = b.node("Concat", convolution(b, x, pads=[1, 1, 1, 1]), pool, axis=1)
    norm = [b.constant(rng(i).uniform(0.5, 2, 14) * (1 - 2 * (i == 1)), "float32") for i in range(1, 5)]
    y = b.node("PRelu", b.node("BatchNormalization", y, *norm), slopes(b, 14))
    content = check(b, b.round_trip(y, 0.6, -3), 0.6, tmp_path)
    assert sorted(ops(content)) == sorted(
        ["quantize", "conv2d", "max_pool2d", "dequantize", "affine", "quantize", "concat", "dequantize"]
    )


def test_bias_integers_are_kept(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    weight = b.weight(6, 8, 3, 3)
    scales = np.float32(SCALE) * rng(7).uniform(0.002, 0.02, 6).astype(np.float32)
    values = rng(3).integers(-5000, 5000, 6)
    y = b.node("Conv", x, weight, b.bias(values, scales))
    content = check(b, b.round_trip(y, 0.6), 0.6, tmp_path)
    stored = next(t for t in content.tensors if t.dtype == "int32")
    np.testing.assert_array_equal(stored.data, values)


def test_float_bias_is_rounded_to_the_product_scale(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    bias = rng(4).normal(size=6).astype(np.float32)
    y = b.node("Conv", x, b.weight(6, 8, 3, 3, axis=None), b.constant(bias, "float32"))
    content = check(b, b.round_trip(y, 0.6), 0.6, tmp_path)
    stored = next(t for t in content.tensors if t.dtype == "int32")
    np.testing.assert_array_equal(
        stored.data, np.rint(bias.astype(np.float64) / (np.float32(SCALE) * np.float32(0.01)))
    )


def test_float_output(tmp_path: Path) -> None:
    b = QdqBuilder()
    y = convolution(b, b.round_trip(b.input(*IMAGE), SCALE))
    content = check(b, y, 0.001, tmp_path)
    assert ops(content) == ["quantize", "conv2d"]


def test_batch_norm_behind_a_quantised_convolution(tmp_path: Path) -> None:
    b = QdqBuilder()
    y = convolution(b, b.round_trip(b.input(*IMAGE), SCALE))
    constants = [b.constant(rng(i).uniform(0.5, 2, 6) * (1 - 2 * (i == 1)), "float32") for i in range(1, 5)]
    y = b.node("BatchNormalization", y, *constants)
    assert ops(check(b, b.round_trip(y, 0.8), 0.8, tmp_path)) == ["quantize", "conv2d", "dequantize"]


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("style", ["gemm", "gemm transposed", "matmul", "matmul transposed"])
def test_linear(style: str, unsigned: bool, tmp_path: Path) -> None:
    b = QdqBuilder(unsigned)
    x = b.round_trip(b.input(5, 20), SCALE, 3)
    if style == "gemm":
        y = b.node("Gemm", x, b.weight(20, 7, axis=1))
    elif style == "gemm transposed":
        y = b.node("Gemm", x, b.weight(7, 20), transB=1)
    elif style == "matmul":
        y = b.node("MatMul", x, b.weight(20, 7, axis=1))
    else:
        y = b.node("MatMul", x, b.node("Transpose", b.weight(7, 20), perm=[1, 0]))
    assert ops(check(b, b.round_trip(y, 0.1), 0.1, tmp_path)) == ["quantize", "linear", "dequantize"]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("intermediate", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_residual(swapped: bool, intermediate: bool, relu: bool, tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE, 2)
    y = convolution(b, x, oc=8, pads=[1, 1, 1, 1])
    if intermediate:
        y = b.round_trip(y, 0.4, 1)
    total = b.node("Add", x, y) if swapped else b.node("Add", y, x)
    total = b.round_trip(b.node("Relu", total) if relu else total, 0.45, -3)
    content = check(b, total, 0.45, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "dequantize"]
    attributes = content.steps[1].attributes
    assert ("intermediate_scale" in attributes) == intermediate
    assert len(content.steps[1].inputs) == 4


def test_residual_of_a_projection_block(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    short = b.round_trip(convolution(b, x, k=1), 0.2)
    middle = b.round_trip(b.node("Relu", convolution(b, x, pads=[1, 1, 1, 1])), 0.3)
    long = b.round_trip(convolution(b, middle, ic=6, pads=[1, 1, 1, 1]), 1.0)
    y = b.round_trip(b.node("Relu", b.node("Add", long, short)), 1.0)
    content = check(b, y, 1.0, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "conv2d", "conv2d", "dequantize"]
    assert [len(step.inputs) for step in content.steps] == [1, 2, 2, 4, 1]


def test_a_branch_that_is_read_twice_is_not_fused(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    y = b.round_trip(convolution(b, x, oc=8, pads=[1, 1, 1, 1]), 0.4)
    total = b.round_trip(b.node("Add", x, y), 0.4)
    content = check(b, b.round_trip(b.node("Add", total, y), 0.83), 0.83, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "binary", "binary", "dequantize"]


INT8_STEPS: dict[str, tuple[Callable[[QdqBuilder, str, str], str], float, list[str]]] = {
    "add": (lambda b, x, other: b.node("Add", x, other), 0.07, ["binary"]),
    "mul": (lambda b, x, other: b.node("Mul", x, other), 0.07, ["binary"]),
    "add relu": (lambda b, x, other: b.node("Relu", b.node("Add", x, other)), 0.03, ["binary"]),
    "concat": (lambda b, x, other: b.node("Concat", x, other, axis=1), 0.04, ["concat"]),
    "relu": (lambda b, x, _: b.node("Relu", x), 0.03, ["unary"]),
    "sigmoid": (lambda b, x, _: b.node("Sigmoid", x), 0.01, ["unary"]),
    "hard swish": (lambda b, x, _: b.node("HardSwish", x), 0.03, ["unary"]),
    "max pool": (
        lambda b, x, _: b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        SCALE,
        ["max_pool2d"],
    ),
    "max pool to another scale": (
        lambda b, x, _: b.node("MaxPool", x, kernel_shape=[2, 2]),
        0.03,
        ["requantize", "max_pool2d"],
    ),
    "average pool": (
        lambda b, x, _: b.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        0.0317,
        ["average_pool2d"],
    ),
    "global average pool": (lambda b, x, _: b.node("GlobalAveragePool", x), 0.004, ["global_average_pool"]),
    "mean of image": (
        lambda b, x, _: b.node("ReduceMean", x, axes=[2, 3], keepdims=0),
        0.004,
        ["global_average_pool", "reshape"],
    ),
    "nearest resize": (
        lambda b, x, _: b.node("Resize", x, "", b.constant([1, 1, 2, 2], "float32"), mode="nearest"),
        SCALE,
        ["resize"],
    ),
    "transpose": (lambda b, x, _: b.node("Transpose", x, perm=[0, 2, 3, 1]), SCALE, ["transpose"]),
    "flatten": (lambda b, x, _: b.node("Flatten", x), SCALE, ["reshape"]),
}
INT8_STEPS["slice"] = (
    lambda b, x, _: b.node(
        "Slice", x, b.constant([1, 2], "int64"), b.constant([7, 9], "int64"), b.constant([1, 3], "int64")
    ),
    SCALE,
    ["slice"],
)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", INT8_STEPS)
def test_int8_step(name: str, unsigned: bool, tmp_path: Path) -> None:
    build, scale, expected = INT8_STEPS[name]
    b = QdqBuilder(unsigned)
    x = b.round_trip(b.input(*IMAGE), SCALE, -2)
    two = name in ("add", "mul", "add relu", "concat")
    other = b.round_trip(b.input(*IMAGE), 0.03, 5) if two else ""
    content = check(b, b.round_trip(build(b, x, other), scale, -2), scale, tmp_path)
    assert ops(content) == ["quantize"] * (1 + two) + expected + ["dequantize"]


def test_float_steps_between_int8_ones(tmp_path: Path) -> None:
    """Softmax has no int8 form: it runs in float32 between dequantize and quantize, as the model is written."""
    b = QdqBuilder()
    x = b.round_trip(b.input(3, 20), SCALE)
    y = b.round_trip(b.node("Softmax", x), 0.004, -128)
    content = check(b, y, 0.004, tmp_path, as_written=True)
    assert ops(content) == ["quantize", "dequantize", "softmax", "quantize", "dequantize"]


def test_movement_without_its_own_quantisation(tmp_path: Path) -> None:
    """Tools that quantise only in front of layers leave Flatten and MaxPool in float between them."""
    b = QdqBuilder()
    x = b.round_trip(b.input(1, 8, 8, 8), SCALE)
    pooled = b.node("MaxPool", b.node("Relu", convolution(b, x)), kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Gemm", b.round_trip(b.node("Flatten", pooled), 0.3), b.weight(7, 54), transB=1)
    content = check(b, b.round_trip(y, 1.5), 1.5, tmp_path)
    assert ops(content) == ["quantize", "conv2d", "max_pool2d", "reshape", "linear", "dequantize"]


def test_asymmetric_weights_run_in_float_and_the_report_says_so(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    parameters = [b.constant(0.01, "float32"), b.constant(7, "int8")]
    weight = b.node("DequantizeLinear", b.constant(rng().integers(-128, 128, (6, 8, 3, 3)), "int8"), *parameters)
    y = b.node("Conv", x, weight)
    report, content = compiled(b.model(b.round_trip(y, 0.6)), tmp_path)
    assert ops(content) == ["quantize", "dequantize", "conv2d", "quantize", "dequantize"]
    assert report.notes == [f"{y} runs in float32 although its input is quantised: its weights are not symmetric int8"]


def test_transposed_convolution_stays_float(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    y = b.node("ConvTranspose", x, b.weight(8, 4, 2, 2, axis=1), strides=[2, 2])
    content = check(b, b.round_trip(y, 0.2), 0.2, tmp_path)
    assert ops(content) == ["quantize", "dequantize", "conv_transpose2d", "quantize", "dequantize"]


def test_int8_output(tmp_path: Path) -> None:
    b = QdqBuilder()
    y = b.quantize(convolution(b, b.round_trip(b.input(*IMAGE), SCALE)), 0.6)
    model = b.model(y)
    _, content = compiled(model, tmp_path)
    assert ops(content) == ["quantize", "conv2d"]
    expected = onnxruntime_outputs(tmp_path / "model.onnx", b.feeds())[y]
    result = edgelane_outputs(tmp_path / "model.lane", b.feeds())[y]
    assert result.dtype == np.int8
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_quantised_weights_given_as_float(tmp_path: Path) -> None:
    """Some exporters keep float weights and put QuantizeLinear behind them."""
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    weight = b.constant(rng(1).normal(size=(6, 8, 3, 3)), "float32")
    y = b.node("Conv", x, b.round_trip(weight, 0.02))
    assert ops(check(b, b.round_trip(y, 0.6), 0.6, tmp_path)) == ["quantize", "conv2d", "dequantize"]


def test_a_bias_that_is_one_number(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(5, 20), SCALE)
    bias = b.node("DequantizeLinear", b.constant([700], "int32"), b.constant(SCALE * 0.01, "float32"))
    y = b.node("Gemm", x, b.weight(20, 7, axis=None), bias)
    content = check(b, b.round_trip(y, 0.1), 0.1, tmp_path)
    stored = next(t for t in content.tensors if t.dtype == "int32")
    np.testing.assert_array_equal(stored.data, np.full(7, 700))


def test_sums_that_could_pass_int32_stay_float(tmp_path: Path) -> None:
    b = QdqBuilder()
    x = b.round_trip(b.input(2, 20), SCALE)
    limit = 2**31 - 1
    bias = b.bias(np.array([limit, -limit, 5]), np.full(3, SCALE * 0.01, np.float32))
    y = b.node("Gemm", x, b.weight(20, 3, axis=None), bias)
    report, content = compiled(b.model(y, rank=2), tmp_path)
    assert ops(content) == ["quantize", "dequantize", "linear"]
    assert "its sums could pass the range of int32" in report.notes[0]
    expected = onnxruntime_outputs(tmp_path / "model.onnx", b.feeds(), as_written=True)[y]
    result = edgelane_outputs(tmp_path / "model.lane", b.feeds())[y]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_input_that_is_int8_already(tmp_path: Path) -> None:
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.05])
    zero = helper.make_tensor("z", TensorProto.INT8, [], [3])
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"], name="dequantize"),
        helper.make_node("Relu", ["real"], ["y"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.INT8, (2, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3))],
        [scale, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    _, content = compiled(model, tmp_path)
    assert (content.tensors[0].dtype, content.tensors[0].zero_point) == ("int8", 3)
    feeds = {"x": rng().integers(-128, 128, (2, 3)).astype(np.int8)}
    expected = onnxruntime_outputs(tmp_path / "model.onnx", feeds)["y"]
    np.testing.assert_array_equal(edgelane_outputs(tmp_path / "model.lane", feeds)["y"], expected)
