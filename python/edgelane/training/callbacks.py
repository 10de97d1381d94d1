"""What happens around the epochs: history, best and last weights, early stopping, the progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgelane.checkpoint import write_torch_file
from edgelane.errors import EdgelaneError
from edgelane.training.config import TrainingConfig

_STEPS_PER_TEXT = 10  # reading the loss makes the host wait for the GPU, which it should not do at every step


class History(Callback):
    """One row per finished epoch, the losses and the named `figures`; travels with the checkpoint."""

    def __init__(self, figures: Sequence[str]) -> None:
        self._figures = ("train/loss", "val/loss", *figures)
        self.rows: list[dict[str, float]] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row."""
        figures = {name.replace("/", "_"): float(trainer.callback_metrics[name]) for name in self._figures}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.loggers:
            trainer.loggers[0].log_metrics({"learning_rate": rate}, step=trainer.global_step)
        seconds = time.perf_counter() - self._started
        self.rows.append({"epoch": trainer.current_epoch, **figures, "learning_rate": rate, "seconds": seconds})

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows of the run that is resumed."""
        self.rows = list(state_dict["rows"])


class KeepWeights(Checkpoint):
    """Keeps the weights of the best epoch (lowest validation loss) in best.pt and the whole last state in last.ckpt.

    Best means from `config.best_from` on. After `config.patience` epochs without a better one, training stops.
    A `Checkpoint` to Lightning, which therefore calls it after all other callbacks and saves their newest state.
    """

    def __init__(self, folder: Path, config: TrainingConfig) -> None:
        self._folder = folder
        self._config = config
        self.best_epoch = -1
        self.best_loss = math.inf

    @property
    def best_path(self) -> Path:
        """The wrapped model's state dict at the best epoch."""
        return self._folder / "best.pt"

    @property
    def last_path(self) -> Path:
        """Lightning's checkpoint after the last finished epoch: weights, optimiser, schedule, loops, callbacks."""
        return self._folder / "last.ckpt"

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and stop when patience is at its end. Raises EdgelaneError when the validation loss is not a number."""
        loss = float(trainer.callback_metrics["val/loss"])
        epoch = trainer.current_epoch
        if not math.isfinite(loss):
            raise EdgelaneError(f"the validation loss became {loss} in epoch {epoch + 1}: lower the learning rate")
        if epoch >= self._config.best_from:
            if loss < self.best_loss:
                self.best_loss, self.best_epoch = loss, epoch
                if trainer.is_global_zero:
                    write_torch_file(self.best_path, pl_module.model.state_dict())
            elif self._config.patience and epoch - self.best_epoch >= self._config.patience:
                trainer.should_stop = True
        # Through a temporary name: a crash in the middle of writing must not cost the run the state it resumes from.
        temporary = self.last_path.with_suffix(".part")
        try:
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                temporary.replace(self.last_path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise EdgelaneError(f"cannot write {self.last_path}: {error.strerror or error}") from error

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far."""
        return {"best_epoch": self.best_epoch, "best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best epoch of the run that is resumed."""
        self.best_epoch, self.best_loss = state_dict["best_epoch"], state_dict["best_loss"]


class Identity(Callback):
    """Puts what the run is (settings, classes, data) into its checkpoint, for `fit` to compare when it resumes."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self._identity = identity

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the entry."""
        checkpoint["edgelane"] = self._identity


class ProgressBar(Callback):
    """One bar on standard error for the whole run, with the loss of the step and the `score` of the last epoch."""

    def __init__(self, epochs: int, score: str = "accuracy") -> None:
        self._epochs = epochs
        self._score = score
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._last = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, on the first process only."""
        if not trainer.is_global_zero:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True))
        total = self._epochs * int(trainer.num_training_batches)
        self._task = self._bar.add_task("training", total=total, completed=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by a step."""
        if self._bar is None:
            return
        self._bar.advance(self._task)
        if batch_idx % _STEPS_PER_TEXT == 0:
            epoch = f"epoch {trainer.current_epoch + 1}/{self._epochs}"
            self._bar.update(self._task, description=f"{epoch}  loss {float(outputs['loss']):.3f}{self._last}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the score to show."""
        value = float(trainer.callback_metrics[f"val/{self._score}"])
        self._last = f"  {self._score.replace('_', ' ')} {value:.1%}"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it stands."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back before the error is shown."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
