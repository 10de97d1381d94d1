"""Train a classifier, and judge any classifier: `train` (the verb), `fit` (fine-tuning), `evaluate`.

Only what is asked for is imported: `TrainingConfig`, `Metrics` and `evaluate` come without torch and Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgelane.training.config import TrainingConfig
from edgelane.training.metrics import Metrics, evaluate, predictor

if TYPE_CHECKING:
    from edgelane.training.loop import FitResult, fit, fit_with_history
    from edgelane.training.run import train

__all__ = ["FitResult", "Metrics", "TrainingConfig", "evaluate", "fit", "fit_with_history", "predictor", "train"]


def __getattr__(name: str) -> Any:
    if name in ("fit", "fit_with_history", "FitResult"):
        from edgelane.training import loop

        return getattr(loop, name)
    if name == "train":
        from edgelane.training import run

        return run.train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
