"""`fit`: it learns, resumes exactly, stops when it should, and says what went wrong."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from bundles import CLASSES, Colours, bundle, network

from edgelane.errors import EdgelaneError
from edgelane.training import TrainingConfig, evaluate, fit, fit_with_history, predictor

FAST = {"batch_size": 8, "learning_rate": 0.02, "warmup_epochs": 0.5, "precision": "32", "workers": 0}


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def last_state(out: Path) -> dict[str, object]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_learns_and_leaves_the_best_weights_in_evaluation_mode(tmp_path, optimizer):
    data, model = bundle(), network()
    before = evaluate(predictor(model), data.test, CLASSES).accuracy
    result = fit_with_history(model, data, TrainingConfig(epochs=6, optimizer=optimizer, **FAST), tmp_path)
    assert result.model is model
    assert not model.training
    assert evaluate(predictor(model), data.test, CLASSES).accuracy > max(0.9, before)
    assert result.best_epoch == min(result.history, key=lambda row: row["val_loss"])["epoch"]
    assert [row["epoch"] for row in result.history] == list(range(6))
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    best = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_the_history_tells_the_truth_about_the_validation_split(tmp_path):
    data = bundle()
    result = fit_with_history(network(), data, TrainingConfig(epochs=3, **FAST), tmp_path)
    metrics = evaluate(predictor(result.model), data.val, CLASSES)
    row = result.history[result.best_epoch]
    for name in ("accuracy", "precision", "recall", "f1"):
        assert row[f"val_{name}"] == pytest.approx(getattr(metrics, name), abs=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    def run(name: str, **changes: int) -> torch.nn.Module:
        return fit(network(), bundle(), TrainingConfig(epochs=2, **{**FAST, **changes}), tmp_path / name)

    first = run("a")
    assert same_weights(first, run("b"))
    assert not same_weights(first, run("c", seed=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_ends_in_the_identical_state_of_an_uninterrupted_one(tmp_path, workers):
    config = {**FAST, "workers": workers, "epochs": 4}
    whole = fit_with_history(network(), bundle(), TrainingConfig(**config), tmp_path / "whole")

    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 2 and batch_idx == 3:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fit(network(), bundle(), TrainingConfig(**config), tmp_path / "cut", callbacks=[Stop()])
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    resumed = fit_with_history(network(7), bundle(), TrainingConfig(**config, resume=True), tmp_path / "cut")

    assert same_weights(whole.model, resumed.model)
    a, b = last_state(tmp_path / "whole"), last_state(tmp_path / "cut")
    assert a["global_step"] == b["global_step"]
    assert all(torch.equal(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"])
    moments = [state["optimizer_states"][0]["state"] for state in (a, b)]
    assert all(
        torch.equal(moments[0][i][key], moments[1][i][key]) for i in moments[0] for key in ("exp_avg", "exp_avg_sq")
    )
    without_time = [[{**row, "seconds": 0} for row in run.history] for run in (whole, resumed)]
    assert without_time[0] == without_time[1]
    assert all(row["seconds"] < 60 for row in resumed.history)


def test_a_finished_run_can_be_resumed_for_more_epochs(tmp_path):
    fit(network(), bundle(), TrainingConfig(epochs=2, **FAST), tmp_path)
    result = fit_with_history(network(), bundle(), TrainingConfig(epochs=3, resume=True, **FAST), tmp_path)
    assert [row["epoch"] for row in result.history] == [0, 1, 2]


def test_resume_refuses_another_run(tmp_path):
    with pytest.raises(EdgelaneError, match="nothing to resume"):
        fit(network(), bundle(), TrainingConfig(epochs=1, resume=True, **FAST), tmp_path)
    fit(network(), bundle(), TrainingConfig(epochs=1, **FAST), tmp_path)
    changed = {**FAST, "learning_rate": 0.5}
    with pytest.raises(EdgelaneError, match=r"learning_rate was 0.02 and is now 0.5"):
        fit(network(), bundle(), TrainingConfig(epochs=2, resume=True, **changed), tmp_path)
    other = bundle()
    other.classes = ("one", "two", "three")
    with pytest.raises(EdgelaneError, match="classes was"):
        fit(network(), other, TrainingConfig(epochs=2, resume=True, **FAST), tmp_path)
    bigger = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3))
    with pytest.raises(EdgelaneError, match="belongs to another network"):
        fit(bigger, bundle(), TrainingConfig(epochs=2, resume=True, **FAST), tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(EdgelaneError, match="damaged"):
        fit(network(), bundle(), TrainingConfig(epochs=2, resume=True, **FAST), tmp_path)


class Unlearn(pl.Callback):
    """Makes the validation loss worse in every epoch, whatever training does: a bias towards one class that grows."""

    def on_validation_start(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.model[-1].bias[0] += 10.0


def test_early_stopping_ends_after_patience_epochs_and_returns_the_best(tmp_path):
    config = TrainingConfig(epochs=20, patience=2, **{**FAST, "learning_rate": 1e-4})
    result = fit_with_history(network(), bundle(), config, tmp_path, callbacks=[Unlearn()])
    assert result.best_epoch == 0
    assert len(result.history) == 3


def test_only_epochs_from_best_from_on_may_be_the_best(tmp_path):
    config = TrainingConfig(epochs=4, best_from=3, **{**FAST, "learning_rate": 1e-4})
    result = fit_with_history(network(), bundle(), config, tmp_path, callbacks=[Unlearn()])
    assert result.best_epoch == 3


def test_a_loss_that_is_not_a_number_stops_training_with_a_reason(tmp_path):
    data = bundle()
    data.train.images[5] = float("nan")
    with pytest.raises(EdgelaneError, match=r"training loss became nan in epoch 1: lower the learning rate"):
        fit(network(), data, TrainingConfig(epochs=2, **FAST), tmp_path)
    data = bundle()
    data.val.images[5] = float("inf")
    with pytest.raises(EdgelaneError, match=r"validation loss became nan in epoch 1"):
        fit(network(), data, TrainingConfig(epochs=2, **FAST), tmp_path)


def test_an_empty_split_and_a_foreign_task_are_named(tmp_path):
    with pytest.raises(EdgelaneError, match="colours: the val split is empty"):
        fit(network(), bundle(val=0), TrainingConfig(**FAST), tmp_path)
    data = bundle()
    data.task = "detection"
    with pytest.raises(EdgelaneError, match="found detection"):
        fit(network(), data, TrainingConfig(**FAST), tmp_path)


def test_a_new_run_replaces_the_checkpoints_and_curves_of_the_old_one(tmp_path):
    for _ in range(2):
        fit(network(), bundle(), TrainingConfig(epochs=1, **FAST), tmp_path)
    assert len(list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))) == 1
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.pt", "last.ckpt"]


def test_ctrl_c_leaves_a_checkpoint_to_resume_from(tmp_path):
    class Interrupt(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    outer = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(EdgelaneError, match=r"^stopped after 2 of 4 epochs$"):
            fit(network(), bundle(), TrainingConfig(epochs=4, **FAST), tmp_path, callbacks=[Interrupt()])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outer)
    resumed = fit_with_history(network(), bundle(), TrainingConfig(epochs=4, resume=True, **FAST), tmp_path)
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2, 3]


def test_mixed_precision_trains_too_and_float16_needs_a_gpu(tmp_path):
    data = bundle()
    config = TrainingConfig(epochs=4, **{**FAST, "precision": "bf16-mixed"})
    result = fit_with_history(network(), data, config, tmp_path)
    assert result.precision == "bf16-mixed"
    assert all(value.dtype != torch.bfloat16 for value in result.model.state_dict().values())
    assert evaluate(predictor(result.model), data.test, CLASSES).accuracy > 0.9
    if not torch.cuda.is_available():
        with pytest.raises(EdgelaneError, match="16-mixed needs a GPU"):
            fit(network(), data, TrainingConfig(epochs=1, **{**FAST, "precision": "16-mixed"}), tmp_path)


def test_balancing_helps_a_rare_class(tmp_path):
    def recall(balance: str) -> float:
        data = bundle()
        common = Colours(90, 5)
        rare = [index for index, label in enumerate(common.labels) if label != 2] + [2]
        data.train.images, data.train.labels = common.images[rare], [common.labels[index] for index in rare]
        data.train.records = [common.records[index] for index in rare]
        config = TrainingConfig(epochs=3, balance=balance, **{**FAST, "learning_rate": 0.005})
        return evaluate(predictor(fit(network(), data, config, tmp_path / balance)), data.test, CLASSES).per_class[
            "blue"
        ]["recall"]

    unbalanced = recall("none")
    assert recall("sampling") > unbalanced
    assert recall("loss") > unbalanced


def test_fit_is_quiet(tmp_path, capfd, recwarn):
    fit(network(), bundle(), TrainingConfig(epochs=1, **FAST), tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) <= 1, err
    assert not recwarn.list


def test_torchrun_trains_on_two_processes(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import json, os, sys, torch\n"
        "from pathlib import Path\n"
        "from bundles import CLASSES, bundle, network\n"
        "from edgelane.training import TrainingConfig, evaluate, fit_with_history, predictor\n"
        "torch.set_num_threads(1)\n"
        "data = bundle(train=47)\n"
        "config = TrainingConfig(epochs=4, batch_size=4, learning_rate=0.02, precision='32', workers=0)\n"
        "result = fit_with_history(network(), data, config, Path(sys.argv[1]))\n"
        "accuracy = evaluate(predictor(result.model), data.test, CLASSES).accuracy\n"
        "total = sum(float(value.double().sum()) for value in result.model.state_dict().values())\n"
        "found = [result.first, result.devices, len(result.history), accuracy, total]\n"
        "Path(sys.argv[1], f'rank{os.environ[\"RANK\"]}.json').write_text(json.dumps(found))\n"
    )
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path]), "CUDA_VISIBLE_DEVICES": ""}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path / "run")],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / "run" / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first[:3] == [True, 2, 4]
    assert second == [False, *first[1:]]
    assert first[3] > 0.9


def test_a_full_disk_ends_training_with_one_line(tmp_path):
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    class FillDisk(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            trainer.save_checkpoint = fail

    with pytest.raises(EdgelaneError, match=r"^cannot write .*last.ckpt: No space left on device$"):
        fit(network(), bundle(), TrainingConfig(epochs=1, **FAST), tmp_path, callbacks=[FillDisk()])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best.pt"]
