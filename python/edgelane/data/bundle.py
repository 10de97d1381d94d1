"""What `edgelane.data.load` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgelane.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch.utils.data import Dataset


@dataclass
class DataBundle:
    """A data set, split and verified.

    `train` is augmented, `val` and `test` go through `preprocessing` alone. `skipped` counts what was left out by
    reason; `skipped_examples` keeps the first names of each.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any]
    preprocessing: Preprocessing
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_examples: dict[str, list[str]] = field(default_factory=dict)

    def class_counts(self) -> tuple[int, ...]:
        """How many training objects there are of each class."""
        labels: list[int] = self.train.labels  # type: ignore[attr-defined]
        return tuple(labels.count(index) for index in range(len(self.classes)))

    def class_weights(self) -> tuple[float, ...]:
        """One weight per class for a weighted loss: inverse to its count, 1 on average over the training objects.

        A class without a training object weighs 0.
        """
        counts = self.class_counts()
        present = sum(1 for count in counts if count)
        return tuple(sum(counts) / (present * count) if count else 0.0 for count in counts)

    def sample_weights(self) -> list[float]:
        """One weight per training item for `torch.utils.data.WeightedRandomSampler`: the classes come equally often.

        An item with several objects takes the largest weight among them; one with none takes 1.
        """
        weights = self.class_weights()
        return [max((weights[label] for label in item), default=1.0) for item in self.train.item_labels]  # type: ignore[attr-defined]
