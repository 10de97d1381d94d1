"""The demo from end to end on a small folder of rendered signs, with one epoch: that every step fits the next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the demo trains")
pytest.importorskip("openvino", reason="a peer of the demo")
pytest.importorskip("matplotlib", reason="the demo writes a report")

from PIL import Image, ImageDraw

from edgelane.bench.peers import runner
from edgelane.demo import DemoSettings, run_demo
from edgelane.demo.chain import choose_data
from edgelane.demo.judge import BASELINE
from edgelane.demo.table import COLUMNS

ROWS = [
    "edgelane dense fp32",
    "edgelane pruned fp32",
    "edgelane pruned+int8",
    "ONNX Runtime dense fp32",
    "ONNX Runtime pruned+int8",
    "OpenVINO dense fp32",
    "OpenVINO pruned+int8",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red discs and blue squares on noise, as class folders."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label in ("disc", "square"):
        (folder / label).mkdir()
        for index in range(30):
            image = Image.fromarray(generator.integers(90, 160, (48, 48, 3), dtype=np.uint8))
            draw = ImageDraw.Draw(image)
            draw.ellipse((8, 8, 40, 40), fill=(200, 20, 20)) if label == "disc" else draw.rectangle(
                (8, 8, 40, 40), fill=(20, 20, 200)
            )
            image.save(folder / label / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def settings(pictures: Path) -> DemoSettings:
    return DemoSettings(
        data=str(pictures),
        image_size=32,
        epochs=1,
        prune_epochs=1,
        sparsity=0.8,
        max_drop=100.0,
        threads=(1,),
        seconds=0.5,
        photos=4,
    )


@pytest.fixture(scope="module")
def demo(settings: DemoSettings, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("demo") / "runs"
    said: list[str] = []
    return run_demo(folder, settings=settings, say=said.append), folder, said


def test_the_first_line_is_about_the_data(demo, pictures):
    _, _, said = demo
    assert said[0] == f"Data: {pictures}."


def test_the_table_has_a_row_for_each_engine_and_network(demo):
    result, _, _ = demo
    assert result.columns == COLUMNS
    assert [row[0] for row in result.rows] == ROWS
    assert all(len(row) == len(COLUMNS) for row in result.rows)


def test_the_numbers_hang_together(demo):
    result, folder, _ = demo
    values = json.loads((folder / "demo.json").read_text())
    assert values == json.loads(json.dumps(result.to_dict()))
    rows = {row["model"]: row for row in values["rows"]}
    assert rows[BASELINE]["speedup"] == 1.0
    for row in rows.values():
        assert 0.0 <= row["accuracy"] <= 1.0
        assert row["speedup"] == pytest.approx(rows[BASELINE]["p50_ms"] / row["p50_ms"])
    dense, pruned, small = (rows[f"edgelane {name}"] for name in ("dense fp32", "pruned fp32", "pruned+int8"))
    assert small["macs"] <= pruned["macs"] * 1.01 < 0.45 * dense["macs"]
    assert small["bytes"] < pruned["bytes"] < dense["bytes"]
    assert rows["OpenVINO pruned+int8"]["macs"] == dense["macs"], "peers multiply the zeros"
    # The same network, computed by others: the same answers.
    assert dense["accuracy"] == rows["ONNX Runtime dense fp32"]["accuracy"] == rows["OpenVINO dense fp32"]["accuracy"]
    assert small["accuracy"] == pytest.approx(rows["OpenVINO pruned+int8"]["accuracy"], abs=0.1)
    assert values["commands"][0].startswith("edgelane train resnet18 --data ")


def test_onnxruntime_is_timed_on_the_form_that_it_runs_best(demo):
    _, folder, _ = demo
    feeds = {"images": np.zeros((1, 3, 32, 32), np.float32)}
    timed = runner("onnxruntime", folder / "int8" / "model.onnx", feeds)
    assert timed.settings["quantisers_made_unsigned"] == 17 + 1 + 2  # ReLUs, max pool, average pool and behind


def test_the_page_shows_tables_plots_and_photos(demo):
    _, folder, _ = demo
    page = (folder / "report.html").read_text()
    assert all(name in page for name in ROWS)
    assert page.count("<svg") == 4 + 2, "one distribution, three networks' layers; classes and layers of compression"
    assert "The gate: at most 100 points." in page
    assert "Where the zeros are" in page
    assert page.count("data:image/jpeg") == 4
    predictions = json.loads((folder / "photos" / "predictions" / "predictions.json").read_text())
    assert len(predictions["predictions"]) == 4


def test_a_second_call_does_no_work_twice(demo, settings):
    result, folder, _ = demo
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".pt", ".onnx", ".lane")}
    said: list[str] = []
    again = run_demo(folder, settings=settings, say=said.append)
    assert again.rows == result.rows
    assert all("done before" in line for line in said[1:])
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_real_photos_are_preferred_and_their_absence_is_said(tmp_path, monkeypatch):
    from edgelane.data import catalog

    monkeypatch.setattr(catalog, "data_folders", lambda: [tmp_path])
    source, line = choose_data(None)
    assert source == "scenes"
    assert line.startswith("Data: rendered scenes, because no road_signs folder")
    (tmp_path / "road_signs").mkdir()
    source, line = choose_data(None)
    assert source == "road_signs"
    assert line.startswith("Data: real road-sign photos")
