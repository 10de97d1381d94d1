"""`compile` as a user calls it: shapes, metadata, golden frame, report, external data, opsets."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_cases import (
    Case,
    Input,
    assert_same_as_onnxruntime,
    compiled,
    edgelane_outputs,
    graph_model,
    normal,
    onnxruntime_outputs,
    ops,
)

from edgelane._version import __version__
from edgelane.export.compiler import compile, lane_file
from edgelane.runtime import Session

BODY = "h = Conv(x, w, c) k = Relu(h) p = GlobalAveragePool(k) f = Flatten(p) y = Gemm<transB = 1>(f, fc, fb)"
WEIGHTS = {"w": normal(16, 3, 3, 3), "c": normal(16), "fc": normal(5, 16), "fb": normal(5)}


def network(shape: str = "n,3,8,8") -> onnx.ModelProto:
    return graph_model(f"(float[{shape}] x) => (float[m,5] y) {{ {BODY} }}", WEIGHTS)


def test_dynamic_batch_is_one(tmp_path: Path) -> None:
    _, content = compiled(network(), tmp_path)
    assert [t.shape for t in content.tensors[:2]] == [(1, 3, 8, 8), (1, 5)]


def test_input_shapes(tmp_path: Path) -> None:
    onnx.save(network("n,3,h,w"), tmp_path / "model.onnx")
    compile(tmp_path / "model.onnx", tmp_path / "model.lane", input_shapes={"x": (2, 3, 6, 7)})
    feeds = {"x": normal(2, 3, 6, 7)}
    expected = onnxruntime_outputs(tmp_path / "model.onnx", feeds)["y"]
    result = edgelane_outputs(tmp_path / "model.lane", feeds)["y"]
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_two_inputs_and_two_outputs_keep_their_order(tmp_path: Path) -> None:
    model = graph_model("(float[1,4] b, float[1,4] a) => (float[1,4] z, float[1,4] y) { y = Sub(b, a) z = Mul(a, b) }")
    feeds = {"a": normal(1, 4), "b": normal(1, 4, seed=1)}
    content = assert_same_as_onnxruntime(model, feeds, tmp_path, 0.0)
    kinds = [(t.name, t.kind) for t in content.tensors[:4]]
    assert kinds == [("b", lane_file.INPUT), ("a", lane_file.INPUT), ("z", lane_file.OUTPUT), ("y", lane_file.OUTPUT)]


def test_metadata(tmp_path: Path) -> None:
    model = network()
    preprocessing = {"height": 8, "width": 8, "mean": [0.5] * 3, "std": [0.25] * 3}
    properties = {
        "edgelane.classes": json.dumps(["stop", "übergang"]),
        "edgelane.preprocessing": json.dumps(preprocessing),
        "edgelane.task": "classification",
        "edgelane.compression": json.dumps({"sparsity": 0.9}),
        "other": "ignored",
    }
    helper.set_model_props(model, properties)
    _, content = compiled(model, tmp_path)
    assert content.metadata == {
        "edgelane_version": __version__,
        "source_sha256": hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest(),
        "classes": ["stop", "übergang"],
        "preprocessing": preprocessing,
        "compression": {"sparsity": 0.9},
        "task": "classification",
    }


def test_golden_frame(tmp_path: Path) -> None:
    report, content = compiled(network(), tmp_path, golden=True)
    assert report.golden == "written"
    (x, frame), (y, expected) = content.golden.items()
    assert (content.tensors[x].name, content.tensors[y].name) == ("x", "y")
    np.testing.assert_array_equal(
        onnxruntime_outputs(tmp_path / "model.onnx", {"x": frame}, as_written=True)["y"], expected
    )
    again, second = compiled(network(), tmp_path, golden=True)
    np.testing.assert_array_equal(second.golden[x], frame)
    assert again.bytes == report.bytes


def test_no_golden_frame_when_not_asked_for(tmp_path: Path) -> None:
    report, content = compiled(network(), tmp_path, golden=False)
    assert (report.golden, content.golden) == ("not written: not asked for", {})


def test_no_golden_frame_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report, content = compiled(network(), tmp_path, golden=True)
    assert report.golden.startswith("not written: onnxruntime is not installed")
    assert content.golden == {}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    compiled(network(), tmp_path, golden=True)
    first = (tmp_path / "model.lane").read_bytes()
    compiled(network(), tmp_path, golden=True)
    assert (tmp_path / "model.lane").read_bytes() == first


def test_report(tmp_path: Path) -> None:
    model = network()
    weights = WEIGHTS["w"].copy()
    weights[4:] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    report, _ = compiled(model, tmp_path)
    assert report.bytes == (tmp_path / "model.lane").stat().st_size
    conv, pool, reshape, linear = report.layers
    assert (conv.op, conv.dtype, conv.format, conv.encoding) == ("conv2d", "float32", "channel", "4x1")
    assert conv.density == pytest.approx(0.25)
    assert conv.dense_macs == 16 * 6 * 6 * 27
    assert conv.macs == conv.dense_macs // 4
    assert conv.bytes == 16 + 4 * 27 * 4 + 16 * 4
    assert (pool.format, pool.macs, pool.bytes) == ("-", 0, 0)
    assert (reshape.op, reshape.macs) == ("reshape", 0)
    assert (linear.format, linear.encoding, linear.macs) == ("dense", "dense", 80)
    assert (conv.input_shape, conv.output_shape) == ([1, 3, 8, 8], [1, 16, 6, 6])
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["macs"] == conv.macs + linear.macs
    assert plain["layers"][0]["block_density"]["4x4"] == pytest.approx(0.25)


def test_external_data(tmp_path: Path) -> None:
    onnx.save(
        network(), tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    report = compile(tmp_path / "model.onnx", tmp_path / "model.lane")
    assert report.golden == "written"
    feeds = {"x": normal(1, 3, 8, 8)}
    expected = onnxruntime_outputs(tmp_path / "model.onnx", feeds)["y"]
    result = edgelane_outputs(tmp_path / "model.lane", feeds)["y"]
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("opset", [*range(9, onnx.defs.onnx_opset_version() + 1)])
def test_every_opset_is_read(opset: int, tmp_path: Path) -> None:
    model = graph_model(f"(float[n,3,8,8] x) => (float[m,5] y) {{ {BODY} }}", WEIGHTS, opset)
    _, content = compiled(model, tmp_path)
    assert ops(content) == ["conv2d", "global_average_pool", "reshape", "linear"]


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 17, "local": 1]>
        agraph (float[1,3] x) => (float[1,3] y) { y = local.twice_relu(x) }
        <domain: "local", opset_import: ["": 17]>
        twice_relu (a) => (c) { b = Relu(a) c = Add(b, b) }
    """)
    content = assert_same_as_onnxruntime(model, {"x": normal(1, 3)}, tmp_path, 0.0)
    assert ops(content) == ["unary", "binary"]


@pytest.mark.parametrize("rank", [1, 2], ids=["positions", "coordinates"])
@pytest.mark.parametrize("form", ["initializer", "Constant"])
def test_sparse_constants_are_read(form: str, rank: int, tmp_path: Path) -> None:
    """Some tools store pruned weights in ONNX's sparse form."""
    weights = normal(8, 5)
    weights[np.abs(weights) < 1] = 0
    places = np.flatnonzero(weights) if rank == 1 else np.argwhere(weights)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(weights[weights != 0], "w"), numpy_helper.from_array(places, "places"), [8, 5]
    )
    model = graph_model("(float[2,8] x) => (float[2,5] y) { y = MatMul(x, w) }")
    if form == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], name="w", sparse_value=sparse))
    onnx.save(model, tmp_path / "model.onnx")
    compile(tmp_path / "model.onnx", tmp_path / "model.lane", golden=False)
    x = normal(2, 8)
    result = edgelane_outputs(tmp_path / "model.lane", {"x": x})["y"]
    np.testing.assert_allclose(result, x @ weights, rtol=0, atol=1e-5)


def test_the_golden_frame_is_that_of_the_model_as_written(tmp_path: Path) -> None:
    """ONNX Runtime's optimiser folds zero padding into a max pool, where it counts as minus infinity."""
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "one": np.float32(10)}
    body = "s = Sub(x, one) p = Pad(s, pads) y = MaxPool<kernel_shape = [3, 3]>(p)"
    model = graph_model(f"(float[1,2,6,6] x) => (float[1,2,6,6] y) {{ {body} }}", constants)
    compiled(model, tmp_path, golden=True)
    assert Session(tmp_path / "model.lane").check_golden() < 1e-6


def test_gelu_of_onnxruntime_in_an_older_opset(tmp_path: Path) -> None:
    model = graph_model("(float[1,8] x) => (float[n,m] y) { y = com.microsoft.Gelu(x) }", microsoft=True)
    content = assert_same_as_onnxruntime(model, {"x": normal(1, 8)}, tmp_path, 1e-6)
    assert ops(content) == ["unary"]


def test_constants_of_half_precision_are_read(tmp_path: Path) -> None:
    """Weights that are stored as float16 and cast up cost nothing at run time."""
    case = Case("Conv", [Input((1, 3, 8, 8)), normal(4, 3, 3, 3)])
    model = case.model()
    half = normal(4, 3, 3, 3).astype(np.float16)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(half, "half"))
    model.graph.node.insert(0, helper.make_node("Cast", ["half"], ["in1"], name="cast", to=1))
    content = assert_same_as_onnxruntime(model, case.feeds(), tmp_path, 2e-6)
    assert ops(content) == ["conv2d"]


def test_names_that_collide(tmp_path: Path) -> None:
    """Names of the file are unique, whatever the model calls its values."""
    model = graph_model("(float[1,3] x) => (float[1,3] y) { h = Relu(x) y = Exp(h) }")
    model.graph.node[0].name = "n"
    model.graph.node[1].output[0] = model.graph.output[0].name = "n.unary"
    content = assert_same_as_onnxruntime(model, {"x": normal(1, 3)}, tmp_path, 1e-6)
    names = [tensor.name for tensor in content.tensors]
    assert len(set(names)) == len(names)
