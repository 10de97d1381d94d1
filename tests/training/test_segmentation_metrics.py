"""Masks judged against numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from bundles import SURFACES, Halves

from edgelane.errors import EdgelaneError
from edgelane.training import Metrics, SegmentationMetrics, evaluate, predictor

CLASSES = ("a", "b", "c", "d")  # d occurs nowhere
MASKS = [[[0, 0, 1, 255], [2, 2, 1, 1]], [[0, 0, 0, 0], [0, 0, 255, 255]]]
GUESSES = [[[0, 1, 1, 3], [2, 0, 1, 2]], [[0, 0, 0, 0], [0, 1, 1, 1]]]


class Fixed:
    """MASKS as a data set; the pictures hold GUESSES."""

    task = "segmentation"

    def __init__(self, count: int = 2) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        guess = torch.tensor(GUESSES[index], dtype=torch.float32)
        return guess.expand(3, 2, 4), torch.tensor(MASKS[index])


def predict(images: np.ndarray) -> np.ndarray:
    return np.stack([(images[:, 0] == label).astype(np.float32) for label in range(len(CLASSES))], axis=1)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_every_figure_equals_the_one_computed_by_hand(batch_size):
    metrics = evaluate(predict, Fixed(), CLASSES, batch_size)
    assert isinstance(metrics, SegmentationMetrics)
    # Of 13 labelled pixels: 8 a (6 right, 2 taken for b), 3 b (2 right, 1 for c), 2 c (1 right, 1 for a).
    assert metrics.confusion == [[6, 2, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert metrics.count == 2
    assert metrics.pixel_accuracy == pytest.approx(9 / 13)
    ious = {"a": 6 / (8 + 7 - 6), "b": 2 / (3 + 4 - 2), "c": 1 / (2 + 2 - 1), "d": 0.0}
    assert metrics.class_scores == pytest.approx(ious)
    assert metrics.mean_iou == metrics.score == pytest.approx((6 / 9 + 2 / 5 + 1 / 3) / 3)
    assert {name: row["support"] for name, row in metrics.per_class.items()} == {"a": 8, "b": 3, "c": 2, "d": 0}


def test_metrics_of_both_tasks_share_what_a_gate_needs():
    masks = evaluate(predict, Fixed(), CLASSES)
    labels = Metrics.of([0, 1, 1], [0, 1, 0], ("x", "y"))
    assert labels.score == labels.accuracy == pytest.approx(2 / 3)
    assert labels.class_scores == {"x": 0.5, "y": 1.0}
    for metrics, task in ((masks, "segmentation"), (labels, "classification")):
        found = json.loads(json.dumps(metrics.to_dict()))
        assert (found["task"], found["score"]) == (task, metrics.score)
        assert found["class_scores"] == metrics.class_scores
        assert set(found) > {"confusion", "count", "per_class"}


def test_a_torch_module_is_judged_on_masks():
    class Threshold(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.ones_like(x[:, 0]), x.mean(1)], 1)

    metrics = evaluate(predictor(Threshold()), Halves(10, 0), SURFACES)
    assert metrics.score > 0.9
    assert sum(map(sum, metrics.confusion)) == 10 * 15 * 24  # the first row has no label


def test_wrong_shapes_and_labels_are_named():
    with pytest.raises(EdgelaneError, match=r"expected scores of shape \[2, 3, 2, 4\] .*found \[2, 4, 2, 4\]"):
        evaluate(predict, Fixed(), CLASSES[:3])
    with pytest.raises(EdgelaneError, match="expected masks of 0 to 1 or 255, found 2"):
        evaluate(lambda images: predict(images)[:, :2], Fixed(), CLASSES[:2])
    with pytest.raises(EdgelaneError, match="not all finite"):
        evaluate(lambda images: predict(images) * np.float32(np.nan), Fixed(), CLASSES)
    with pytest.raises(EdgelaneError, match="split is empty"):
        evaluate(predict, Fixed(0), CLASSES)
    other = Fixed()
    other.task = "detection"
    with pytest.raises(EdgelaneError, match="expected data for classification or segmentation, found detection"):
        evaluate(predict, other, CLASSES)
