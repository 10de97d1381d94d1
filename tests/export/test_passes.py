"""Fusion: which steps are left of an exported graph, and that the values stay the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from onnx_cases import (
    Array,
    assert_same_as_onnxruntime,
    every_value,
    graph_model,
    normal,
    ops,
    positive,
    relative_error,
)

from edgelane.export.compiler import lane_file
from edgelane.export.compiler.emit import SLOPE_INPUT

TOLERANCE = 3e-6  # folded weights are rounded once more than ONNX Runtime's
SHAPE = (1, 8, 9, 9)
ACTIVATIONS = {number: name for name, number in lane_file.ACTIVATIONS.items()}
WEIGHTS = {
    "w": normal(8, 8, 3, 3),
    "c": normal(8),
    "one": normal(8, 8, 1, 1),
    "wt": normal(8, 4, 2, 2),
    "wt2": normal(8, 8, 2, 2),
}
BATCH_NORM = {"g": normal(8, seed=2), "b": normal(8, seed=3), "m": normal(8, seed=4), "v": positive(8, seed=5)}
WIDE_NORM = {f"wide_{name}": (positive if name == "v" else normal)(16, seed=2) for name in BATCH_NORM}
SLOPES = {"slope8": normal(8, 1, 1, seed=6), "slope16": normal(16, 1, 1, seed=7), "slope5": normal(5, seed=8)}
LINEAR = {"flat_weight": normal(648, 5), "fc": normal(8, 5), "fb": normal(5), "t": normal(5, 8)}
SCALARS = {
    "zero": 0.0,
    "one_": 1.0,
    "three": 3.0,
    "six": 6.0,
    "half": 0.5,
    "sixth": 1 / 6,
    "root": 2**0.5,
    "minus": -1.0,
}
INTS = {
    "shuffled": [1, 2, 4, 9, 9],
    "image": [1, 8, 9, 9],
    "flat": [1, 648],
    "pads": [0, 0, 1, 1, 0, 0, 1, 1],
    "channel_pads": [0, 1, 1, 1, 0, 0, 1, 1],
}
CONSTANTS: dict[str, Array] = {
    **WEIGHTS,
    **BATCH_NORM,
    **WIDE_NORM,
    **SLOPES,
    **LINEAR,
    **{name: np.array(value, np.float32) for name, value in SCALARS.items()},
    **{name: np.array(value, np.int64) for name, value in INTS.items()},
}
PADDED = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
CASES = {
    "conv bn relu": (
        f"h = Conv<{PADDED}>(x, w, c) k = BatchNormalization(h, g, b, m, v) y = Relu(k)",
        ["conv2d+relu"],
    ),
    "conv without bias, bn": ("h = Conv(x, w) y = BatchNormalization(h, g, b, m, v)", ["conv2d"]),
    "transposed conv bn": (
        "h = ConvTranspose<group = 2>(x, wt) y = BatchNormalization(h, g, b, m, v)",
        ["conv_transpose2d"],
    ),
    "bn relu conv": ("h = BatchNormalization(x, g, b, m, v) k = Relu(h) y = Conv(k, w)", ["affine+relu", "conv2d"]),
    "two bns": (
        "h = BatchNormalization(x, g, b, m, v) y = BatchNormalization(h, g, b, m, v)",
        ["affine"],
    ),
    "conv scale shift": ("h = Conv(x, w, c) k = Mul(h, half) y = Add(three, k)", ["conv2d"]),
    "conv whose output is read twice": (
        f"h = Conv<{PADDED}>(x, w) k = BatchNormalization(h, g, b, m, v) y = Mul(h, k)",
        ["conv2d", "affine", "binary"],
    ),
    "conv clip": ("h = Conv(x, w) y = Clip(h, zero, six)", ["conv2d+clip"]),
    "relu as max": ("h = Conv(x, w) y = Max(h, zero)", ["conv2d+relu"]),
    "relu6 as max and min": ("h = Max(x, zero) y = Min(h, six)", ["unary+clip"]),
    "relu then clip": ("h = Relu(x) y = Clip(h, zero, six)", ["unary+clip"]),
    "clip then relu": ("h = Clip(x, minus, six) y = Relu(h)", ["unary+clip"]),
    "residual": (f"h = Conv<{PADDED}>(x, w, c) k = Add(h, x) y = Relu(k)", ["conv2d+relu"]),
    "residual swapped": (f"h = Conv<{PADDED}>(x, w) y = Add(x, h)", ["conv2d"]),
    "residual after an activation": (
        f"h = Conv<{PADDED}>(x, w) k = Relu(h) y = Add(k, x)",
        ["conv2d+relu", "binary"],
    ),
    "projection": (
        f"s = Conv(x, one) h = Conv<{PADDED}>(x, w) k = Relu(h) l = Conv<{PADDED}>(k, w) m2 = Add(l, s) y = Relu(m2)",
        ["conv2d", "conv2d+relu", "conv2d+relu"],
    ),
    "sum with itself": (f"h = Conv<{PADDED}>(x, w) y = Add(h, h)", ["conv2d", "binary"]),
    "broadcast is no residual": (
        f"p = GlobalAveragePool(x) h = Conv<{PADDED}>(x, w) y = Add(h, p)",
        ["global_average_pool", "conv2d", "binary"],
    ),
    "conv bn prelu": (
        f"h = Conv<{PADDED}>(x, w, c) k = BatchNormalization(h, g, b, m, v) y = PRelu(k, slope8)",
        ["conv2d+slopes"],
    ),
    "transposed conv prelu": ("h = ConvTranspose(x, wt2) y = PRelu(h, slope8)", ["conv_transpose2d+slopes"]),
    "bn prelu": ("h = BatchNormalization(x, g, b, m, v) y = PRelu(h, slope8)", ["affine+slopes"]),
    "prelu alone": ("h = MaxPool<kernel_shape = [2, 2]>(x) y = PRelu(h, slope8)", ["max_pool2d", "prelu+slopes"]),
    "prelu of a sum": ("h = Add(x, three) k = Mul(x, h) y = PRelu(k, slope8)", ["affine", "binary", "prelu+slopes"]),
    "prelu behind a residual": (
        f"h = Conv<{PADDED}>(x, w, c) k = Add(h, x) y = PRelu(k, slope8)",
        ["conv2d+slopes"],
    ),
    "prelu then relu": ("h = Conv(x, w) k = PRelu(h, slope8) y = Relu(k)", ["conv2d+slopes", "unary+relu"]),
    "residual after a prelu": (
        f"h = Conv<{PADDED}>(x, w) k = PRelu(h, slope8) y = Add(k, x)",
        ["conv2d+slopes", "binary"],
    ),
    "prelu behind a linear layer": (
        "f = Flatten(x) h = MatMul(f, flat_weight) y = PRelu(h, slope5)",
        ["reshape", "linear", "prelu+slopes"],
    ),
    "concat bn prelu": (
        f"""h = Conv<{PADDED}>(x, w, c) p = MaxPool<{PADDED}>(x) q = Concat<axis = 1>(h, p)
        k = BatchNormalization(q, wide_g, wide_b, wide_m, wide_v) y = PRelu(k, slope16)""",
        ["max_pool2d", "conv2d+slopes", "affine+slopes", "concat"],
    ),
    "concat bn of a branch that is read twice": (
        f"""h = Conv<{PADDED}>(x, w, c) q = Concat<axis = 1>(h, x)
        k = BatchNormalization(q, wide_g, wide_b, wide_m, wide_v) y = Concat<axis = 1>(k, h)""",
        ["conv2d", "concat", "affine", "concat"],
    ),
    "hard sigmoid": ("h = Add(x, three) k = Clip(h, zero, six) y = Div(k, six)", ["unary+hard_sigmoid"]),
    "hard sigmoid in one": ("h = Mul(x, sixth) k = Add(h, half) y = Clip(k, zero, one_)", ["unary+hard_sigmoid"]),
    "hard swish": (
        "h = Add(x, three) k = Clip(h, zero, six) l = Mul(x, k) y = Div(l, six)",
        ["unary+hard_swish"],
    ),
    "hard swish in the middle": (
        f"h = Add(x, three) k = Clip(h, zero, six) l = Mul(x, k) n = Div(l, six) y = Conv<{PADDED}>(n, w)",
        ["unary+hard_swish", "conv2d"],
    ),
    "hard swish, gate first": (
        "h = Add(x, three) k = Clip(h, zero, six) l = Div(k, six) y = Mul(l, x)",
        ["unary+hard_swish"],
    ),
    "hard swish, input first": (
        "h = Add(x, three) k = Clip(h, zero, six) l = Mul(x, sixth) y = Mul(l, k)",
        ["unary+hard_swish"],
    ),
    "hard swish by hard sigmoid": (
        "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)",
        ["unary+hard_swish"],
    ),
    "another gate": ("h = HardSigmoid<alpha = 0.2, beta = 0.5>(x) y = Mul(x, h)", ["unary+hard_sigmoid", "binary"]),
    "conv silu": ("c2 = Conv(x, w) h = Sigmoid(c2) y = Mul(c2, h)", ["conv2d+silu"]),
    "gate of another value": (
        "p = GlobalAveragePool(x) h = Sigmoid(p) y = Mul(x, h)",
        ["global_average_pool", "unary+sigmoid", "binary"],
    ),
    "gelu, half last": (
        "h = Div(x, root) k = Erf(h) l = Add(k, one_) n = Mul(x, l) y = Mul(n, half)",
        ["unary+gelu"],
    ),
    "gelu in the middle": (
        f"""h = Div(x, root) k = Erf(h) l = Add(k, one_) n = Mul(x, l) o = Mul(n, half)
        y = Conv<{PADDED}>(o, w)""",
        ["unary+gelu", "conv2d"],
    ),
    "gelu, half first": (
        "h = Div(x, root) k = Erf(h) l = Add(k, one_) n = Mul(x, half) y = Mul(n, l)",
        ["unary+gelu"],
    ),
    "gelu, half inside": (
        "h = Div(x, root) k = Erf(h) l = Add(k, one_) n = Mul(half, l) y = Mul(x, n)",
        ["unary+gelu"],
    ),
    "mish": ("h = Softplus(x) k = Tanh(h) y = Mul(x, k)", ["unary+mish"]),
    "channel shuffle": (
        "h = Reshape(x, shuffled) k = Transpose<perm = [0, 2, 1, 3, 4]>(h) y = Reshape(k, image)",
        ["channel_shuffle"],
    ),
    "transposes that cancel": (
        "h = Transpose<perm = [0, 2, 3, 1]>(x) k = Relu(h) l = Transpose<perm = [0, 2, 3, 1]>(x) "
        "n = Transpose<perm = [0, 3, 1, 2]>(l) o = Transpose<perm = [0, 3, 1, 2]>(k) y = Add(n, o)",
        ["transpose", "unary+relu", "transpose", "binary"],
    ),
    "reshapes in a row": ("h = Flatten(x) k = Reshape(h, shuffled) y = Reshape(k, flat)", ["reshape"]),
    "nothing at all": (
        "h = Identity(x) k = Dropout(h) l = Flatten(k) n = Reshape(l, image) y = Relu(n)",
        ["unary+relu"],
    ),
    "pad and conv": ("h = Pad(x, pads) y = Conv(h, w)", ["conv2d"]),
    "pad and padded conv": (f"h = Pad(x, pads) y = Conv<{PADDED}>(h, w)", ["conv2d"]),
    "pad and average pool": ("h = Pad(x, pads) y = AveragePool<kernel_shape = [3, 3]>(h)", ["average_pool2d"]),
    "pad with ones and conv": ("h = Pad(x, pads, one_) y = Conv(h, w)", ["pad", "conv2d"]),
    "dead code": ("h = Exp(x) k = Neg(h) y = Relu(x)", ["unary+relu"]),
    "dead code that could not be compiled": (
        "h = Conv(x, w) k = NonZero(h) p, q = Split<axis = 1>(x) y = Relu(x)",
        ["unary+relu"],
    ),
    "mean, flatten, linear": (
        "h = ReduceMean<axes = [2, 3], keepdims = 0>(x) k = MatMul(h, fc) l = Add(k, fb) y = Relu(l)",
        ["global_average_pool", "reshape", "linear+relu"],
    ),
    "linear bn": (
        "h = GlobalAveragePool(x) k = Flatten(h) l = Gemm(k, g2) y = BatchNormalization(l, g, b, m, v)",
        ["global_average_pool", "reshape", "linear"],
    ),
    "linear rank 3, bias": (
        "h = Reshape(x, rows) k = MatMul(h, fc) y = Add(fb, k)",
        ["reshape", "linear"],
    ),
}
CASES["linear and a bias of higher rank"] = (
    "h = Reshape(x, matrix) k = MatMul(h, fc) y = Add(k, deep)",
    ["reshape", "linear", "binary"],
)
CONSTANTS["deep"] = normal(1, 1, 5)
CONSTANTS["matrix"] = np.array([81, 8], np.int64)
CONSTANTS["g2"] = normal(8, 8)
CONSTANTS["rows"] = np.array([1, 81, 8], np.int64)
RANK = {
    "channel shuffle": 4,
    "reshapes in a row": 2,
    "mean, flatten, linear": 2,
    "linear bn": 2,
    "linear rank 3, bias": 3,
    "linear and a bias of higher rank": 3,
}


def end(step: lane_file.StepRecord) -> str:
    """Name what a step ends in."""
    sloped = len(step.inputs) > SLOPE_INPUT.get(step.op, len(step.inputs))
    return "slopes" if sloped else ACTIVATIONS[int(step.attributes.get("activation", [0])[0])]


@pytest.mark.parametrize("name", CASES)
def test_fusion(name: str, tmp_path: Path) -> None:
    body, expected = CASES[name]
    words = set(re.findall(r"\w+", body))
    used = {key: value for key, value in CONSTANTS.items() if key in words}
    dims = ",".join(["n"] * RANK.get(name, 4))
    model = graph_model(f"(float[1,8,9,9] x) => (float[{dims}] y) {{ {body} }}", used)
    content = assert_same_as_onnxruntime(model, {"x": normal(*SHAPE, seed=9) * 3}, tmp_path, TOLERANCE)
    for value, (result, wanted) in every_value(tmp_path / "model.onnx", {"x": normal(*SHAPE, seed=9) * 3}).items():
        assert relative_error(result, wanted) <= TOLERANCE, value
    found = [end(step) for step in content.steps]
    assert [op if kind == "none" else f"{op}+{kind}" for op, kind in zip(ops(content), found, strict=True)] == expected


def test_fused_pads_and_residual_stand_in_the_file(tmp_path: Path) -> None:
    model = graph_model(
        "(float[1,8,9,9] x) => (float[1,8,9,9] y) { p = Pad(x, pads) h = Conv(p, w) y = Add(x, h) }",
        {"pads": CONSTANTS["pads"], "w": CONSTANTS["w"]},
    )
    content = assert_same_as_onnxruntime(model, {"x": normal(*SHAPE)}, tmp_path, TOLERANCE)
    (step,) = content.steps
    assert step.attributes["pads"] == [1, 1, 1, 1]
    assert step.inputs[0] == step.inputs[3]
    assert step.inputs[2] is None


def test_weights_shared_by_two_layers(tmp_path: Path) -> None:
    """Folding BatchNorm into one of them leaves the other alone."""
    body = f"h = Conv<{PADDED}>(x, w) k = BatchNormalization(h, g, b, m, v) y = Conv<{PADDED}>(k, w)"
    constants = {**BATCH_NORM, "w": CONSTANTS["w"]}
    model = graph_model(f"(float[1,8,9,9] x) => (float[1,8,9,9] y) {{ {body} }}", constants)
    content = assert_same_as_onnxruntime(model, {"x": normal(*SHAPE)}, tmp_path, TOLERANCE)
    assert ops(content) == ["conv2d", "conv2d"]


@pytest.mark.parametrize(
    ("body", "outputs", "expected"),
    [
        ("y = Identity(x) z = Relu(x)", "y, float[1,8,9,9] z", ["reshape", "unary"]),
        ("y = Relu(x) z = Identity(y)", "y, float[1,8,9,9] z", ["unary", "reshape"]),
        ("h = Relu(x) y = Neg(h) z = Identity(h)", "y, float[1,8,9,9] z", ["unary", "unary"]),
    ],
    ids=["input", "two names", "inner value"],
)
def test_outputs_that_are_also_something_else(body: str, outputs: str, expected: list[str], tmp_path: Path) -> None:
    model = graph_model(f"(float[1,8,9,9] x) => (float[1,8,9,9] {outputs}) {{ {body} }}")
    content = assert_same_as_onnxruntime(model, {"x": normal(*SHAPE)}, tmp_path, 0.0)
    assert sorted(ops(content)) == sorted(expected)
    assert [t.name for t in content.tensors if t.kind == lane_file.OUTPUT] == ["y", "z"]


def test_shape_arithmetic_is_folded(tmp_path: Path) -> None:
    """What tracing exporters leave of x.view(x.size(0), -1), interpolate(scale_factor=2) and friends."""
    body = """
        s = Shape(x) zero = Constant<value = int64 {0}>() n = Gather(s, zero)
        axes = Constant<value = int64[1] {0}>() n1 = Unsqueeze(n, axes)
        rest = Constant<value = int64[1] {-1}>() target = Concat<axis = 0>(n1, rest)
        two = Constant<value = int64[1] {2}>() four = Constant<value = int64[1] {4}>() hw = Slice(s, two, four)
        factor = Constant<value = int64[2] {2, 2}>() big = Mul(hw, factor) front = Slice(s, axes, two)
        sizes = Concat<axis = 0>(front, big) r = Resize<mode = "linear">(x, , , sizes)
        y = Reshape(r, target)
    """
    model = graph_model(f"(float[1,8,9,9] x) => (float[a,b] y) {{ {body} }}")
    content = assert_same_as_onnxruntime(model, {"x": normal(*SHAPE)}, tmp_path, TOLERANCE)
    assert ops(content) == ["resize", "reshape"]


@pytest.mark.parametrize("op", ["Mul(x, e)", "Where(c, e, x)"])
def test_copies_along_an_axis_are_left_to_broadcasting(op: str, tmp_path: Path) -> None:
    body = f"(float[2,3,4] x, float[2,1,4] z, bool[3,1] c) => (float[2,3,4] y) {{ e = Expand(z, s) y = {op} }}"
    model = graph_model(body, {"s": np.array([2, 3, 4])})
    feeds = {"x": normal(2, 3, 4), "z": normal(2, 1, 4, seed=1), "c": np.array([[True], [False], [True]])}
    if "Where" not in op:
        del model.graph.input[2], feeds["c"]
    content = assert_same_as_onnxruntime(model, feeds, tmp_path, 0)
    assert len(ops(content)) == 1


def test_copies_that_make_the_result_larger_stay(tmp_path: Path) -> None:
    body = "(float[2,1,4] x, float[2,1,4] z) => (float[2,3,4] y) { e = Expand(z, s) y = Mul(x, e) }"
    model = graph_model(body, {"s": np.array([2, 3, 4])})
    feeds = {"x": normal(2, 1, 4), "z": normal(2, 1, 4, seed=1)}
    assert ops(assert_same_as_onnxruntime(model, feeds, tmp_path, 0)) == ["pad", "binary"]


def test_integers_keep_their_own_activation(tmp_path: Path) -> None:
    body = "(int64[4] x) => (int64[4] y, bool[4] n) { a = Add(x, x) y = Abs(a) l = Less(x, a) n = Not(l) }"
    feeds = {"x": np.array([-2, 0, 3, 9])}
    content = assert_same_as_onnxruntime(graph_model(body), feeds, tmp_path, 0)
    assert ops(content) == ["binary", "unary", "binary", "unary"]


def test_what_tells_floats_apart_is_no_activation(tmp_path: Path) -> None:
    body = "(float[4] x) => (bool[4] y) { a = Log(x) b = Add(a, x) y = IsNaN(b) }"
    content = assert_same_as_onnxruntime(graph_model(body), {"x": normal(4)}, tmp_path, 0)
    assert ops(content) == ["unary", "binary", "unary"]


def test_a_shuffle_of_integers_stays_a_transpose(tmp_path: Path) -> None:
    body = """(int64[1,6,2,2] x) => (int64[1,6,2,2] y) {
        a = Reshape(x, s) b = Transpose<perm = [0,2,1,3,4]>(a) y = Reshape(b, t)
    }"""
    constants = {"s": np.array([1, 2, 3, 2, 2]), "t": np.array([1, 6, 2, 2])}
    feeds = {"x": np.arange(24).reshape(1, 6, 2, 2)}
    content = assert_same_as_onnxruntime(graph_model(body, constants), feeds, tmp_path, 0)
    assert "channel_shuffle" not in ops(content)
