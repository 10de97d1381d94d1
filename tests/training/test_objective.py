"""The losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from bundles import SURFACES, mask_bundle, mask_network

from edgelane.errors import EdgelaneError
from edgelane.training import TrainingConfig, evaluate, fit_with_history, predictor, task_loss
from edgelane.training.objective import task_scores

FAST = {"batch_size": 8, "learning_rate": 0.02, "warmup_epochs": 0.5, "precision": "32", "workers": 0}


def test_classification_is_cross_entropy_with_the_settings_smoothing():
    outputs, targets = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])), torch.tensor([0, 1])
    plain = (-math.log(0.5) - math.log(0.8)) / 2
    assert float(task_loss("classification")(outputs, targets)) == pytest.approx(plain)
    uniform = -(math.log(0.5 * 0.25 * 0.25) + math.log(0.1 * 0.8 * 0.1)) / 6
    smoothed = task_loss("classification", TrainingConfig(label_smoothing=0.1))(outputs, targets)
    assert float(smoothed) == pytest.approx(0.9 * plain + 0.1 * uniform)
    weighted = task_loss("classification", weights=[3.0, 1.0, 1.0])(outputs, targets)
    assert float(weighted) == pytest.approx((3 * -math.log(0.5) - math.log(0.8)) / 4)


def test_segmentation_leaves_out_pixels_without_a_label_and_classification_has_a_class_255():
    scores = torch.log(torch.tensor([[0.5, 0.2], [0.5, 0.8]]))[None, :, None]  # [1, 2, 1, 2]
    mask = torch.tensor([[[1, 255]]])
    assert float(task_loss("segmentation")(scores, mask)) == pytest.approx(-math.log(0.5))
    many = torch.zeros(1, 300)
    assert float(task_loss("classification")(many, torch.tensor([255]))) == pytest.approx(math.log(300))


def test_half_precision_is_summed_in_float32():
    outputs = torch.full((2, 3), 0.5, dtype=torch.bfloat16)
    assert task_loss("classification")(outputs, torch.tensor([0, 1])).dtype == torch.float32


def test_other_tasks_have_no_loss():
    with pytest.raises(EdgelaneError, match="a task for classification or segmentation, found detection"):
        task_loss("detection")


def test_scores_of_masks_ignore_what_has_no_label():
    scores = task_scores("segmentation", 2)
    outputs = torch.tensor([[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]])
    scores.update(outputs, torch.tensor([[[0, 255, 0]]]))
    found = scores.compute()
    assert float(found["val/pixel_accuracy"]) == pytest.approx(1 / 2)
    assert float(found["val/mean_iou"]) == pytest.approx((1 / 2 + 0) / 2)


@pytest.mark.parametrize("balance", ["none", "loss"])
def test_fit_learns_masks_and_its_history_tells_the_truth(tmp_path, balance):
    data, model = mask_bundle(), mask_network()
    before = evaluate(predictor(model), data.test, SURFACES).score
    result = fit_with_history(model, data, TrainingConfig(epochs=6, balance=balance, **FAST), tmp_path)
    after = evaluate(predictor(model), data.test, SURFACES)
    assert after.score > max(0.85, before)
    row = result.history[result.best_epoch]
    val = evaluate(predictor(model), data.val, SURFACES)
    assert row["val_mean_iou"] == pytest.approx(val.mean_iou, abs=1e-6)
    assert row["val_pixel_accuracy"] == pytest.approx(val.pixel_accuracy, abs=1e-6)


def test_a_run_for_masks_resumes_as_itself_only(tmp_path):
    fit_with_history(mask_network(), mask_bundle(), TrainingConfig(epochs=1, **FAST), tmp_path / "run")
    resumed = fit_with_history(
        mask_network(), mask_bundle(), TrainingConfig(epochs=2, resume=True, **FAST), tmp_path / "run"
    )
    assert [row["epoch"] for row in resumed.history] == [0, 1]
    other = mask_bundle()
    other.task = "classification"
    other.train.records = [type("R", (), {"label": 0})() for _ in range(len(other.train))]
    with pytest.raises(EdgelaneError, match="task was segmentation and is now classification"):
        fit_with_history(mask_network(), other, TrainingConfig(epochs=2, resume=True, **FAST), tmp_path / "run")


def test_sampling_by_class_is_refused_for_masks(tmp_path):
    with pytest.raises(EdgelaneError, match=r'balance: "sampling" is for classification'):
        fit_with_history(mask_network(), mask_bundle(), TrainingConfig(balance="sampling", **FAST), tmp_path)
