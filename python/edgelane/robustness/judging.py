"""Networks side by side on the same pictures: as they are, under image conditions, and under attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing
from edgelane.robustness import attacks as attack_list
from edgelane.robustness import conditions as condition_list
from edgelane.robustness.attacks import Attack, PixelModel
from edgelane.robustness.conditions import Condition
from edgelane.robustness.losses import ClassLoss, Paired, Values, compare, most_hurt
from edgelane.tasks import IGNORED, check_trained

if TYPE_CHECKING:
    from torch import nn

    from edgelane.data import DataBundle


@dataclass(frozen=True)
class Row:
    """One circumstance: `kind` is "clean", "condition" or "attack", `label` names it ("fog/light", "pgd/2").

    `metrics`: of each network. `lost`, `classes`: for each network but the first, what it lost against the first on the
    same items, as a whole (in segmentation the mean over the pictures of their mean IoU) and by class, worst first.
    """

    kind: str
    label: str
    metrics: dict[str, Any]
    lost: dict[str, Paired]
    classes: dict[str, list[ClassLoss]]

    def to_dict(self) -> dict[str, Any]:
        """JSON values: of the metrics, score and class_scores alone."""
        return {
            "kind": self.kind,
            "label": self.label,
            "scores": {name: metrics.score for name, metrics in self.metrics.items()},
            "class_scores": {name: metrics.class_scores for name, metrics in self.metrics.items()},
            "lost": {
                name: {
                    "points": 100 * (next(iter(self.metrics.values())).score - self.metrics[name].score),
                    "standard_error": paired.standard_error,
                    "p_value": paired.p_value,
                }
                for name, paired in self.lost.items()
            },
            "classes": {name: [loss.to_dict() for loss in losses] for name, losses in self.classes.items()},
        }


@dataclass(frozen=True)
class Robustness:
    """What `judge` found: a row for each circumstance, the clean pictures first; the first network is the reference."""

    task: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    items: int
    rows: list[Row]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, as compress.json keeps it."""
        return {
            "task": self.task,
            "classes": list(self.classes),
            "models": list(self.models),
            "items": self.items,
            "rows": [row.to_dict() for row in self.rows],
        }


def judge(
    models: Mapping[str, nn.Module],
    bundle: DataBundle,
    *,
    conditions: Sequence[str | Condition] = condition_list.ALL,
    attacks: Sequence[str | Attack] = ("fgsm", "pgd"),
    limit: int | None = None,
    split: str = "test",
    seed: int = 0,
    progress: Callable[[str, float], object] | None = None,
) -> Robustness:
    """Judge `models` on the same items of `bundle`, clean, under each condition, and under each attack.

    models: name → network; the others are compared with the first, which is meant to be the dense one.
    conditions, attacks: as `conditions.choose` and `attacks.choose` take them; () leaves them out. A condition is the
        same for all networks; an attack is made anew against each, but "transfer", which is made against the first.
    limit: at most this many items, spread evenly over the split; None takes all.
    progress: called with what is being done and the share of the work that is done.
    Raises EdgelaneError for another task than classification and segmentation, for no models or items, and for unknown
    names.
    """
    from edgelane.training.metrics import evaluate, predictor

    check_trained(bundle.task, "data")
    if not models:
        raise EdgelaneError("expected at least one network to judge, found none")
    if limit is not None and limit < 1:
        raise EdgelaneError(f"expected a limit of at least 1 item, found {limit}")
    dataset = getattr(bundle, split)
    count = min(len(dataset), limit or len(dataset))
    indices = [int(index) for index in np.linspace(0, len(dataset) - 1, count).round()] if count else []
    chosen_attacks = attack_list.choose(attacks)
    changes: list[Condition | Attack | None] = [None, *condition_list.choose(conditions), *chosen_attacks]

    rows: list[Row] = []
    for place, change in enumerate(changes):
        metrics: dict[str, Any] = {}
        values: dict[str, Values] = {}
        for number, (name, model) in enumerate(models.items()):
            label = "clean" if change is None else change.label
            if progress is not None:
                progress(f"{name}, {label}", (place * len(models) + number) / (len(changes) * len(models)))
            attacked = next(iter(models.values())) if label.startswith("transfer/") else model
            trial = _Trial(bundle, dataset, indices, change, attacked, predictor(model), seed)
            metrics[name] = evaluate(trial.predict, trial, bundle.classes)
            values[name] = np.concatenate(trial.values)
        rows.append(_row(change, metrics, values, bundle.classes))
    return Robustness(bundle.task, tuple(bundle.classes), tuple(models), count, rows)


def _row(
    change: Condition | Attack | None, metrics: dict[str, Any], values: dict[str, Values], classes: Sequence[str]
) -> Row:
    first, *others = metrics
    lost: dict[str, Paired] = {}
    by_class: dict[str, list[ClassLoss]] = {}
    labelled = ~np.isnan(values[first]).all(axis=1)
    for name in others:
        lost[name] = compare(*(np.nanmean(values[which][labelled], axis=1) for which in (first, name)))
        pairs = {}
        for index, label in enumerate(classes):
            carried = ~np.isnan(values[first][:, index])
            if carried.any():
                pairs[label] = compare(values[first][carried, index], values[name][carried, index])
        by_class[name] = most_hurt(metrics[first], metrics[name], pairs)
    kind = "clean" if change is None else "condition" if isinstance(change, Condition) else "attack"
    return Row(kind, "clean" if change is None else change.label, metrics, lost, by_class)


class _Trial:
    """The chosen items as `evaluate` wants them, spoiled on the way, and the `predict` that it calls after each batch.

    `values`: for each batch [n, classes], how well each item's classes were recognised: 1 or 0 in classification, the
    picture's IoU in segmentation; NaN where the item does not carry the class.
    """

    def __init__(
        self,
        bundle: DataBundle,
        dataset: Any,
        indices: Sequence[int],
        change: Condition | Attack | None,
        attacked: nn.Module,
        predict: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
        seed: int,
    ) -> None:
        self.task = bundle.task
        self.values: list[Values] = []
        self._dataset, self._indices, self._seed = dataset, indices, seed
        self._preprocessing, self._classes = bundle.preprocessing, len(bundle.classes)
        self._condition = change if isinstance(change, Condition) else None
        self._attack = change if isinstance(change, Attack) else None
        self._attacked_model, self._predict = attacked, predict
        self._targets: list[Any] = []  # of the items fetched since the last prediction
        self._done = 0

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[Any, Any]:
        index = self._indices[position]
        image, target = self._dataset[index]
        if self._condition is not None:
            picture = pixels(np.asarray(image, dtype=np.float32), self._preprocessing)
            image = self._preprocessing.apply(self._condition(picture, index, self._seed))
        self._targets.append(np.asarray(target, dtype=np.int64))
        return image, target

    def predict(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The network's scores for the batch fetched last."""
        targets, self._targets = np.stack(self._targets), []
        if self._attack is not None:
            images = self._attacked(images, targets)
        scores = self._predict(images)
        judged = class_values(scores.argmax(axis=1), targets, self._classes)
        self.values.append(judged)
        self._done += len(images)
        return scores

    def _attacked(self, images: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        import torch

        assert self._attack is not None
        model = PixelModel(self._attacked_model, self._preprocessing)
        mean, std = model.mean, model.std
        pictures = (torch.from_numpy(images).to(mean.device) * std + mean).clamp(0, 1)
        labels = torch.from_numpy(targets).to(mean.device)
        moved = self._attack(model, pictures, labels, seed=self._seed + self._done)
        found: npt.NDArray[np.float32] = ((moved - mean) / std).cpu().numpy()
        return found


def pixels(image: npt.NDArray[np.float32], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The picture uint8 [h, w, 3] that `preprocessing.apply` made the network's input float32 [3, h, w] of."""
    std, mean = (
        np.asarray(values, dtype=np.float32)[:, None, None] for values in (preprocessing.std, preprocessing.mean)
    )
    levels = np.clip(np.rint((image * std + mean) * 255), 0, 255).astype(np.uint8)
    picture: npt.NDArray[np.uint8] = levels.transpose(1, 2, 0)
    return picture


def class_values(guesses: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], classes: int) -> Values:
    """How well each item's classes were recognised, [n, classes], NaN where the item does not carry the class.

    `targets` [n]: 1 where the guess is right, 0 where it is wrong. `targets` [n, h, w]: the class's IoU in the picture;
    pixels labelled 255 do not count.
    """
    values = np.full((len(targets), classes), np.nan)
    if targets.ndim == 1:
        values[np.arange(len(targets)), targets] = guesses == targets
        return values
    for row, guess, target in zip(values, guesses, targets, strict=True):
        known = target != IGNORED
        confusion = np.bincount(target[known] * classes + guess[known], minlength=classes**2).reshape(classes, classes)
        hits, carried = confusion.diagonal(), confusion.sum(1)
        present = carried > 0
        row[present] = hits[present] / (carried + confusion.sum(0) - hits)[present]
    return values
