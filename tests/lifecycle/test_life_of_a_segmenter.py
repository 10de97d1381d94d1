"""The verbs for a network that finds the road: from rendered scenes to masks over a photo."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("edgelane._C", reason="the extension is not built")

from edgelane.__main__ import main
from edgelane.checkpoint import Checkpoint
from edgelane.cli.train import parse_size
from edgelane.data.scenes import render
from edgelane.errors import EdgelaneError
from edgelane.runtime.segment import Segmenter
from edgelane.training import evaluate


def test_the_verbs_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    size = ["--width", "0.25", "--image-size", "32x64", "--limit", "12"]
    options = ["--task", "segmentation", *size, "--epochs", "1", "--batch-size", "4"]
    assert main(["train", "fpn_resnet18", "--data", "scenes", *options, "-o", str(run)]) == 0
    assert "IoU" in capsys.readouterr().out
    checkpoint = Checkpoint.load(run / "model.pt")
    assert (checkpoint.task, checkpoint.model_options) == ("segmentation", {"width": 0.25})
    assert checkpoint.classes == ("background", "drivable", "lane")
    assert checkpoint.build().backbone.conv1.out_channels == 16
    trained = json.loads((run / "train.json").read_text())
    assert 0 <= trained["metrics"]["test"]["mean_iou"] <= 1
    assert "val_mean_iou" in trained["history"][0]

    assert main(["compress", str(run), "--sparsity", "0.6", "--pattern", "4x4", "--int8", "--epochs", "0"]) == 0
    compressed = json.loads((run / "compress.json").read_text())
    assert compressed["metrics"]["task"] == "segmentation"
    assert compressed["totals"]["macs"] < 0.6 * compressed["before_totals"]["macs"]
    assert main(["export", str(run)]) == 0
    assert main(["compile", str(run / "model.onnx"), "-o", str(run / "model.lane")]) == 0

    network = Segmenter(run / "model.lane")
    data = checkpoint.load_data()
    judged = evaluate(network.logits, data.test, network.classes)
    assert judged.pixel_accuracy == pytest.approx(compressed["metrics"]["pixel_accuracy"], abs=0.02)
    capsys.readouterr()
    assert main(["check", str(run), "--data", "scenes", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert len(metrics) == 3
    assert {entry["task"] for entry in metrics.values()} == {"segmentation"}
    assert metrics[str(run / "model.onnx") + " (ONNX Runtime)"]["mean_iou"] == pytest.approx(judged.mean_iou, abs=0.02)

    Image.fromarray(render(900).image).save(tmp_path / "photo.jpg")
    assert main(["run", str(run / "model.lane"), str(tmp_path / "photo.jpg"), "-o", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "drivable" in text
    assert np.asarray(Image.open(tmp_path / "out" / "photo.jpg.mask.png")).shape == (384, 640)
    (prediction,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert math.isclose(sum(prediction["shares"].values()), 1.0, abs_tol=1e-5)


@pytest.mark.parametrize(("text", "size"), [("96", 96), ("96x160", (96, 160)), ("64X64", (64, 64))])
def test_image_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "7", "96x4", "96x96x3", "-96", "big"])
def test_image_sizes_that_are_none(text):
    with pytest.raises(EdgelaneError, match=r"expected an image size from 8 up such as 96 or 96x160, found"):
        parse_size(text)
