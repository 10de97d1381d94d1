"""What each layer alone costs: its weights and its input int8, all else float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgelane.export.int8.judge import BATCH, Judge
from edgelane.export.int8.rewrite import Int8

IMAGES = 2 * BATCH  # whole batches of the judge


@dataclass(frozen=True)
class LayerSensitivity:
    """sqnr_db: signal to noise at the worst output of the model with this layer alone in int8."""

    name: str
    sqnr_db: float

    def to_dict(self) -> dict[str, Any]:
        """Both fields as JSON values."""
        return asdict(self)


def sensitivity(
    int8: Int8, judge: Judge, progress: Callable[[float], None], images: int = 32
) -> list[LayerSensitivity]:
    """Every layer that can be int8, the most sensitive first, judged on up to `images` samples."""
    names = [layer.name for layer in int8.placement.layers]
    found = []
    for number, name in enumerate(names):
        verdict = judge.compare(int8.model((), only={name}), IMAGES, accuracy=False)
        found.append(LayerSensitivity(name, verdict.worst_db))
        progress((number + 1) / len(names))
    return sorted(found, key=lambda entry: entry.sqnr_db)
