"""Gradual pruning inside a Lightning training."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from edgelane.compression.masks import Pruner
from edgelane.errors import EdgelaneError


class PruningCallback(pl.Callback):
    """Calls `Pruner.step` after each optimiser step (accumulated batches count once), and resumes with the training.

    The model must come from `prune_model(..., schedule=...)`.
    """

    def __init__(self) -> None:
        self._pruner: Pruner | None = None
        self._resumed: dict[str, int] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the masks."""
        self._pruner = Pruner(pl_module)
        if self._resumed is not None:
            self._pruner.load_state_dict(self._resumed)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Follow the optimiser."""
        if self._pruner is None:
            raise EdgelaneError("PruningCallback met a training that it did not see start")
        while self._pruner.steps < trainer.global_step:
            self._pruner.step()
        pl_module.log("train/sparsity", self._pruner.sparsity)

    def state_dict(self) -> dict[str, Any]:
        """The position on the schedule."""
        return {} if self._pruner is None else dict(self._pruner.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self._resumed = state_dict or None
        if self._pruner is not None and self._resumed is not None:
            self._pruner.load_state_dict(self._resumed)
