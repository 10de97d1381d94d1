"""Each rule for TensorRT finds the node that breaks it, and a model as TensorRT wants it breaks none."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx_cases import Array, graph_model, normal, rng

from edgelane.export.lint import RULES, Finding, lint


def two_four(rows: int, channels: int) -> Array:
    weights = rng(5).integers(1, 127, (rows, channels, 3, 3)).astype(np.int8)
    weights[:, 0::4], weights[:, 3::4] = 0, 0
    return weights


def broken_two_four() -> Array:
    weights = two_four(8, 8)
    weights[2, 0, 1, 1] = 5
    return weights


CONSTANTS: dict[str, Array] = {
    "s": np.float32(0.05),
    "s2": np.float32(0.07),
    "negative": np.float32(-0.05),
    "s8": np.full(8, 0.05, np.float32),
    "z": np.int8(0),
    "z8": np.zeros(8, np.int8),
    "z5": np.int8(5),
    "u": np.uint8(0),
    "u128": np.uint8(128),
    "z16": np.int16(0),
    "w": rng(1).integers(-127, 128, (8, 8, 3, 3)).astype(np.int8),
    "w24": two_four(8, 8),
    "broken": broken_two_four(),
    "wf": normal(8, 8, 3, 3),
    "b32": np.arange(8, dtype=np.int32),
    "fc": rng(2).integers(-127, 128, (8, 8)).astype(np.int8),
    "g": normal(8),
    "v": np.abs(normal(8)) + 1,
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "flat": np.array([1, 8], np.int64),
}
PADDED = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
X = "xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)"
W = "wd = DequantizeLinear<axis = 0>(w, s8, z8)"
CONV = f"{X} {W} conv = Conv<{PADDED}>(xd, wd)"


def pair(value: str, name: str, scale: str = "s", zero: str = "z") -> str:
    return f"{name}q = QuantizeLinear({value}, {scale}, {zero}) {name}d = DequantizeLinear({name}q, {scale}, {zero})"


def model(body: str, opset: int = 17, microsoft: bool = False) -> onnx.ModelProto:
    """A model from x [1,8,9,9] to y, whose nodes are called like the first value they write."""
    used = {key: value for key, value in CONSTANTS.items() if re.search(rf"\b{key}\b", body)}
    made = graph_model(f"(float[1,8,9,9] x) => (float[n] y) {{ {body} }}", used, opset, microsoft)
    for node in made.graph.node:
        node.name = node.output[0]
    return made


def found(body: str, opset: int = 17, microsoft: bool = False) -> list[tuple[str, str]]:
    return [(finding.rule, finding.node) for finding in lint(model(body, opset, microsoft))]


CLEAN = {
    "float": "y = Relu(x)",
    "conv": f"{CONV} r = Relu(conv) {pair('r', 'r')} {W.replace('wd', 'vd')} y = Conv<{PADDED}>(rd, vd)",
    "float weights quantised in the graph": f"{X} wq = QuantizeLinear<axis = 0>(wf, s8, z8) "
    f"wd = DequantizeLinear<axis = 0>(wq, s8, z8) y = Conv<{PADDED}>(xd, wd)",
    "residual": f"{CONV} a = Add(conv, xd) r = Relu(a) {pair('r', 'r')} y = Identity(rd)",
    "projection": f"{CONV} {W.replace('wd', 'vd')} side = Conv<{PADDED}>(xd, vd) {pair('side', 'p')} "
    f"a = Add(conv, pd) {pair('a', 'a')} y = Identity(ad)",
    "concat of one scale": f"{CONV} {pair('conv', 'c')} j = Concat<axis = 1>(cd, xd) {pair('j', 'j')} y = Relu(jd)",
    "resize, then the pair": f"{CONV} {pair('conv', 'c')} "
    f'up = Resize<mode = "nearest">(cd, , scales) {pair("up", "u")} '
    f"{W.replace('wd', 'vd')} y = Conv<{PADDED}>(ud, vd)",
    "max pool between pair and layer": f"{X} {W} p = MaxPool<{PADDED}>(xd) y = Conv<{PADDED}>(p, wd)",
    "batch norm behind its convolution": f"{CONV} n = BatchNormalization(conv, g, g, g, v) r = Relu(n) "
    f"{pair('r', 'r')} y = Identity(rd)",
    "gemm": f"{X} p = GlobalAveragePool(xd) {pair('p', 'p')} f = Reshape(pd, flat) "
    "wd = DequantizeLinear<axis = 0>(fc, s8, z8) y = Gemm<transB = 1>(f, wd)",
    "matmul": f"{X} f = Reshape(xd, flat) wd = DequantizeLinear<axis = 1>(fc, s8, z8) y = MatMul(f, wd)",
    "matmul with a transposed weight": f"{X} f = Reshape(xd, flat) wd = DequantizeLinear<axis = 0>(fc, s8, z8) "
    "t = Transpose<perm = [1, 0]>(wd) y = MatMul(f, t)",
}


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_to_find(name: str) -> None:
    assert found(CLEAN[name]) == []


NEXT = f"{W.replace('wd', 'vd')} y = Conv<{PADDED}>"
BROKEN: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "asymmetric": (
        f"{pair('x', 'x', zero='z5')} {W} y = Conv<{PADDED}>(xd, wd)",
        [("zero-point", "xq"), ("zero-point", "xd")],
    ),
    "unsigned": (f"{pair('x', 'x', zero='u')} {W} y = Conv<{PADDED}>(xd, wd)", [("uint8", "xq"), ("uint8", "xd")]),
    "unsigned, symmetric": (
        f"{pair('x', 'x', zero='u128')} {W} y = Conv<{PADDED}>(xd, wd)",
        [("uint8", "xq"), ("zero-point", "xq"), ("uint8", "xd"), ("zero-point", "xd")],
    ),
    "uint8 by default": (
        f"xq = QuantizeLinear(x, s) xd = DequantizeLinear(xq, s) {W} y = Conv<{PADDED}>(xd, wd)",
        [("uint8", "xq"), ("uint8", "xd")],
    ),
    "int16": (f"{pair('x', 'x', zero='z16')} y = Relu(xd)", [("type", "xq"), ("type", "xd")]),
    "negative scale": (f"{pair('x', 'x', scale='negative')} y = Relu(xd)", [("scale", "xq"), ("scale", "xd")]),
    "scale at run time": (
        "m = ReduceMax<keepdims = 0>(x) xq = QuantizeLinear(x, m, z) xd = DequantizeLinear(xq, s, z) y = Relu(xd)",
        [("scale", "xq"), ("pair", "xd")],
    ),
    "two scales in a pair": (
        "xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s2, z) y = Relu(xd)",
        [("pair", "xd")],
    ),
    "relu on int8": (f"xq = QuantizeLinear(x, s, z) r = Relu(xq) rd = DequantizeLinear(r, s, z) {W} y = Conv(rd, wd)",
        [("int8-op", "r")]),
    "pad between Q and DQ": (
        f"xq = QuantizeLinear(x, s, z) p = Pad(xq, pads) pd = DequantizeLinear(p, s, z) {W} y = Conv(pd, wd)",
        [("int8-op", "p")],
    ),
    "bias": (
        f"{X} {W} bd = DequantizeLinear<axis = 0>(b32, s8) y = Conv<{PADDED}>(xd, wd, bd)",
        [("int32-bias", "bd")],
    ),
    "activation per channel": (
        f"xq = QuantizeLinear<axis = 1>(x, s8, z8) xd = DequantizeLinear<axis = 1>(xq, s8, z8) {W} y = Conv(xd, wd)",
        [("per-channel-activation", "xq"), ("per-channel-activation", "xd")],
    ),
    "scales along input channels": (
        f"{X} wd = DequantizeLinear<axis = 1>(w, s8, z8) y = Conv(xd, wd)",
        [("weight-axis", "y")],
    ),
    "gemm scales along input channels": (
        f"{X} f = Reshape(xd, flat) wd = DequantizeLinear<axis = 1>(fc, s8, z8) y = Gemm<transB = 1>(f, wd)",
        [("weight-axis", "y")],
    ),
    "transposed": (
        f"{X} wd = DequantizeLinear<axis = 1>(w, s8, z8) y = ConvTranspose(xd, wd)",
        [("transposed-axis", "y")],
    ),
    "layer on float": (f"{CONV} {NEXT}(conv, vd)", [("input-float", "y")]),
    "activation of a sum on float": (f"{CONV} r = Sigmoid(conv) {NEXT}(r, vd)", [("input-float", "y")]),
    "pad without a pair behind it": (f"{X} p = Pad(xd, pads) {W} y = Conv(p, wd)", [("moved-float", "p")]),
    "resize without a pair behind it": (
        f'{X} up = Resize<mode = "nearest">(xd, , scales) {W} y = Conv(up, wd)',
        [("moved-float", "up")],
    ),
    "float weights": (f"{X} y = Conv(xd, wf)", [("weight-float", "y")]),
    "a float layer": (f"{CONV} y = Conv(conv, wf)", [("float-layer", "y")]),
    "pair before the activation": (
        f"{CONV} {pair('conv', 'c')} r = Relu(cd) {pair('r', 'r')} {NEXT}(rd, vd)",
        [("split-activation", "cq")],
    ),
    "pair before the activation of a sum": (
        f"{CONV} a = Add(conv, xd) {pair('a', 'a')} r = Relu(ad) {pair('r', 'r')} {NEXT}(rd, vd)",
        [("split-activation", "aq")],
    ),
    "pair before batch norm": (
        f"{CONV} {pair('conv', 'c')} n = BatchNormalization(cd, g, g, g, v) {pair('n', 'n')} {NEXT}(nd, vd)",
        [("split-batchnorm", "cq")],
    ),
    "residual without a pair": (f"{CONV} f = Sigmoid(x) a = Add(conv, f) {pair('a', 'a')} {NEXT}(ad, vd)",
        [("residual-float", "a")]),
    "residual of which only the identity is int8": (
        f"{CONV} f = Sigmoid(x) a = Add(f, xd) {pair('a', 'a')} {NEXT}(ad, vd)",
        [("residual-float", "a")],
    ),
    "residual with two pairs": (
        f"{CONV} {pair('conv', 'c')} a = Add(cd, xd) {pair('a', 'a')} {NEXT}(ad, vd)",
        [("residual-split", "cq")],
    ),
    "concat of two scales": (
        f"{CONV} {pair('conv', 'c', scale='s2')} j = Concat<axis = 1>(cd, xd) {pair('j', 'j')} y = Relu(jd)",
        [("concat-scales", "j")],
    ),
    "concat with a float input": (
        f"{CONV} j = Concat<axis = 1>(conv, xd) {pair('j', 'j')} y = Relu(jd)",
        [("concat-float", "j")],
    ),
    "2:4": (f"{X} wd = DequantizeLinear<axis = 0>(w24, s8, z8) y = Conv(xd, wd)", [("sparse-24", "y")]),
    "nearly 2:4": (f"{X} wd = DequantizeLinear<axis = 0>(broken, s8, z8) y = Conv(xd, wd)", [("broken-24", "y")]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_the_node_to_mend(name: str) -> None:
    body, expected = BROKEN[name]
    assert sorted(found(body)) == sorted(expected)


def test_scales_per_channel_need_opset_13() -> None:
    assert found(f"{X} wd = DequantizeLinear(w, s8, z8) y = Conv(xd, wd)", opset=12) == [
        ("opset", "wd"),
        ("weight-axis", "y"),
    ]


def test_qlinear_operators() -> None:
    body = "xq = QuantizeLinear(x, s, z) q = QLinearConv(xq, s, z, w, s8, z8, s, z) y = DequantizeLinear(q, s, z)"
    assert found(body) == [("qlinear", "q")]
    body = "xq = QuantizeLinear(x, s, z) q = com.microsoft.QLinearSigmoid(xq, s, z, s, z) y = DequantizeLinear(q, s, z)"
    assert found(body, microsoft=True) == [("qlinear", "q")]


def test_every_rule_is_tested_and_says_what_to_do() -> None:
    tested = {rule for _, expected in BROKEN.values() for rule, _ in expected} | {"opset", "qlinear"}
    assert tested == set(RULES)
    assert all(rule.severity in ("error", "slow") and rule.wants and rule.fix for rule in RULES.values())


def test_errors_come_first_and_unnamed_nodes_have_names() -> None:
    made = model(f"{X} y = Conv(xd, wf)" + f" {pair('x', 'u', zero='u')}")
    for node in made.graph.node:
        node.name = ""
    findings = lint(made)
    assert [(finding.severity, finding.node) for finding in findings] == [
        ("error", "QuantizeLinear_3"),
        ("error", "DequantizeLinear_4"),
        ("slow", "Conv_2"),
    ]
    assert isinstance(findings[0], Finding)
    assert findings[0].to_dict()["found"] == "uint8 activations"
