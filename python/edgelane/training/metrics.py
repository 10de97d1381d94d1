"""How good a network is at its task: one function for torch modules, ONNX Runtime and edgelane sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError
from edgelane.tasks import IGNORED

if TYPE_CHECKING:
    from torch import nn

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

BATCH = {"classification": 64, "segmentation": 8}  # items judged at once, where the caller does not say


@dataclass(frozen=True)
class Metrics:
    """Quality on one split; every share is between 0 and 1.

    `precision`, `recall` and `f1` are macro averages: each class that occurs, in the labels or in the predictions,
    counts the same. `per_class` maps a class to its precision, recall, f1 and support (items that carry it); a ratio
    without a denominator is 0. `confusion[i][j]` counts items of class i that were taken for class j.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    count: int

    @property
    def score(self) -> float:
        """The task's own figure: the accuracy."""
        return self.accuracy

    @property
    def class_scores(self) -> dict[str, float]:
        """The recall of each class: the share of its items that were found."""
        return {name: row["recall"] for name, row in self.per_class.items()}

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, with "task", "score" and "class_scores", which metrics of every task have."""
        return {**_common(self, "classification"), **asdict(self)}

    @classmethod
    def of(
        cls, predicted: Sequence[int] | npt.NDArray[np.int64], labels: Sequence[int], classes: Sequence[str]
    ) -> Metrics:
        """From one predicted and one true class index per item. Raises EdgelaneError when there is no item."""
        import torch
        from torchmetrics.functional import classification as functional

        if len(labels) == 0:
            raise EdgelaneError("there is nothing to evaluate: the split is empty")
        options = {
            "preds": torch.as_tensor(predicted),
            "target": torch.as_tensor(labels),
            "num_classes": max(2, len(classes)),
        }
        scores = {
            "precision": functional.multiclass_precision,
            "recall": functional.multiclass_recall,
            "f1": functional.multiclass_f1_score,
        }
        by_class = {name: score(average="none", **options).tolist() for name, score in scores.items()}
        confusion: list[list[int]] = functional.multiclass_confusion_matrix(**options).tolist()
        confusion = [row[: len(classes)] for row in confusion[: len(classes)]]
        return cls(
            accuracy=sum(row[i] for i, row in enumerate(confusion)) / len(labels),
            **{name: float(score(average="macro", **options)) for name, score in scores.items()},
            per_class={
                label: {**{name: by_class[name][i] for name in scores}, "support": sum(confusion[i])}
                for i, label in enumerate(classes)
            },
            confusion=confusion,
            count=len(labels),
        )


@dataclass(frozen=True)
class SegmentationMetrics:
    """Quality of the masks of one split, over all labelled pixels together; every share is between 0 and 1.

    `mean_iou`: the mean of the classes' intersection over union, each class that occurs in labels or predictions
    counting the same. `per_class` maps a class to its iou and its support (labelled pixels). `confusion[i][j]` counts
    pixels of class i that were taken for class j; `count`: pictures.
    """

    mean_iou: float
    pixel_accuracy: float
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    count: int

    @property
    def score(self) -> float:
        """The task's own figure: the mean IoU."""
        return self.mean_iou

    @property
    def class_scores(self) -> dict[str, float]:
        """The IoU of each class; 0 for one that occurs neither in labels nor in predictions."""
        return {name: row["iou"] for name, row in self.per_class.items()}

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values, with "task", "score" and "class_scores", which metrics of every task have."""
        return {**_common(self, "segmentation"), **asdict(self)}


AnyMetrics = Metrics | SegmentationMetrics


def _common(metrics: AnyMetrics, task: str) -> dict[str, Any]:
    return {"task": task, "score": metrics.score, "class_scores": metrics.class_scores}


def evaluate(predict: Predict, dataset: Any, classes: Sequence[str], batch_size: int | None = None) -> AnyMetrics:
    """Judge `predict` on `dataset`, whose attribute `task` says what its items are; without one, classification.

    Items are (float32 [3, h, w], label), as in a DataBundle's splits. Classification: an integer label, and `predict`
    makes scores [n, classes] of float32 [n, 3, h, w]; gives `Metrics`. Segmentation: an int64 [h, w] mask, 255 where
    nothing is known, and scores [n, classes, h, w]; gives `SegmentationMetrics`. Memory holds one batch at a time.
    Raises EdgelaneError when the data set is empty, a label is no class, or the scores have the wrong shape or are not
    finite.
    """
    task = getattr(dataset, "task", "classification")
    if task not in BATCH:
        raise EdgelaneError(f"expected data for {' or '.join(BATCH)}, found {task}")
    batches = _answers(predict, dataset, len(classes), batch_size or BATCH[task])
    if task == "segmentation":
        return _judge_masks(batches, classes)
    predicted, labels = list[int](), list[int]()
    for guesses, targets in batches:
        predicted.extend(guesses.tolist())
        labels.extend(targets.tolist())
    return Metrics.of(predicted, labels, classes)


def _answers(
    predict: Predict, dataset: Any, classes: int, batch_size: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """The class with the highest score and the labelled one, batch by batch: [n], or [n, h, w] for masks."""
    for start in range(0, len(dataset), batch_size):
        items = [dataset[index] for index in range(start, min(start + batch_size, len(dataset)))]
        targets = np.stack([np.asarray(target, dtype=np.int64) for _, target in items])
        scores = np.asarray(predict(np.stack([np.asarray(image, dtype=np.float32) for image, _ in items])))
        expected = (len(items), classes, *targets.shape[1:])
        if scores.shape != expected:
            raise EdgelaneError(f"expected scores of shape {list(expected)} from the model, found {list(scores.shape)}")
        if not np.isfinite(scores).all():
            raise EdgelaneError(
                f"the model's scores for items {start} to {start + len(items) - 1} are not all finite numbers"
            )
        yield scores.argmax(axis=1), targets


def _judge_masks(
    batches: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], classes: Sequence[str]
) -> SegmentationMetrics:
    import torch
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    count = max(2, len(classes))
    options: dict[str, Any] = {"ignore_index": IGNORED, "validate_args": False}
    scores = MetricCollection(
        {
            "confusion": MulticlassConfusionMatrix(count, **options),
            "iou": MulticlassJaccardIndex(count, average="none", **options),
            "mean_iou": MulticlassJaccardIndex(count, average="macro", **options),
            "pixel_accuracy": MulticlassAccuracy(count, average="micro", **options),
        }
    )
    pictures = 0
    for guesses, masks in batches:
        wrong = masks[((masks < 0) | (masks >= len(classes))) & (masks != IGNORED)]
        if wrong.size:
            raise EdgelaneError(f"expected masks of 0 to {len(classes) - 1} or {IGNORED}, found {int(wrong[0])}")
        scores.update(torch.from_numpy(guesses), torch.from_numpy(masks))
        pictures += len(masks)
    if not pictures:
        raise EdgelaneError("there is nothing to evaluate: the split is empty")
    found = scores.compute()
    confusion: list[list[int]] = [row[: len(classes)] for row in found["confusion"][: len(classes)].tolist()]
    return SegmentationMetrics(
        mean_iou=float(found["mean_iou"]),
        pixel_accuracy=float(found["pixel_accuracy"]),
        per_class={
            name: {"iou": float(found["iou"][index]), "support": sum(confusion[index])}
            for index, name in enumerate(classes)
        },
        confusion=confusion,
        count=pictures,
    )


def predictor(model: nn.Module) -> Predict:
    """Put a torch module into evaluation mode and wrap it for `evaluate`: float32 on its own device, no gradients."""
    import torch

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    model.eval()

    def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            scores: npt.NDArray[np.float32] = model(torch.from_numpy(images).to(device)).float().cpu().numpy()
        return scores

    return predict
