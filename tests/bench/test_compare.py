"""`edgelane bench`: real engines on a small real network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("edgelane._C", reason="the extension is not built")
pytest.importorskip("onnxruntime", reason="a peer")

import edgelane
from edgelane.bench.compare import compare, random_feeds
from edgelane.bench.peers import runner
from edgelane.doctor import write_tiny_network
from edgelane.errors import EdgelaneError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_tiny_network(tmp_path / "tiny.onnx")
    edgelane.compile(tmp_path / "tiny.onnx", tmp_path / "tiny.lane")
    return tmp_path / "tiny.lane"


def test_engines_agree_and_are_timed_on_every_thread_count(model):
    seen: list[tuple[str, float]] = []
    result = compare(
        model, ["onnxruntime"], threads=[1, 2], seconds=0.05, progress=lambda stage, part: seen.append((stage, part))
    )
    assert list(result.results) == [1, 2]
    for count in (1, 2):
        assert [row.name for row in result.results[count].rows] == ["edgelane", "onnxruntime"]
        assert result.results[count].baseline == "onnxruntime"
        assert result.errors[count]["onnxruntime"] < 1e-5
        assert {row["op"] for row in result.layers[count]} >= {"conv2d", "linear"}
    assert result.precision == "float32"
    assert {stage for stage, _ in seen} == {"1 thread", "2 threads"}
    described = result.to_dict()
    assert described["runners"]["onnxruntime"]["settings"]["execution_mode"] == "sequential"


def test_a_network_with_int8_on_both_sides_is_int8(tmp_path):
    from onnx import TensorProto, helper, save_model

    values = [helper.make_tensor_value_info(name, TensorProto.INT8, (1, 4, 6, 6)) for name in ("x", "y")]
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])
    zero = helper.make_tensor("z", TensorProto.INT8, [], [0])
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"]),
        helper.make_node("Relu", ["real"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "int8", values[:1], values[1:], [scale, zero])
    save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "small.onnx"
    )
    edgelane.compile(tmp_path / "small.onnx", tmp_path / "small.lane")
    result = compare(tmp_path / "small.lane", seconds=0.01)
    assert [row["op"] for row in result.layers[1]] == ["import", "unary", "export"]
    assert result.precision == "int8"


def test_openvino_computes_in_float32(model):
    openvino = pytest.importorskip("openvino", reason="a peer")
    feeds = random_feeds(edgelane.Session(model).inputs)
    run = runner("openvino", model.with_suffix(".onnx"), feeds, 1)
    assert run.settings["INFERENCE_PRECISION_HINT"] == "f32"
    compiled = openvino.Core().compile_model(str(model.with_suffix(".onnx")), "CPU", run.settings)
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    wanted = edgelane.Session(model).run(feeds)["scores"]
    np.testing.assert_allclose(run()[0], wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["edgelane", "onnxruntime", "openvino"])
def test_every_call_reads_its_input_anew(model, kind):
    pytest.importorskip(kind, reason="a peer")
    feeds = random_feeds(edgelane.Session(model).inputs)
    path = model if kind == "edgelane" else model.with_suffix(".onnx")
    run = runner(kind, path, feeds, 1)
    before = np.array(run()[0])
    feeds["images"][...] = 0.0
    assert np.abs(np.array(run()[0]) - before).max() > 1e-3


def test_a_benchmark_of_a_wrong_result_is_refused(model, monkeypatch):
    from edgelane.runtime import Session

    honest = Session.run
    monkeypatch.setattr(
        Session, "run", lambda self, feeds: {name: value * 1.01 for name, value in honest(self, feeds).items()}
    )
    with pytest.raises(EdgelaneError, match=r"^onnxruntime and edgelane disagree by"):
        compare(model, ["onnxruntime"], seconds=0.05)


def test_another_file_is_timed_but_not_compared(model, tmp_path):
    other = tmp_path / "other.onnx"
    write_tiny_network(other)
    import onnx
    from onnx import numpy_helper

    changed = onnx.load(other)
    for tensor in changed.graph.initializer:
        if tensor.name == "head.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(4, 9.0, np.float32), "head.bias"))
    onnx.save(changed, other)
    result = compare(model, [f"onnxruntime={other}"], seconds=0.05)
    name = f"onnxruntime {other}"
    assert name not in result.errors[1]
    assert result.results[1].row(name).speedup == 1.0


def test_an_onnx_file_that_changed_since_is_refused(model):
    source = model.with_suffix(".onnx")
    source.write_bytes(source.read_bytes() + b"\x3a\x00")  # one more, empty, graph field: still ONNX, another hash
    with pytest.raises(EdgelaneError, match="was not compiled from"):
        compare(model, ["onnxruntime"], seconds=0.05)


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("tensorflow", "unknown engine 'tensorflow' to compare with; choose from onnxruntime, openvino, torch"),
        ("edgelane", "unknown engine 'edgelane'"),
        ("onnxruntime=absent.onnx", r"absent\.onnx does not exist"),
        ("torch", r"no compressed\.pt or model\.pt beside"),
    ],
)
def test_wrong_engines_are_named(model, against, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgelaneError, match=message):
        compare(model, [against], seconds=0.05)


def test_a_missing_onnx_file_is_named(model):
    model.with_suffix(".onnx").unlink()
    with pytest.raises(EdgelaneError, match=r"needs the ONNX file .*say which with onnxruntime=FILE"):
        compare(model, ["onnxruntime"], seconds=0.05)


@pytest.mark.parametrize(
    ("kind", "threads", "message"),
    [("tflite", 1, "unknown engine 'tflite'"), ("edgelane", 0, "thread count must be at least 1, found 0")],
)
def test_runner_arguments(model, kind, threads, message):
    with pytest.raises(EdgelaneError, match=message):
        runner(kind, model, {}, threads)


def test_an_engine_that_refuses_a_file_says_so_in_one_line(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    for kind in ("onnxruntime", "openvino"):
        pytest.importorskip(kind, reason="a peer")
        with pytest.raises(EdgelaneError, match=rf"^{kind} refuses .*bad\.onnx: ") as caught:
            runner(kind, bad, {}, 1)
        assert "\n" not in str(caught.value)
