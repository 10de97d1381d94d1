"""A network as Lightning trains it: loss, optimiser, schedule, and the figures of every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from edgelane.errors import EdgelaneError
from edgelane.training.config import TrainingConfig
from edgelane.training.distillation import Distiller
from edgelane.training.objective import task_loss, task_scores


class Learner(pl.LightningModule):
    """Wraps `model` ([n, 3, h, w] to what `task_loss` takes for `task`) with everything that training adds to it."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        task: str,
        classes: int,
        weights: Sequence[float] | None,
        distiller: Distiller | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.distiller = distiller
        self._config = config
        self._loss = task_loss(task, config, weights)
        self._validation_loss = task_loss(task)
        self._last_loss: Tensor | None = None
        self.scores = task_scores(task, classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one batch. Raises EdgelaneError when the step before it left the numbers."""
        self._check_last_loss()
        images, labels = batch
        outputs = self.model(images)
        loss = self._loss(outputs, labels)
        if self.distiller is not None:
            imitation = self.distiller(images, outputs, labels)
            self.log(
                "train/distillation", imitation, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True
            )
            loss = loss + imitation
        self._last_loss = loss.detach()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Plain cross-entropy and the scores, without smoothing or class weights."""
        images, labels = batch
        outputs = self.model(images).float()
        self.scores.update(outputs, labels)
        loss = self._validation_loss(outputs, labels)
        self.log("val/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """The last batch of the epoch has no step after it that would look at its loss."""
        self._check_last_loss()

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole split."""
        self.log_dict(self.scores.compute())
        self.scores.reset()

    def _check_last_loss(self) -> None:
        # Looking one step late finds the value long computed: asking at once would make the host wait for the GPU.
        if self._last_loss is not None and not torch.isfinite(self._last_loss):
            raise EdgelaneError(
                f"the training loss became {self._last_loss.item()} in epoch {self.current_epoch + 1}: "
                f"lower the learning rate (now {self._config.learning_rate}), or look for bad values in the data"
            )
        self._last_loss = None

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW or SGD, decay on weights alone; linear warm-up, then a cosine to zero, step by step."""
        config = self._config
        groups = decay_groups(self, config.weight_decay)  # the model's parameters, and those of a distiller's adapters
        optimizer: torch.optim.Optimizer
        if config.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        else:
            optimizer = torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
            )
        per_epoch = int(self.trainer.estimated_stepping_batches) / config.epochs
        steps = max(1, round(per_epoch * (config.decay_epochs or config.epochs)))
        warmup = min(steps - 1, round(per_epoch * config.warmup_epochs))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, warmup, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters in two groups: weights, which decay; and biases and normalisation layers, which do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear up to 1 in `warmup` steps, then a cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))
