"""Train a network, and judge any network: `train` (the verb), `fit` (fine-tuning), `task_loss`, `evaluate`.

Only what is asked for is imported: `TrainingConfig`, `Metrics` and `evaluate` come without torch and Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelane.training.config import TrainingConfig
from edgelane.training.metrics import AnyMetrics, Metrics, SegmentationMetrics, evaluate, predictor

if TYPE_CHECKING:
    from edgelane.training.distillation import Distillation, Distiller
    from edgelane.training.imitation import Heads
    from edgelane.training.loop import FitResult, fit, fit_with_history
    from edgelane.training.objective import task_loss
    from edgelane.training.run import train

__all__ = [
    "AnyMetrics",
    "Distillation",
    "Distiller",
    "FitResult",
    "Heads",
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


_MODULES = {
    "Distillation": "distillation",
    "Distiller": "distillation",
    "FitResult": "loop",
    "Heads": "imitation",
    "fit": "loop",
    "fit_with_history": "loop",
    "task_loss": "objective",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
