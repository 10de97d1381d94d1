"""The verb, from a trained run to compressed.pt, on rendered colour patches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import edgelane
from edgelane.checkpoint import Checkpoint
from edgelane.compression import GateError, compress, plan_only
from edgelane.compression.masks import masked_layers
from edgelane.compression.recipe import Quantize, Recipe
from edgelane.compression.recipe_file import read_recipe, recipe_of
from edgelane.data import load
from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile as compile_onnx
from edgelane.export.onnx import export_run
from edgelane.robustness import Saliency
from edgelane.training import evaluate, predictor
from edgelane.training.loop import Interrupted


def test_prune_fine_tune_quantise_and_deploy(run: Path) -> None:
    file = run / "recipe.yaml"
    file.write_text(
        "prune: {sparsity: 0.6, pattern: 4x4, skip: [layer4.1]}\n"
        "train: {epochs: 2, batch_size: 16, distill: {}}\n"
        "quantize: {images: 32}\n"
        "judge: {conditions: [fog], attacks: [fgsm], images: 8, saliency: 2}\n"
    )
    report = compress(run, recipe=file)
    assert json.loads((run / "compress.json").read_text()) == report
    assert report["kind"] == "pruned+int8"
    assert list(report["stages"]) == ["dense", "pruned", "int8"]
    assert report["metrics"] == report["stages"]["int8"]["test"]
    assert {stage["test"]["count"] for stage in report["stages"].values()} == {report["metrics"]["count"]}
    kept = {entry["name"]: entry["reason"] for entry in report["plan"]["kept_dense"]}
    assert kept["conv1"] == "stem"
    assert kept["fc"] == "final layer"
    assert kept["layer4.1.conv1"] == "skipped by name"
    rows = {row["name"]: row for row in report["layers"]}
    assert rows["layer4.1.conv1"]["density"] > 0.9
    assert rows["layer4.0.conv2"]["density"] <= 0.4
    assert all(row["measured_us"] > 0 and row["before_us"] > 0 for row in rows.values())
    assert report["totals"]["macs"] < report["before_totals"]["macs"] == report["totals"]["dense_macs"]
    assert report["totals"]["bytes"] < report["before_totals"]["bytes"] / 2
    assert {rung["name"] for rung in report["ladder"]} == {"the recipe's settings"}
    damage = [row["damage"] for row in report["sensitivity"] if "damage" in row]
    assert damage == sorted(damage, reverse=True)
    assert len(damage) == len(report["plan"]["sparsity"])
    assert {row["name"] for row in report["sensitivity"] if row.get("sqnr_db", 0) > 10} == set(rows)
    assert report["robustness"]
    assert read_recipe(run / "compress" / "recipe.yaml") == recipe_of(report["recipe"])
    maps = Saliency.load(run / "compress" / "saliency.npz")
    assert maps.to_dict() == report["saliency"]
    assert len(maps.looks) == 2
    between = Checkpoint.load(run / "compress" / "pruned.pt")
    assert (between.kind, between.metrics["test"]) == ("pruned", report["stages"]["pruned"]["test"])

    checkpoint = Checkpoint.load(run / "compressed.pt")
    assert checkpoint.kind == "pruned+int8"
    model = checkpoint.build()
    bundle = checkpoint.load_data()
    assert evaluate(predictor(model), bundle.test, bundle.classes).to_dict() == report["metrics"]
    judged = evaluate(predictor(between.build()), bundle.test, bundle.classes).to_dict()
    assert judged == between.metrics["test"]
    assert any(True for _ in masked_layers(model))  # ready for more training
    exported = export_run(run)
    assert exported["kind"] == "pruned+int8"
    assert exported["parity"]["tensors"] > 30
    compile_onnx(run / "model.onnx", run / "model.lane", golden="none")
    stored = edgelane.Session(run / "model.lane").metadata["compression"]["recipe"]
    assert stored == report["recipe"]
    assert recipe_of(stored).prune is not None


@pytest.mark.usefixtures("untimed")
def test_the_recipe_and_the_seed_reproduce_the_result(run: Path) -> None:
    first = compress(run, settings=_settings(0.5, epochs=1, seed=3))
    weights = Checkpoint.load(run / "compressed.pt").state_dict
    (run / "compressed.pt").unlink()
    again = compress(run, recipe=recipe_of(first["recipe"]))
    assert again["metrics"] == first["metrics"]
    repeated = Checkpoint.load(run / "compressed.pt").state_dict
    assert all(torch.equal(value, repeated[key]) for key, value in weights.items())


def _settings(sparsity: float, **more: Any) -> dict[str, Any]:
    names = {"pattern": "prune.pattern", "epochs": "train.epochs", "seed": "seed", "max_drop": "budget.max_drop"}
    return {"prune.sparsity": sparsity, "train.batch_size": 16, **{names[key]: value for key, value in more.items()}}


@pytest.mark.usefixtures("untimed")
def test_pruning_alone_reaches_the_final_sparsity_through_the_schedule(run: Path) -> None:
    report = compress(run, settings=_settings(0.75, pattern="1x4", epochs=2))
    assert report["kind"] == "pruned"
    assert all(row["density"] <= 0.25 for row in report["layers"] if row["name"].startswith("layer4.0.conv"))
    record = Checkpoint.load(run / "compressed.pt").compression
    assert record is not None
    assert record["recipe"] == report["recipe"]
    assert record["pruning"]["layers"] == list(report["plan"]["sparsity"])


@pytest.mark.usefixtures("untimed")
def test_int8_alone_needs_no_training_and_loses_little(run: Path) -> None:
    report = compress(run, settings={"quantize": {}})
    assert report["kind"] == "int8"
    assert list(report["stages"]) == ["dense", "int8"]
    assert abs(report["drop"]) <= 15
    assert not (run / "compress" / "prune").exists()
    assert len(report["scales"]) == 30


def test_the_plan_is_made_without_training_and_writes_nothing(run: Path) -> None:
    plan = plan_only(run, settings=_settings(0.75))
    assert plan.sparsity["layer4.1.conv1"] == 0.75
    assert "conv1" not in plan.sparsity
    assert sorted(path.name for path in run.iterdir()) == ["model.pt"]


def test_the_gate_refuses_what_loses_too_much_and_writes_nothing(run: Path) -> None:
    with pytest.raises(
        GateError,
        match=r"the gate refuses the pruned network: on the validation split it lost \d+\.\d+ points, 0.5 allowed",
    ) as info:
        compress(run, settings=_settings(0.98, epochs=0, max_drop=0.5))
    assert info.value.sensitivity[0]["damage"] >= info.value.sensitivity[-1]["damage"]
    assert {row["name"] for row in info.value.sensitivity} >= {"layer4.1.conv2", "layer1.0.conv1"}
    assert not (run / "compressed.pt").exists()
    assert not (run / "compress.json").exists()


@pytest.mark.usefixtures("untimed")
def test_the_gate_searches_from_cheap_to_dear_and_takes_the_first_that_passes(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgelane.compression import fine_tune

    real, asked = fine_tune.quantize, []

    def spoiled(job: Any, model: Any, settings: Any) -> Any:
        """Only bias correction gives a network that still works."""
        asked.append(settings)
        quantized = real(job, model, settings)
        if not settings.bias_correction:
            with torch.no_grad():
                for parameter in quantized.fc.parameters():
                    parameter.zero_()
        return quantized

    monkeypatch.setattr(fine_tune, "quantize", spoiled)
    report = compress(run, settings={"quantize.images": 16, "budget.max_drop": 20})
    names = [rung["name"] for rung in report["ladder"]]
    assert names[0] == "the recipe's settings"
    assert [name.split()[0] for name in names[1:5]] == ["calibration"] * 4
    assert names[5:] == ["bias correction"]
    assert [rung["passed"] for rung in report["ladder"]] == [False] * 5 + [True]
    assert asked[-1].bias_correction


def test_other_data_must_have_the_same_classes(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("stop", "yield"):
        (other / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(np.full((24, 24, 3), 7 * index, np.uint8)).save(other / name / f"{index}.png")
    with pytest.raises(EdgelaneError, match="the run was trained on blue, green, red"):
        compress(run, settings={"quantize": {}}, data=str(other))
    assert not (run / "compressed.pt").exists()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"quantize.float_layers": ["conv9"]}, "the model has no layer named 'conv9'"),
        ({"quantize": {}, "judge.conditions": ["fogg"]}, "unknown condition 'fogg'"),
        ({"quantize": {}, "judge.attacks": ["cw"]}, "unknown attack 'cw'"),
    ],
)
def test_wrong_names_are_found_before_anything_takes_time(settings: dict[str, Any], problem: str, run: Path) -> None:
    said: list[str] = []
    with pytest.raises(EdgelaneError, match=problem):
        compress(run, settings={"prune.sparsity": 0.5, **settings}, say=said.append)
    assert said == []


def test_pruning_and_int8_need_no_package_of_the_verb() -> None:
    code = (
        "import sys\n"
        "absent = ('matplotlib', 'jinja2', 'optuna', 'captum', 'lightning', 'yaml', 'onnx')\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import edgelane\nprint(edgelane.prune_model, edgelane.quantize_model)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.usefixtures("untimed")
def test_without_the_packages_of_the_report_the_rest_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgelane.report.compress", None)
    said: list[str] = []
    compress(run, settings={"quantize.images": 8}, say=said.append)
    assert (run / "compressed.pt").exists()
    assert not (run / "report.html").exists()
    assert said[-1].startswith("no report.html: ")


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"model\.pt does not exist"):
        compress(tmp_path, settings={"quantize": {}})


def test_calibration_images_are_not_augmented(patches: Path) -> None:
    from edgelane.compression.job import plain_batches

    bundle = load(str(patches), image_size=32)
    first = torch.cat(list(plain_batches(bundle, 40, seed=3)))
    assert torch.equal(first, torch.cat(list(plain_batches(bundle, 40, seed=3))))
    assert first.shape == (40, 3, 32, 32)
    plain = [
        torch.from_numpy(bundle.preprocessing.apply(bundle.train.image(index))) for index in range(len(bundle.train))
    ]
    assert all(any(torch.equal(image, other) for other in plain) for image in first)


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize("how", [{"rounding": "adaround"}, {"qat_epochs": 1}, {"float_layers": ("layer1",)}])
def test_int8_that_learns_is_rebuilt_as_it_was(how: dict[str, Any], run: Path) -> None:
    given = {f"quantize.{name}": value for name, value in {"images": 16, **how}.items()}
    report = compress(run, settings={**_settings(0.5, epochs=0), **given})
    checkpoint = Checkpoint.load(run / "compressed.pt")
    bundle = checkpoint.load_data()
    assert evaluate(predictor(checkpoint.build()), bundle.test, bundle.classes).to_dict() == report["metrics"]
    named = {row["name"] for row in report["sensitivity"] if "sqnr_db" in row}
    assert ("layer1.0.conv1" in named) == ("float_layers" not in how)


@pytest.mark.usefixtures("untimed")
def test_a_pruned_run_can_be_quantised_later(run: Path) -> None:
    compress(run, settings=_settings(0.5, epochs=0))
    (run / "model.pt").write_bytes((run / "compressed.pt").read_bytes())
    report = compress(run, recipe=Recipe(quantize=Quantize()))
    assert report["kind"] == "pruned+int8"
    assert list(report["stages"]) == ["before", "int8"]
    checkpoint = Checkpoint.load(run / "compressed.pt")
    assert set(checkpoint.compression or {}) == {"pruning", "quantization", "recipe"}
    bundle = checkpoint.load_data()
    assert evaluate(predictor(checkpoint.build()), bundle.test, bundle.classes).to_dict() == report["metrics"]


@pytest.mark.usefixtures("untimed")
def test_a_training_that_was_stopped_goes_on_where_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgelane.training

    whole = compress(run, settings=_settings(0.5, epochs=3))
    for path in sorted((run / "compress").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()

    real = edgelane.training.fit

    def stopped_after_two(model: Any, bundle: Any, config: Any, out: Path, **more: Any) -> Any:
        from dataclasses import replace

        class Stop(edgelane.training.loop.pl.Callback):
            def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
                if trainer.current_epoch == 2:
                    raise KeyboardInterrupt

        more["callbacks"] = [*more["callbacks"], Stop()]
        return real(model, bundle, replace(config), out, **more)

    monkeypatch.setattr(edgelane.training, "fit", stopped_after_two)
    with pytest.raises(
        EdgelaneError, match=r"^prune stopped after 2 of 3 epochs; nothing was compressed: run it again"
    ):
        compress(run, settings=_settings(0.5, epochs=3))
    monkeypatch.setattr(edgelane.training, "fit", real)
    lines: list[str] = []
    resumed = compress(run, settings=_settings(0.5, epochs=3), say=lines.append)
    assert "prune: 3 epochs, going on where it was stopped" in lines
    assert resumed["metrics"] == whole["metrics"]


def test_ctrl_c_while_fine_tuning_says_that_nothing_was_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted("stopped after 1 of 2 epochs")

    monkeypatch.setattr("edgelane.training.fit", interrupted)
    with pytest.raises(EdgelaneError, match=r"^prune stopped after 1 of 2 epochs; nothing was compressed: run it"):
        compress(run, settings=_settings(0.5, epochs=2))
    assert not (run / "compressed.pt").exists()
