"""Train a network, and judge any network: `train` (the verb), `fit` (fine-tuning), `task_loss`, `evaluate`.

Only what is asked for is imported: `TrainingConfig`, `Metrics` and `evaluate` come without torch and Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgelane.training.config import TrainingConfig
from edgelane.training.metrics import AnyMetrics, Metrics, SegmentationMetrics, evaluate, predictor

if TYPE_CHECKING:
    from edgelane.training.loop import FitResult, fit, fit_with_history
    from edgelane.training.objective import task_loss
    from edgelane.training.run import train

__all__ = [
    "AnyMetrics",
    "FitResult",
    "Metrics",
    "SegmentationMetrics",
    "TrainingConfig",
    "evaluate",
    "fit",
    "fit_with_history",
    "predictor",
    "task_loss",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("fit", "fit_with_history", "FitResult"):
        from edgelane.training import loop

        return getattr(loop, name)
    if name == "task_loss":
        from edgelane.training import objective

        return objective.task_loss
    if name == "train":
        from edgelane.training import run

        return run.train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
