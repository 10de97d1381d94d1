"""The verb `train`, on a folder of pictures and with the files it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgelane.__main__ import main
from edgelane.checkpoint import Checkpoint
from edgelane.data import load
from edgelane.errors import EdgelaneError
from edgelane.training import TrainingConfig, evaluate, predictor, train
from edgelane.training.loop import Interrupted

CONFIG = {"epochs": 2, "batch_size": 8, "precision": "32", "workers": 0, "warmup_epochs": 0.0}
MODEL = "squeezenet1_1"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Class folders of dark and of bright pictures, and one file that is no picture."""
    generator = np.random.default_rng(0)
    for name, brightness in (("bright", 190), ("dark", 60)):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = generator.integers(brightness - 50, brightness + 50, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    (tmp_path / "pictures" / "dark" / "broken.png").write_bytes(b"not a picture")
    return tmp_path / "pictures"


def test_a_run_writes_a_model_that_gives_the_reported_metrics(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = train(MODEL, "pictures", Path("run"), config=TrainingConfig(**CONFIG), image_size=32)
    assert json.loads(Path("run/train.json").read_text()) == report
    assert report["data"]["source"] == str(pictures)
    assert (
        report["data"]["counts"] == {"train": 28, "val": 4, "test": 8} or sum(report["data"]["counts"].values()) == 40
    )
    assert sum(report["data"]["skipped"].values()) == 1
    assert report["config"]["epochs"] == len(report["history"]) == 2
    assert report["environment"]["threads"] >= 1
    assert report["duration_s"] > 0
    assert set(report["metrics"]) == {"val", "test"}
    assert set(report["metrics"]["test"]["per_class"]) == {"bright", "dark"}

    monkeypatch.chdir("/")
    saved = Checkpoint.load(tmp_path / "run" / "model.pt")
    data = saved.load_data()
    assert saved.classes == data.classes == ("bright", "dark")
    assert evaluate(predictor(saved.build()), data.test, data.classes).to_dict() == report["metrics"]["test"]
    assert saved.metrics == report["metrics"]


def test_a_run_is_never_overwritten_but_can_be_resumed(pictures, tmp_path):
    train(MODEL, str(pictures), tmp_path / "run", config=TrainingConfig(**CONFIG), image_size=32)
    with pytest.raises(EdgelaneError, match=r"model.pt exists already: continue that run with --resume, or .* -o"):
        train(MODEL, str(pictures), tmp_path / "run", config=TrainingConfig(**CONFIG), image_size=32)
    config = TrainingConfig(**{**CONFIG, "epochs": 3}, resume=True)
    report = train(MODEL, str(pictures), tmp_path / "run", config=config, image_size=32)
    assert [row["epoch"] for row in report["history"]] == [0, 1, 2]
    with pytest.raises(EdgelaneError, match=r"preprocessing was .* and is now"):
        train(MODEL, str(pictures), tmp_path / "run", config=config, image_size=48)


def test_mistakes_are_named_before_anything_is_trained_or_written(pictures, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(EdgelaneError, match="did you mean"):
        train("squeezenet11", str(pictures), out, image_size=32)
    with pytest.raises(EdgelaneError, match=r"alexnet cannot take pictures of 24x32: .*; choose another image size"):
        train("alexnet", str(pictures), out, image_size=(24, 32))
    with pytest.raises(EdgelaneError, match="nothing to resume"):
        train(MODEL, str(pictures), out, config=TrainingConfig(**CONFIG, resume=True), image_size=32)
    with pytest.raises(EdgelaneError, match="does not exist"):
        train(MODEL, str(tmp_path / "nowhere"), out, image_size=32)
    assert not out.exists()


@pytest.mark.parametrize("place", ["file", "file/run", "/proc/run"])
def test_a_place_that_cannot_be_written_is_named_before_training(place, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgelaneError, match=rf"^cannot write into .*{place}: "):
        train(MODEL, str(pictures), tmp_path / place, config=TrainingConfig(**CONFIG), image_size=32)


@pytest.mark.parametrize("saved", [True, False])
def test_ctrl_c_says_how_to_go_on(saved, pictures, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        if saved:
            (tmp_path / "run" / "checkpoints").mkdir()
            (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"")
        raise Interrupted("stopped after 1 of 2 epochs")

    monkeypatch.setattr("edgelane.training.run.fit_with_history", interrupted)
    advice = "continue with --resume" if saved else "nothing was saved yet"
    with pytest.raises(EdgelaneError, match=f"^stopped after 1 of 2 epochs; {advice}$"):
        train(MODEL, str(pictures), tmp_path / "run", config=TrainingConfig(**CONFIG), image_size=32)


def test_the_command_says_what_was_skipped(pictures, tmp_path, capsys):
    options = ["--epochs", "1", "--image-size", "32", "--batch-size", "8", "--precision", "32"]
    assert main(["train", MODEL, "--data", str(pictures), "-o", str(tmp_path / "run"), *options]) == 0
    warning = f"warning: skipped: 1 corrupt image (cannot read the picture {pictures}/dark/broken.png"
    assert warning in capsys.readouterr().err


def test_the_data_of_a_checkpoint_is_loaded_with_the_same_options(pictures, tmp_path):
    report = train(MODEL, str(pictures), tmp_path / "run", config=TrainingConfig(**CONFIG), image_size=32, limit=20)
    again = Checkpoint.load(tmp_path / "run" / "model.pt").load_data()
    assert [len(again.train), len(again.val), len(again.test)] == list(report["data"]["counts"].values())
    assert len(again.train) < len(load(str(pictures), image_size=32).train)
