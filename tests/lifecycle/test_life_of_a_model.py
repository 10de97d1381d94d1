"""The life of a model in six verbs. Read it from top to bottom: it is the tutorial, and it runs.

The network is small, the pictures are rendered, and one epoch teaches little; what counts is that each verb takes
what the one before it left.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgelane
from edgelane.__main__ import main
from edgelane.data import load
from edgelane.files import read_json

pytest.importorskip("torch", reason="the life of a model begins with training")

ITEMS = 90
SIZE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all verbs share, as `runs/signs` would be."""
    return tmp_path_factory.mktemp("signs")


def edgelane_command(*words: object) -> None:
    """What typing `edgelane ...` does, with its exit code."""
    assert main([str(word) for word in words]) == 0


def test_1_train(run: Path) -> None:
    edgelane_command(
        "train", "resnet18", "--data", "scenes", "--limit", ITEMS, "--image-size", SIZE, "--epochs", 1, "-o", run
    )
    report = read_json(run / "train.json")
    assert report["data"]["classes"] == ["crosswalk", "speedlimit", "stop", "trafficlight"]
    assert 0.0 <= report["metrics"]["test"]["accuracy"] <= 1.0
    assert (run / "model.pt").is_file()


def test_2_compress(run: Path) -> None:
    edgelane_command("compress", run, "--sparsity", 0.8, "--pattern", "4x4", "--int8", "--epochs", 1)
    report = read_json(run / "compress.json")
    assert report["kind"] == "pruned+int8"
    pruned = [layer for layer in report["layers"] if layer["density"] < 0.5]
    assert len(pruned) == 19, "all convolutions of ResNet-18 but the stem"
    assert all(layer["density"] == pytest.approx(0.2, abs=0.01) for layer in pruned)


def test_3_export(run: Path) -> None:
    edgelane_command("export", run)
    import onnx

    graph = onnx.load(run / "model.onnx").graph
    operators = {node.op_type for node in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert "BatchNormalization" not in operators, "folded into the convolutions"


def test_4_compile(run: Path) -> None:
    edgelane_command("compile", run / "model.onnx", "-o", run / "model.lane")
    dense_bytes = (run / "model.pt").stat().st_size
    assert (run / "model.lane").stat().st_size < dense_bytes / 12

    session = edgelane.Session(run / "model.lane", self_test=True)
    assert session.check_golden() == 0.0, "integer arithmetic gives the same bits again"
    assert session.metadata["classes"] == ["crosswalk", "speedlimit", "stop", "trafficlight"]
    convolutions = [row for row in session.profile(zeros(session)) if row.op == "conv2d"]
    assert [row.format for row in convolutions].count("4x4") >= 15, "the compiler found the blocks in the zeros"


def test_5_run(run: Path, tmp_path: Path) -> None:
    signs = load("scenes", image_size=SIZE, limit=ITEMS).test
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        signs.image(index).save(photos / f"{index}.png")

    edgelane_command("run", run / "model.lane", photos, "-o", tmp_path / "out")

    report = read_json(tmp_path / "out" / "predictions.json")
    assert [Path(row["source"]).name for row in report["predictions"]] == ["0.png", "1.png", "2.png"]
    assert report["latency"]["total_p50_ms"] >= report["latency"]["infer_p50_ms"] > 0.0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == [f"{i}.png.overlay.jpg" for i in range(3)]

    # The same through Python, on the very tensors of the test split.
    session = edgelane.Session(run / "model.lane")
    for index, row in enumerate(report["predictions"]):
        image, _ = signs[index]
        (scores,) = session.run({session.inputs[0].name: image.numpy()[None]}).values()
        assert row["label"] == session.metadata["classes"][int(np.argmax(scores))]


def test_6_bench(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino", reason="a peer of the benchmark")
    edgelane_command("bench", run / "model.lane", "--against", "onnxruntime,openvino", "--seconds", 1)
    assert "speed-up over onnxruntime" in capsys.readouterr().out
    result = json.loads((run / "bench.json").read_text())
    rows = {row["name"]: row for row in result["threads"]["1"]["rows"]}
    assert set(rows) == {"edgelane", "onnxruntime", "openvino"}
    assert all(0 < row["min_ms"] <= row["p50_ms"] <= row["p99_ms"] for row in rows.values())
    assert "<svg" in (run / "report.html").read_text()


def test_beside_them_check(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether torch, ONNX Runtime and every kernel set here agree about what the verbs have made."""
    capsys.readouterr()
    edgelane_command("check", run, "--isa", "all", "--data", "scenes", "--json")
    result = json.loads(capsys.readouterr().out)
    compared = [comparison["other"] for comparison in result["comparisons"]]
    assert compared[0] == str(run / "compressed.pt")
    assert len(compared) == 1 + len(edgelane._C.available_isas())
    counts = {metrics["count"] for metrics in result["metrics"].values()}
    assert counts == {len(load("scenes", image_size=SIZE, limit=ITEMS).test)}, "the run's own held-out split"
    pruned = [row for row in result["layers"] if row["pattern"] == "4x4"]
    assert sum(row["dense_us"] for row in pruned) > sum(row["sparse_us"] for row in pruned), "the zeros pay"


def zeros(session: edgelane.Session) -> dict[str, np.ndarray]:
    """An input of the right shape."""
    return {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.inputs}
