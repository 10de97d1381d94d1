"""Import: sizes that follow from shapes, branches, definitions of operators, and values whose size depends on data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper
from onnx_cases import (
    Array,
    assert_same_as_onnxruntime,
    compiled,
    edgelane_outputs,
    graph_model,
    normal,
    onnxruntime_outputs,
    ops,
    relative_error,
)

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile, lane_file
from edgelane.export.compiler.unsupported import UnsupportedNodes
from edgelane.runtime import Session

TOLERANCE = 2e-6
# What torch exports for x.view(x.size(0), -1, x.size(2) * x.size(3)) and for masks that depend on sizes.
SHAPES = """(float[1,4,6,5] x) => (float[a,b,c] y) {
    s = Shape(x)
    n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three)
    hw = Mul(h, w) hws = Unsqueeze(hw, axes) ns = Unsqueeze(n, axes)
    to = Concat<axis = 0>(ns, minus, hws)
    flat = Reshape(x, to)
    count = Cast<to = 7>(hw)
    row = Range(zero, count, one)
    rowf = Cast<to = 1>(row)
    size = Concat<axis = 0>(ones, ones, hws)
    zeros = ConstantOfShape(size)
    shifted = Add(flat, zeros)
    y = Mul(shifted, rowf)
}"""
NUMBERS = {
    "zero": np.array(0),
    "one": np.array(1),
    "two": np.array(2),
    "three": np.array(3),
    "axes": np.array([0]),
    "minus": np.array([-1]),
    "ones": np.array([1]),
}


def test_shape_arithmetic_leaves_nothing(tmp_path: Path) -> None:
    model = graph_model(SHAPES, NUMBERS)
    content = assert_same_as_onnxruntime(model, {"x": normal(1, 4, 6, 5)}, tmp_path, TOLERANCE)
    assert set(ops(content)) <= {"reshape", "binary"}


def test_an_output_without_elements(tmp_path: Path) -> None:
    model = graph_model("(float[2,3] x) => (float[2,n] none, float[2,3] y) { none = Slice(x, s, e, axis) y = Relu(x) }",
                        {"s": np.array([9]), "e": np.array([12]), "axis": np.array([1])})  # fmt: skip
    onnx.save(model, tmp_path / "model.onnx")
    assert compile(tmp_path / "model.onnx", tmp_path / "model.lane").golden == "written"
    outputs = Session(tmp_path / "model.lane", self_test=True).run({"x": normal(2, 3)})
    assert outputs["none"].shape == (2, 0)


def test_dead_nodes_need_not_be_known(tmp_path: Path) -> None:
    model = graph_model("(float[2,2] x) => (float[2,2] y) { d = Det(x) i = Identity(x) y = Relu(i) }")
    assert ops(compiled(model, tmp_path)[1]) == ["unary"]


def branching(condition: str) -> onnx.ModelProto:
    """A model with an If on a size, as torch exports `if x.shape[1] > 3`, whose branches read a value from outside."""
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["outer", "w"], ["r"], name="inner")],
            op,
            [],
            [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(normal(1, 4), "w")],
        )
        for op in ("Add", "Mul")
    ]
    nodes = [
        helper.make_node("Relu", ["x"], ["outer"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "axis"], ["size"]),
        helper.make_node("Greater", ["size", "limit"], ["known"]),
        helper.make_node("If", [condition], ["y"], name="if", then_branch=branches[0], else_branch=branches[1]),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4]),
            helper.make_tensor_value_info("run_time", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [onnx.numpy_helper.from_array(np.array(1), "axis"), onnx.numpy_helper.from_array(np.array(3), "limit")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_the_branch_of_a_known_condition_is_written_out(tmp_path: Path) -> None:
    feeds = {"x": normal(2, 4), "run_time": np.array(True)}
    content = assert_same_as_onnxruntime(branching("known"), feeds, tmp_path, TOLERANCE)
    assert set(ops(content)) == {"unary", "affine"}


def test_a_condition_at_run_time(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"if \(If\): its condition is computed at run time, expected a constant"):
        compiled(branching("run_time"), tmp_path)


def test_an_operator_that_the_standard_defines(tmp_path: Path) -> None:
    body = "(float[2,3,4,5] x) => (float[2,3,4,5] y) { h = Relu(x) y = MeanVarianceNormalization(h) }"
    content = assert_same_as_onnxruntime(graph_model(body), {"x": normal(2, 3, 4, 5)}, tmp_path, 1e-5)
    assert "reduce" in ops(content)


def test_a_reason_inside_a_definition(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedNodes) as caught:
        compiled(graph_model("(float[3] x) => (float[3] y) { y = Bernoulli(x) }"), tmp_path)
    (node,) = caught.value.nodes
    assert (node.name, node.op) == ("bernoulli_0", "Bernoulli")
    assert node.reason == "in its definition, RandomUniformLike: edgelane does not know this operator"


# ---- sizes that depend on data ----

VARYING = """(float[1,6,4] boxes, float[1,2,6] scores) => (float[n,4] y, float[1,2,6] other) {
    probabilities = Sigmoid(scores)
    picked = NonMaxSuppression(boxes, probabilities, most, iou)
    rows = Slice(picked, two, three, one)
    flat = Squeeze(rows, one)
    all = Squeeze(boxes, zero)
    y = Gather(all, flat)
    other = Neg(scores)
}"""
VARYING_CONSTANTS = {
    "most": np.array([3]),
    "iou": np.array([0.5], np.float32),
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
}


def varying(text: str = VARYING) -> onnx.ModelProto:
    return graph_model(text, VARYING_CONSTANTS)


def test_the_error_says_where_to_cut(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedNodes) as caught:
        compiled(varying(), tmp_path)
    (node,) = caught.value.nodes
    assert (node.name, node.op) == ("nonmaxsuppression_1", "NonMaxSuppression")
    assert "other nodes read its result, whose size depends on values that are computed at run time" in node.reason
    cut = caught.value.cut
    assert str(caught.value).endswith(f"--outputs {','.join(cut)}")
    assert cut[0] == "other"
    assert "picked" in cut
    report = compile(tmp_path / "model.onnx", tmp_path / "model.lane", outputs=cut, golden=False)
    assert "non_max_suppression" in [layer.op for layer in report.layers]


@pytest.mark.parametrize(
    ("body", "op", "cut"),
    [
        ("a = NonZero(h) y = Cast<to = 1>(a)", "NonZero", "h"),
        ("a = Compress<axis = 1>(h, mask) y = Relu(a)", "Compress", "mask,h"),
        ("a, b, c, d = Unique(h) y = Relu(a)", "Unique", "h"),
        ("y, i = TopK(h, k)", "TopK", "k,h"),
    ],
)
def test_sizes_that_depend_on_data(body: str, op: str, cut: str, tmp_path: Path) -> None:
    model = graph_model(f"(float[2,3] x, bool[3] mask, int64[1] k) => (float[a,b] y) {{ h = Relu(x) {body} }}")
    with pytest.raises(EdgelaneError) as caught:
        compiled(model, tmp_path)
    assert f"({op}): " in str(caught.value)
    assert "is computed at run time, expected a constant" in str(caught.value)
    assert sorted(str(caught.value).rpartition("--outputs ")[2].split(",")) == sorted(cut.split(","))


# ---- other outputs and sizes ----


def test_outputs_in_the_middle(tmp_path: Path) -> None:
    onnx.save(varying(), tmp_path / "model.onnx")
    compile(tmp_path / "model.onnx", tmp_path / "model.lane", outputs=["probabilities"], golden=False)
    content = lane_file.read(tmp_path / "model.lane")
    inputs = [tensor.name for tensor in content.tensors if tensor.kind == lane_file.INPUT]
    assert inputs == ["scores"]  # nothing that is left reads the boxes
    scores = normal(1, 2, 6)
    (result,) = edgelane_outputs(tmp_path / "model.lane", {"scores": scores}).values()
    assert relative_error(result, (1 / (1 + np.exp(-scores))).astype(np.float32)) < 1e-6


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["nobody"], "the model has no value 'nobody' that could be an output"),
        ([], "expected names of different values as outputs"),
        (["other", "other"], "expected names of different values as outputs"),
    ],
)
def test_outputs_that_are_not_there(outputs: list[str], message: str, tmp_path: Path) -> None:
    onnx.save(varying(), tmp_path / "model.onnx")
    with pytest.raises(EdgelaneError, match=message):
        compile(tmp_path / "model.onnx", tmp_path / "model.lane", outputs=outputs)
    assert not (tmp_path / "model.lane").exists()


def test_another_size_than_the_model_states(tmp_path: Path) -> None:
    body = "(float[1,3,16,16] x) => (float[1,4,16,16] y) { y = Conv<pads = [1,1,1,1]>(x, w) }"
    onnx.save(graph_model(body, {"w": normal(4, 3, 3, 3)}), tmp_path / "model.onnx")
    report = compile(tmp_path / "model.onnx", tmp_path / "model.lane", input_shapes={"x": (2, 3, 10, 12)})
    assert report.golden == "written"
    assert report.layers[0].output_shape == [2, 4, 10, 12]
    with pytest.raises(EdgelaneError, match="do not fit input"):
        compile(tmp_path / "model.onnx", tmp_path / "model.lane", input_shapes={"x": (1, 4, 10, 12)})


# ---- types ----


def same(model: onnx.ModelProto, feeds: dict[str, Array], folder: Path, reference: bool = False) -> None:
    """Compare with ONNX Runtime, or with ONNX's reference where ONNX Runtime lacks a type."""
    compiled(model, folder)
    names = [info.name for info in model.graph.output]
    if reference:
        expected = dict(zip(names, onnx.reference.ReferenceEvaluator(model).run(None, feeds), strict=True))
    else:
        expected = onnxruntime_outputs(folder / "model.onnx", feeds)
    results = edgelane_outputs(folder / "model.lane", feeds)
    for name, value in expected.items():
        assert results[name].dtype == value.dtype
        if value.dtype == np.float32:
            assert relative_error(results[name], value) < TOLERANCE
        else:
            np.testing.assert_array_equal(results[name], value)


def test_a_camera_image_of_uint8(tmp_path: Path) -> None:
    body = """(uint8[1,3,8,8] x) => (float[1,4,8,8] y) {
        f = Cast<to = 1>(x) d = Div(f, s) y = Conv<pads = [1,1,1,1]>(d, w)
    }"""
    model = graph_model(body, {"s": np.float32(255), "w": normal(4, 3, 3, 3)})
    image = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    same(model, {"x": image}, tmp_path)


def test_quantised_uint8_from_input_to_output(tmp_path: Path) -> None:
    body = """(uint8[1,3,8,8] x) => (uint8[1,3,4,4] y, uint8[1,3,8,8] z) {
        d = DequantizeLinear(x, s, p) h = MaxPool<kernel_shape = [2,2], strides = [2,2]>(d)
        y = QuantizeLinear(h, s, p) z = Identity(x)
    }"""
    model = graph_model(body, {"s": np.float32(0.1), "p": np.uint8(100)})
    image = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    same(model, {"x": image}, tmp_path)
    content = lane_file.read(tmp_path / "model.lane")
    assert "max_pool2d" in ops(content)
    assert "dequantize" not in ops(content)


@pytest.mark.parametrize("dtype", ["float", "int8", "uint8", "int32", "int64", "bool"])
def test_every_type_in_and_out(dtype: str, tmp_path: Path) -> None:
    body = f"""({dtype}[2,3] x, bool[2,1] c) => ({dtype}[3,4] y, {dtype}[2,3] k, {dtype}[2,3] w) {{
        t = Transpose(x) y = Concat<axis = 1>(t, t) w = Where(c, x, k)
    }}"""
    values = np.random.Generator(np.random.PCG64(0)).integers(0, 2 if dtype == "bool" else 100, (2, 3))
    numpy = values.astype("float32" if dtype == "float" else dtype)
    model = graph_model(body, {"k": numpy[::-1].copy()})
    same(model, {"x": numpy, "c": np.array([[True], [False]])}, tmp_path, reference=True)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_narrow_integers_wrap_around(dtype: str, tmp_path: Path) -> None:
    body = f"({dtype}[4] x, {dtype}[4] y) => ({dtype}[4] z) {{ s = Add(x, y) z = Mul(s, y) }}"
    x, y = np.array([100, 127, 3, 50], dtype), np.array([100, 1, 90, 7], dtype)
    compiled(graph_model(body), tmp_path)
    (result,) = edgelane_outputs(tmp_path / "model.lane", {"x": x, "y": y}).values()
    np.testing.assert_array_equal(result, ((x + y) * y).astype(dtype))


def test_a_scale_that_varies(tmp_path: Path) -> None:
    body = "(float[4,8] x) => (uint8[4,8] q, float s, uint8 z) { h = Relu(x) q, s, z = DynamicQuantizeLinear(h) }"
    same(graph_model(body), {"x": normal(4, 8)}, tmp_path)


def test_activations_per_channel(tmp_path: Path) -> None:
    body = """(float[2,3,4,5] x) => (float[2,3,4,5] y) {
        q = QuantizeLinear<axis = 1>(x, s, z) y = DequantizeLinear<axis = 1>(q, s, z)
    }"""
    constants = {"s": np.array([0.1, 0.02, 0.3], np.float32), "z": np.array([0, 5, -7], np.int8)}
    same(graph_model(body, constants), {"x": normal(2, 3, 4, 5)}, tmp_path)
