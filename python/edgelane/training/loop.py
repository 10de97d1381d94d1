"""`fit`: train a network on a bundle with Lightning, on one process or on many under torchrun."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from edgelane.checkpoint import read_torch_file
from edgelane.errors import EdgelaneError
from edgelane.tasks import check_trained
from edgelane.training.callbacks import History, Identity, KeepWeights, ProgressBar
from edgelane.training.config import TrainingConfig
from edgelane.training.distillation import Distillation, Distiller
from edgelane.training.loaders import TrainLoader, balance, validation_loader
from edgelane.training.module import Learner
from edgelane.training.objective import main_score

if TYPE_CHECKING:
    from edgelane.data import DataBundle


@dataclass(frozen=True)
class FitResult:
    """What `fit_with_history` returns: the model with its best weights, and how it came there.

    `history`: one row per epoch (losses, validation scores, learning rate, seconds), those before a resume included.
    `precision`: what "auto" chose. `devices`: processes that trained together. `first`: whether this is the one of them
    that writes results.
    """

    model: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    precision: str
    devices: int
    first: bool


class Interrupted(EdgelaneError):
    """Ctrl-C during training; `out`/checkpoints/last.ckpt, where it exists, holds the last whole epoch."""


def fit(
    model: nn.Module,
    bundle: DataBundle,
    config: TrainingConfig,
    out: Path,
    *,
    callbacks: Sequence[pl.Callback] = (),
    distillation: Distillation | None = None,
) -> nn.Module:
    """Train `model` in place and return it in evaluation mode, on the CPU, with the weights of its best epoch.

    Writes `out`/checkpoints (best.pt and last.ckpt) and `out`/tensorboard, replacing those of an earlier run there
    unless `config.resume` continues it. `distillation` adds its loss to the task's. Raises EdgelaneError for a loss
    that is not a number, an empty split, a checkpoint that belongs to another run, a teacher that does not fit, and, as
    Interrupted, Ctrl-C.
    """
    return fit_with_history(model, bundle, config, out, callbacks=callbacks, distillation=distillation).model


def fit_with_history(
    model: nn.Module,
    bundle: DataBundle,
    config: TrainingConfig,
    out: Path,
    *,
    callbacks: Sequence[pl.Callback] = (),
    distillation: Distillation | None = None,
) -> FitResult:
    """`fit`, and what happened in each epoch."""
    check_trained(bundle.task, "data")
    for name in ("train", "val"):
        if len(getattr(bundle, name)) == 0:
            raise EdgelaneError(f"{bundle.name}: the {name} split is empty")
    distiller = None if distillation is None else _attach(distillation, model, bundle, config)
    try:
        return _fit(model, bundle, config, out, callbacks, distiller)
    finally:
        if distiller is not None:
            distiller.close()


def _attach(distillation: Distillation, model: nn.Module, bundle: DataBundle, config: TrainingConfig) -> Distiller:
    distillation.check(bundle)
    example = torch.zeros(1, 3, bundle.preprocessing.height, bundle.preprocessing.width)
    return distillation.attach(model, example, task=bundle.task, seed=config.seed)


def _fit(
    model: nn.Module,
    bundle: DataBundle,
    config: TrainingConfig,
    out: Path,
    callbacks: Sequence[pl.Callback],
    distiller: Distiller | None,
) -> FitResult:
    labels, weights = balance(bundle, config)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    learner = Learner(model, config, bundle.task, len(bundle.classes), weights, distiller)
    keep = KeepWeights(out / "checkpoints", config)
    history = History([*learner.scores.keys(), *(() if distiller is None else ("train/distillation",))])
    identity = {
        "distillation": None if distiller is None else distiller.identity(),
        "task": bundle.task,
        "config": config.to_dict(),
        "classes": list(bundle.classes),
        "data": bundle.name,
        "preprocessing": bundle.preprocessing.to_dict(),
    }
    if config.resume:
        _check_same_run(keep.last_path, identity, config)
    elif int(os.environ.get("RANK", "0")) == 0:
        _clear(keep, out / "tensorboard")

    precision = choose_precision(config.precision)
    bar = ProgressBar(config.epochs, main_score(bundle.task))
    with _quiet():
        try:
            trainer = pl.Trainer(
                max_epochs=config.epochs,
                precision=precision,  # type: ignore[arg-type]
                gradient_clip_val=config.gradient_clip or None,
                callbacks=[history, Identity(identity), bar, *callbacks, keep],
                logger=TensorBoardLogger(out, name="", version="tensorboard"),
                default_root_dir=out,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                use_distributed_sampler=False,
                **_devices(world),
            )
        except MisconfigurationException as error:
            raise EdgelaneError(f"cannot train on these devices: {' '.join(str(error).split())}") from error
        rank = trainer.global_rank
        loader = TrainLoader(
            bundle.train,
            labels,
            config,
            len(bundle.classes),
            lambda: trainer.fit_loop.epoch_progress.current.processed,
            rank,
            world,
        )
        _run(trainer, learner, loader, validation_loader(bundle.val, config, rank, world), keep, config)
        best = read_torch_file(keep.best_path) if trainer.is_global_zero else None
        best = trainer.strategy.broadcast(best)
    model.cpu().load_state_dict(best)
    return FitResult(model.eval(), history.rows, keep.best_epoch, precision, world, trainer.is_global_zero)


def choose_precision(precision: str) -> str:
    """Lightning's name for a TrainingConfig's `precision`.

    "auto" on the CPU takes bfloat16 only where AMX multiplies it: on a Xeon with AMX a training step of ResNet-18 at
    96x96 takes about 0.55 of its float32 time. Raises EdgelaneError for float16 without a GPU.
    """
    if precision == "auto":
        if torch.cuda.is_available():
            return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)  # torch has no public name for it
        return "bf16-mixed" if has_amx() else "32-true"
    if precision == "16-mixed" and not torch.cuda.is_available():
        raise EdgelaneError("precision 16-mixed needs a GPU, and torch sees none: use auto, bf16-mixed or 32")
    return "32-true" if precision == "32" else precision


def _devices(world: int) -> dict[str, Any]:
    """One process takes one device; under torchrun each of its processes takes its own."""
    if world == 1:
        return {"accelerator": "auto", "devices": 1, "num_nodes": 1}
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    return {"accelerator": "auto", "devices": local, "num_nodes": world // local, "strategy": "ddp"}


def _run(
    trainer: pl.Trainer, learner: Learner, train: TrainLoader, val: Any, keep: KeepWeights, config: TrainingConfig
) -> None:
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(learner, train, val, ckpt_path=str(keep.last_path) if config.resume else None)
    except RuntimeError as error:
        if config.resume and "state_dict" in str(error):
            raise EdgelaneError(
                f"{keep.last_path} belongs to another network: {' '.join(str(error).split())[:200]}"
            ) from error
        raise
    except (SystemExit, KeyboardInterrupt) as error:  # Lightning turns Ctrl-C into sys.exit
        done = trainer.fit_loop.epoch_progress.current.processed
        raise Interrupted(f"stopped after {done} of {config.epochs} epochs") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)  # which Lightning set to ignore


def _check_same_run(path: Path, identity: dict[str, Any], config: TrainingConfig) -> None:
    if not path.exists():
        raise EdgelaneError(f"there is nothing to resume: {path} does not exist; start without resume")
    saved = read_torch_file(path)
    earlier = saved.get("edgelane") if isinstance(saved, dict) else None
    if not isinstance(earlier, dict):
        raise EdgelaneError(f"{path} is not a checkpoint of edgelane's training")
    # What runs were before there was anything else.
    earlier = {"task": "classification", "distillation": None, **earlier}
    for name in ("data", "task", "classes", "preprocessing", "distillation"):
        if earlier.get(name) != identity[name]:
            raise EdgelaneError(
                f"cannot resume: {name} was {earlier.get(name)} and is now {identity[name]}; start a new run"
            )
    config.check_resumable(earlier["config"])


def _clear(keep: KeepWeights, logs: Path) -> None:
    """Remove what an earlier run left, so that neither its weights nor its curves are taken for the new one's."""
    try:
        for path in (keep.best_path, keep.last_path, *logs.glob("events.out.tfevents.*")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EdgelaneError(f"cannot remove {error.filename} of an earlier run: {error.strerror}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No banners, no advice about workers: only edgelane's progress bar speaks. Real problems are exceptions."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
