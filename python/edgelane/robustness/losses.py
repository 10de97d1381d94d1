"""Which classes a compressed network lost, by how much, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassLoss:
    """What a class lost, in points (0.93 to 0.91 is 2.0; negative: it gained).

    `items`: how many items the loss rests on: those that carry the class, in segmentation pictures where they are known
    and labelled pixels else. `standard_error`: of `lost`, in points. `p_value`: how likely a difference at least as
    large is if compression changed nothing, two-sided, not corrected for the number of classes. None: not known.
    """

    name: str
    lost: float
    items: int
    standard_error: float | None = None
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Paired:
    """Two networks compared on the same items: points lost as the mean over them, its standard error, and a p-value."""

    lost: float
    items: int
    standard_error: float | None
    p_value: float


def most_hurt(before: Any, after: Any, paired: Mapping[str, Paired] | None = None) -> list[ClassLoss]:
    """The classes by what they lost from `before` to `after`, worst first; those without an item are left out.

    `before`, `after`: metrics of the dense and the compressed network, as objects or as dictionaries. `paired`: where
    both were judged on the same items, the comparison of each class; without it the standard error of a classifier's
    recall is that of two independent samples, which for the same items is too large rather than too small, and there is
    no p-value. Raises EdgelaneError when the two have different classes.
    """
    old, new = _class_scores(before), _class_scores(after)
    if list(old) != list(new):
        raise EdgelaneError(f"expected metrics of the same classes, found {', '.join(old)} and {', '.join(new)}")
    supports = _supports(before)
    losses = []
    for name in old:
        found = paired.get(name) if paired else None
        items = found.items if found else supports[name]
        if not items:
            continue
        if found:
            error, p_value = found.standard_error, found.p_value
        else:
            error, p_value = _independent_error(before, old[name], new[name], items), None
        losses.append(ClassLoss(name, 100 * (old[name] - new[name]), items, error, p_value))
    return sorted(losses, key=lambda loss: -loss.lost)


def class_drop(before: Any, after: Any, paired: Mapping[str, Paired] | None = None) -> ClassLoss:
    """The class that lost most: what a gate on the worst class looks at. Arguments and errors are those of
    `most_hurt`.
    """
    losses = most_hurt(before, after, paired)
    if not losses:
        raise EdgelaneError("expected metrics with at least one class that has items, found none")
    return losses[0]


def compare(before: Values, after: Values) -> Paired:
    """Paired comparison of two networks' values (0..1) on the same items; both [n].

    Values that are all 0 or 1 (right or wrong) get McNemar's exact test (1947, "Note on the sampling error of the
    difference between correlated proportions or percentages") and the standard error of Agresti and Min (2005, "Simple
    improved confidence intervals for comparing matched proportions"), which is not 0 where nine of nine changed. Others
    get Wilcoxon's signed-rank test (1945, "Individual comparisons by ranking methods") and that of their mean.
    Raises EdgelaneError for different or no items.
    """
    from scipy import stats

    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise EdgelaneError(f"expected values of the same items, found {list(before.shape)} and {list(after.shape)}")
    difference = before - after
    count = len(difference)
    worse, better = int((difference > 0).sum()), int((difference < 0).sum())
    p_value, error = 1.0, None
    if np.isin((before, after), (0.0, 1.0)).all():
        error = 100 * math.sqrt(worse + better + 1 - (worse - better) ** 2 / (count + 2)) / (count + 2)
        if worse + better:
            p_value = float(stats.binomtest(worse, worse + better, 0.5).pvalue)
    else:
        if count > 1:
            error = 100 * float(difference.std(ddof=1)) / math.sqrt(count)
        if worse + better:
            p_value = float(stats.wilcoxon(difference).pvalue)
    return Paired(100 * float(difference.mean()), count, error, p_value)


def _class_scores(metrics: Any) -> dict[str, float]:
    """The metrics' score of each class, whichever form they come in."""
    scores: dict[str, float] = metrics["class_scores"] if isinstance(metrics, Mapping) else metrics.class_scores
    return dict(scores)


def _supports(metrics: Any) -> dict[str, int]:
    rows = metrics["per_class"] if isinstance(metrics, Mapping) else metrics.per_class
    return {name: int(row["support"]) for name, row in rows.items()}


def _independent_error(metrics: Any, old: float, new: float, items: int) -> float | None:
    """Standard error of a difference of two recalls over `items` each, with one right and one wrong added to both
    (Agresti and Caffo, 2000, "Simple and effective confidence intervals for proportions"); an IoU has no such formula.
    """
    rows = metrics["per_class"] if isinstance(metrics, Mapping) else metrics.per_class
    if any("recall" not in row for row in rows.values()):
        return None
    shares = [(score * items + 1) / (items + 2) for score in (old, new)]
    return 100 * math.sqrt(sum(share * (1 - share) for share in shares) / (items + 2))
