"""The verb, from a trained run to compressed.pt, on rendered colour patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgelane.checkpoint import Checkpoint
from edgelane.compression import compress
from edgelane.compression.masks import masked_layers
from edgelane.compression.recipe import Recipe, make_recipe, read_recipe
from edgelane.data import load
from edgelane.errors import EdgelaneError
from edgelane.export.onnx import export_run
from edgelane.training import TrainingConfig, evaluate, predictor, train
from edgelane.training.loop import Interrupted


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 24 x 24 pictures: a red, green or blue square on noise."""
    folder = tmp_path_factory.mktemp("patches")
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for index in range(30):
            pixels = generator.integers(0, 90, (24, 24, 3)).astype(np.uint8)
            pixels[6:18, 6:18, 2 - channel] = 220
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def trained(patches: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run = tmp_path_factory.mktemp("trained")
    config = TrainingConfig(epochs=4, batch_size=16, learning_rate=3e-3, workers=0)
    train("shufflenet_v2_x0_5", str(patches), run, config=config, image_size=32)
    return (run / "model.pt").read_bytes()


@pytest.fixture
def run(trained: bytes, tmp_path: Path) -> Path:
    (tmp_path / "model.pt").write_bytes(trained)
    return tmp_path


def test_prune_fine_tune_quantise_and_export(run: Path) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text("sparsity: 0.6\npattern: 4x4\nint8: true\nepochs: 2\nbatch_size: 16\nskip: [conv5]\n")
    report = compress(run, recipe=recipe)
    assert json.loads((run / "compress.json").read_text()) == report
    assert report["kind"] == "pruned+int8"
    assert list(report["stages"]) == ["dense", "pruned", "int8"]
    assert report["metrics"] == report["stages"]["int8"]["test"]
    assert {stage["test"]["count"] for stage in report["stages"].values()} == {report["metrics"]["count"]}
    kept = {entry["name"]: entry["reason"] for entry in report["kept_dense"]}
    assert kept["conv1.0"] == "stem"
    assert kept["fc"] == "final layer"
    assert kept["conv5.0"] == "skipped by name"
    rows = {row["name"]: row for row in report["layers"]}
    assert rows["conv5.0"]["density"] > 0.9
    assert rows["stage4.1.branch2.0"]["density"] <= 0.4
    assert report["totals"]["macs"] < report["dense_totals"]["macs"] == report["totals"]["dense_macs"]

    checkpoint = Checkpoint.load(run / "compressed.pt")
    assert checkpoint.kind == "pruned+int8"
    model = checkpoint.build()
    bundle = checkpoint.load_data()
    assert evaluate(predictor(model), bundle.test, bundle.classes).to_dict() == report["metrics"]
    assert any(True for _ in masked_layers(model))  # ready for more training
    exported = export_run(run)
    assert exported["kind"] == "pruned+int8"
    assert exported["parity"]["tensors"] > 60
    assert exported["bytes"] < 0.6 * (run / "compressed.pt").stat().st_size


def test_pruning_alone_reaches_the_final_sparsity_through_the_schedule(run: Path) -> None:
    report = compress(run, sparsity=0.75, pattern="1x4", epochs=2)
    assert report["kind"] == "pruned"
    assert all(row["density"] <= 0.25 for row in report["layers"] if row["name"].startswith("stage4.1.branch2.0"))
    compression = Checkpoint.load(run / "compressed.pt").compression
    assert compression is not None
    assert list(compression) == ["pruning"]
    layers = _pruned(report)
    expected = {"pattern": "1x4", "sparsity": 0.75, "layers": layers, "shares": dict.fromkeys(layers, 0.75)}
    assert expected.items() <= compression["pruning"].items()


def _pruned(report: dict) -> list[str]:  # type: ignore[type-arg]
    kept = {entry["name"] for entry in report["kept_dense"]}
    return [row["name"] for row in report["layers"] if row["name"] not in kept]


def test_int8_alone_needs_no_training_and_loses_little(run: Path) -> None:
    report = compress(run, int8=True)
    assert report["kind"] == "int8"
    assert list(report["stages"]) == ["dense", "int8"]
    assert abs(report["accuracy_lost"]) <= 0.15
    assert not (run / "compress").exists()
    assert len(report["scales"]) > 40


def test_other_data_must_have_the_same_classes(run: Path, patches: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("stop", "yield"):
        (other / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(np.full((24, 24, 3), 7 * index, np.uint8)).save(other / name / f"{index}.png")
    with pytest.raises(EdgelaneError, match="the run was trained on blue, green, red"):
        compress(run, int8=True, data=str(other))
    assert not (run / "compressed.pt").exists()


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"model\.pt does not exist"):
        compress(tmp_path, int8=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.json", '{"sparsty": 0.5}', "unknown setting sparsty; known are sparsity, pattern, int8"),
        ("r.json", "{", "is not JSON"),
        ("r.yaml", "a: [", "is not YAML"),
        ("r.yaml", "- 0.5", "expected settings such as sparsity: 0.85, found a list"),
    ],
)
def test_a_bad_recipe_file_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(EdgelaneError, match=message):
        read_recipe(tmp_path / name)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"none\.yaml does not exist"):
        read_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing to compress"),
        ({"sparsity": 1.2}, "below 1"),
        ({"sparsity": 0.5, "pattern": "8x8"}, "unknown sparsity pattern"),
        ({"int8": True, "epochs": -1}, "epochs >= 0"),
        ({"int8": True, "epochs": 1.5}, "epochs: expected int, found 1.5"),
        ({"int8": "yes"}, "int8: expected bool, found 'yes'"),
        ({"int8": True, "skip": "conv1"}, "skip: expected a list of names"),
        ({"int8": True, "learning_rate": "fast"}, "learning_rate: expected a number"),
        ({"int8": True, "calibration": "median"}, "unknown calibration 'median'"),
        ({"int8": True, "calibration_images": 0}, "calibration_images >= 1"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        Recipe(**settings)  # type: ignore[arg-type]


def test_arguments_add_to_a_recipe_and_may_not_contradict_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"sparsity": 0.8, "pattern": "1x4"}')
    assert make_recipe({"int8": True, "pattern": None, "sparsity": 0.8}, path) == Recipe(0.8, "1x4", int8=True)
    with pytest.raises(EdgelaneError, match="pattern is '4x4' as an argument and '1x4' in recipe"):
        make_recipe({"pattern": "4x4"}, path)
    assert Recipe(0.8).to_dict()["skip"] == []


@pytest.mark.parametrize("given", [{"pattern": "1x4"}, {"epochs": 3}])
def test_an_argument_that_would_do_nothing_is_refused(given: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=f"{next(iter(given))} is for pruning: give a sparsity too"):
        make_recipe({"int8": True, "sparsity": None, **given}, None)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"sparsity": 0.5}')
    assert make_recipe(given, recipe).sparsity == 0.5


def test_calibration_images_are_not_augmented(patches: Path) -> None:
    from edgelane.compression.verb import calibration_batches

    bundle = load(str(patches), image_size=32)
    first = torch.cat(list(calibration_batches(bundle, 40, seed=3)))
    assert torch.equal(first, torch.cat(list(calibration_batches(bundle, 40, seed=3))))
    assert first.shape == (40, 3, 32, 32)
    plain = [
        torch.from_numpy(bundle.preprocessing.apply(bundle.train.image(index))) for index in range(len(bundle.train))
    ]
    assert all(any(torch.equal(image, other) for other in plain) for image in first)


def test_a_pruned_run_can_be_quantised_later(run: Path) -> None:
    compress(run, sparsity=0.5, epochs=0)
    (run / "model.pt").write_bytes((run / "compressed.pt").read_bytes())
    report = compress(run, int8=True)
    assert report["kind"] == "pruned+int8"
    assert list(report["stages"]) == ["before", "int8"]
    checkpoint = Checkpoint.load(run / "compressed.pt")
    assert set(checkpoint.compression or {}) == {"pruning", "quantization"}
    bundle = checkpoint.load_data()
    assert evaluate(predictor(checkpoint.build()), bundle.test, bundle.classes).to_dict() == report["metrics"]


def test_ctrl_c_while_fine_tuning_says_that_nothing_was_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted("stopped after 1 of 2 epochs")

    monkeypatch.setattr("edgelane.training.fit", interrupted)
    with pytest.raises(
        EdgelaneError, match=r"^fine-tuning stopped after 1 of 2 epochs; nothing was compressed: run it"
    ):
        compress(run, sparsity=0.5, epochs=2)
    assert not (run / "compressed.pt").exists()
