"""The settings of a training run, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from edgelane.errors import EdgelaneError

Optimizer = Literal["adamw", "sgd"]
Precision = Literal["auto", "32", "16-mixed", "bf16-mixed"]
Balance = Literal["none", "sampling", "loss"]

# Settings that may differ between a run and its continuation; all others would make it another run.
_FREE_ON_RESUME = ("epochs", "patience", "workers", "resume")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The defaults suit a small network from random weights; see each field.

    Raises EdgelaneError when a value is out of its range.
    """

    epochs: int = 30
    batch_size: int = 32
    """Items per step and process, so that n processes take n times as many. Batches differ by at most one item."""
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    """The peak, reached after the warm-up; a cosine then leads it to zero. SGD wants about 0.05."""
    weight_decay: float = 0.05
    """Not applied to biases and normalisation layers. SGD wants about 5e-4."""
    momentum: float = 0.9
    """SGD only, in Nesterov's form."""
    warmup_epochs: float = 2.0
    decay_epochs: float | None = None
    """Epochs, warm-up included, until the cosine is at zero; None takes all. Iterative pruning starts it anew."""
    gradient_clip: float = 1.0
    """Largest norm of all gradients together; 0 leaves them alone."""
    label_smoothing: float = 0.1
    balance: Balance = "none"
    """For rare classes: "sampling" draws all classes equally often, "loss" weighs each by the inverse of its share."""
    precision: Precision = "auto"
    """"auto": mixed bfloat16 (else float16) on a GPU and on CPUs with AMX, otherwise float32."""
    patience: int = 0
    """Stop when the validation loss has not improved for this many epochs; 0 never stops early."""
    best_from: int = 0
    """First epoch, from 0, whose weights may become the best. A gradual pruning schedule sets it to its own end."""
    workers: int | None = None
    """Processes that load data; None chooses by the machine."""
    seed: int = 0
    resume: bool = False
    """Continue from the last checkpoint in the output folder."""

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", Optimizer), ("precision", Precision), ("balance", Balance)):
            if getattr(self, name) not in get_args(choices):
                raise EdgelaneError(
                    f"{name}: expected one of {', '.join(get_args(choices))}, found {getattr(self, name)!r}"
                )
        for name, lowest in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("best_from", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise EdgelaneError(f"{name}: expected a whole number from {lowest} up, found {value!r}")
        if self.workers is not None and self.workers < 0:
            raise EdgelaneError(f"workers: expected 0 or more, found {self.workers}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise EdgelaneError(f"learning_rate: expected a positive number, found {self.learning_rate}")
        for name in ("weight_decay", "warmup_epochs", "gradient_clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise EdgelaneError(f"{name}: expected 0 or more, found {getattr(self, name)}")
        if self.decay_epochs is not None and not 0 < self.decay_epochs <= self.epochs:
            raise EdgelaneError(
                f"decay_epochs: expected above 0 up to epochs = {self.epochs}, found {self.decay_epochs}"
            )
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise EdgelaneError(f"{name}: expected a number from 0 to below 1, found {getattr(self, name)}")
        if self.best_from >= self.epochs:
            raise EdgelaneError(f"best_from: expected an epoch below epochs = {self.epochs}, found {self.best_from}")

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return asdict(self)

    def check_resumable(self, earlier: dict[str, Any]) -> None:
        """Raise EdgelaneError when a run with the settings `earlier` (a `to_dict`) cannot continue with these."""
        for field in fields(self):
            if field.name in _FREE_ON_RESUME or field.name not in earlier:
                continue
            now, then = getattr(self, field.name), earlier[field.name]
            if now != then:
                raise EdgelaneError(
                    f"cannot resume: {field.name} was {then} and is now {now}; use {then}, or start a new run"
                )
