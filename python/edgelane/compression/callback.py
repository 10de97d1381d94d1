"""Pruning inside a Lightning training."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from edgelane.compression.masks import masked_layers, stored_weight
from edgelane.compression.pruner import Pruner
from edgelane.errors import EdgelaneError


class PruningCallback(pl.Callback):
    """Lets a `Pruner` follow the training's optimiser, and resumes with the training.

    The model must come from `prune_model(..., schedule=...)`. `Iterative` rewinds the learning rate's scheduler.
    """

    def __init__(self) -> None:
        self._pruner: Pruner | None = None
        self._resumed: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the masks, the optimiser that trains them and its learning rate's scheduler."""
        masked = {id(stored_weight(layer)) for _, layer, _ in masked_layers(pl_module)}

        def trains_them(optimizer: Any) -> bool:
            return any(id(parameter) in masked for group in optimizer.param_groups for parameter in group["params"])

        optimizer = next((entry for entry in trainer.optimizers if trains_them(entry)), None)
        if masked and optimizer is None:
            raise EdgelaneError("PruningCallback: no optimiser of the training holds a masked weight")
        schedulers = [entry.scheduler for entry in trainer.lr_scheduler_configs]
        scheduler = next((entry for entry in schedulers if entry.optimizer is optimizer), None)
        self._pruner = Pruner(pl_module, optimizer, scheduler)
        if self._resumed is not None:
            self._pruner.load_state_dict(self._resumed)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the sparsity."""
        if self._pruner is None:
            raise EdgelaneError("PruningCallback met a training that it did not see start")
        pl_module.log("train/sparsity", self._pruner.sparsity)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the optimiser alone."""
        self._release()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the optimiser alone."""
        self._release()

    def _release(self) -> None:
        if self._pruner is not None:
            self._pruner.remove()

    def state_dict(self) -> dict[str, Any]:
        """The position on the schedule, scores and what is remembered."""
        return {} if self._pruner is None else self._pruner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self._resumed = state_dict or None
        if self._pruner is not None and self._resumed is not None:
            self._pruner.load_state_dict(self._resumed)
