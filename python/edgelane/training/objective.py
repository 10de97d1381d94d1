"""What training minimises and what it watches, by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from edgelane.tasks import IGNORED, check_trained
from edgelane.training.config import TrainingConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def task_loss(task: str, config: TrainingConfig | None = None, weights: Sequence[float] | None = None) -> Loss:
    """The loss that training minimises: cross-entropy of (outputs, targets), a scalar, in float32.

    Classification: outputs [n, classes], targets int64 [n]. Segmentation: outputs [n, classes, h, w], targets int64
    [n, h, w], of which pixels of the value 255 do not count. `config` gives the label smoothing; without it there is
    none, as in validation. `weights`: one for each class.
    Raises EdgelaneError for a task that has no such loss.
    """
    check_trained(task, "a task")
    options: dict[str, Any] = {"label_smoothing": config.label_smoothing if config is not None else 0.0}
    if task == "segmentation":
        options["ignore_index"] = IGNORED

    by_class = None if weights is None else torch.tensor(weights)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        weight = None if by_class is None else by_class.to(outputs.device)
        return functional.cross_entropy(outputs.float(), targets, weight=weight, **options)

    return loss


def task_scores(task: str, classes: int) -> MetricCollection:
    """The scores of every validation, by their name, `main_score` among them."""
    count = max(2, classes)  # torchmetrics knows no fewer
    if task == "segmentation":
        options: dict[str, Any] = {"ignore_index": IGNORED, "validate_args": False}
        return MetricCollection(
            {
                "mean_iou": MulticlassJaccardIndex(count, average="macro", **options),
                "pixel_accuracy": MulticlassAccuracy(count, average="micro", **options),
            },
            prefix="val/",
        )
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(count, average="micro"),
            "precision": MulticlassPrecision(count, average="macro"),
            "recall": MulticlassRecall(count, average="macro"),
            "f1": MulticlassF1Score(count, average="macro"),
        },
        prefix="val/",
    )


def main_score(task: str) -> str:
    """The name of the score that `Metrics.score` is."""
    return "mean_iou" if task == "segmentation" else "accuracy"
