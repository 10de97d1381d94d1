"""How good a classifier is: one function for torch modules, ONNX Runtime and edgelane sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from torch import nn

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


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

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

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


def evaluate(predict: Predict, dataset: Any, classes: Sequence[str], batch_size: int = 64) -> Metrics:
    """Judge `predict` (float32 [n, 3, h, w] to scores [n, classes]) on a classification `dataset`.

    Items are (float32 [3, h, w], label), as in a DataBundle's splits. Raises EdgelaneError when the data set is empty
    or the scores have the wrong shape or are not finite.
    """
    predicted: list[int] = []
    labels: list[int] = []
    for start in range(0, len(dataset), batch_size):
        items = [dataset[index] for index in range(start, min(start + batch_size, len(dataset)))]
        scores = np.asarray(predict(np.stack([np.asarray(image, dtype=np.float32) for image, _ in items])))
        if scores.shape != (len(items), len(classes)):
            raise EdgelaneError(
                f"expected scores of shape {[len(items), len(classes)]} from the model, found {list(scores.shape)}"
            )
        if not np.isfinite(scores).all():
            raise EdgelaneError(
                f"the model's scores for items {start} to {start + len(items) - 1} are not all finite numbers"
            )
        predicted.extend(scores.argmax(axis=1).tolist())
        labels.extend(int(label) for _, label in items)
    return Metrics.of(predicted, labels, classes)


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
