"""The trainings inside `compress`: after pruning, and on the int8 grid. A stopped one goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from edgelane.compression.job import Job
from edgelane.compression.patterns import pattern_named
from edgelane.compression.pruning import prune_model
from edgelane.compression.quantization import quantize_model
from edgelane.compression.recipe import Prune, Quantize
from edgelane.errors import EdgelaneError
from edgelane.files import read_json, write_json

if TYPE_CHECKING:
    from edgelane.training import Distillation, TrainingConfig

TAYLOR_IMAGES = 256
MOVES_PER_EPOCH = 8


def prune(job: Job, sparsity: Mapping[str, float]) -> nn.Module:
    """Prune each layer by its share of `sparsity` as the recipe says, and fine-tune."""
    settings = job.recipe.prune
    assert settings is not None
    train = job.recipe.train
    if not any(sparsity.values()):
        return job.before  # a budget that the dense network meets
    steps = _steps(job, train.batch_size)
    pruned = one_shot(job, sparsity, schedule=_schedule(settings, train.epochs, steps))
    if train.epochs == 0:
        return pruned
    from edgelane.compression.callback import PruningCallback
    from edgelane.compression.masks import masked_layers

    moving = [mask.schedule for _, _, mask in masked_layers(pruned) if mask.schedule is not None]
    still_from = math.ceil(max((schedule.last for schedule in moving), default=0) / steps)
    decay = None
    if settings.schedule == "iterative" and moving:
        decay = train.epochs / (settings.rounds + 1)  # each round is a training of its own
    config = _config(job, train.epochs, train.learning_rate, best_from=min(still_from, train.epochs - 1), decay=decay)
    facts = {"prune": job.recipe.to_dict()["prune"], "train": job.recipe.to_dict()["train"], "sparsity": dict(sparsity)}
    return _fit(job, "prune", pruned, config, facts, [PruningCallback()] if moving else [])


def one_shot(job: Job, sparsity: Mapping[str, float], schedule: Any = None) -> nn.Module:
    """The network with its masks, not trained: final ones, or those that `schedule` begins with."""
    settings = job.recipe.prune
    assert settings is not None
    return prune_model(
        job.before,
        sparsity,
        settings.pattern,
        example_inputs=job.example,
        importance="l1" if settings.importance == "movement" and schedule is None else settings.importance,
        **gradient_data(job),
        schedule=schedule,
        skip=settings.skip,
        include=settings.include,
        permute=settings.permute,
        seed=job.recipe.seed,
    )


def gradient_data(job: Job) -> dict[str, Any]:
    """`batches` and `loss` for an importance that follows from gradients before the training; none for others."""
    from edgelane.training import task_loss

    if job.recipe.prune is None or job.recipe.prune.importance != "taylor":
        return {}
    return {"batches": list(job.labelled_batches(TAYLOR_IMAGES)), "loss": task_loss(job.bundle.task)}


def _schedule(settings: Prune, epochs: int, per_epoch: int) -> Any:
    """The recipe's schedule over the optimiser's steps, None for one shot."""
    from edgelane.compression.schedules import Gradual, Iterative, RigL

    steps = math.ceil(settings.ramp * epochs) * per_epoch
    if steps == 0 or settings.schedule == "oneshot" or pattern_named(settings.pattern).kind == "channel":
        return None
    every = max(1, per_epoch // MOVES_PER_EPOCH)
    if settings.schedule == "gradual":
        return Gradual(steps=steps, every=every)
    if settings.schedule == "iterative":  # the last round, after which nothing more goes, is as long as the others
        return Iterative(settings.rounds, max(1, epochs * per_epoch // (settings.rounds + 1)), rewind=settings.rewind)
    return RigL(steps=steps, every=every)


def quantize(job: Job, model: nn.Module, settings: Quantize) -> nn.Module:
    """int8 as `settings` say, with quantisation-aware training where they ask for epochs of it."""
    quantized = quantize_model(
        model,
        job.calibration_batches(),
        method=settings.calibration,
        skip=settings.float_layers,
        equalize=settings.equalize,
        bias_correction=settings.bias_correction,
        rounding=settings.rounding,
        residual=settings.residual,
    )
    if settings.qat_epochs == 0:
        return quantized
    from edgelane.compression.qat import prepare_qat

    config = _config(job, settings.qat_epochs, settings.qat_learning_rate, best_from=0)
    facts = {
        "quantize": job.recipe.to_dict()["quantize"],
        "rung": str(settings),
        "train": job.recipe.to_dict()["train"],
    }
    return _fit(job, "qat", prepare_qat(quantized), config, facts, [])


def _steps(job: Job, batch_size: int) -> int:
    return math.ceil(len(job.bundle.train) / batch_size)  # type: ignore[arg-type]


def _config(job: Job, epochs: int, learning_rate: float, best_from: int, decay: float | None = None) -> TrainingConfig:
    from edgelane.training import TrainingConfig

    train = job.recipe.train
    return TrainingConfig(
        epochs=epochs,
        batch_size=train.batch_size,
        optimizer=train.optimizer,
        learning_rate=learning_rate,
        weight_decay=train.weight_decay,
        label_smoothing=train.label_smoothing,
        balance=train.balance,
        warmup_epochs=min(1.0, 0.1 * (decay or epochs)),
        decay_epochs=decay,
        seed=job.recipe.seed,
        best_from=best_from,
    )


def _fit(
    job: Job, stage: str, model: nn.Module, config: TrainingConfig, facts: Mapping[str, Any], callbacks: Sequence[Any]
) -> nn.Module:
    """Train, or go on with the training that was stopped, if it was this one."""
    from dataclasses import replace

    from edgelane.training import fit
    from edgelane.training.loop import Interrupted

    folder = job.folder / stage
    identity = job.identity(stage, {**facts, "config": config.to_dict()})
    resume = _was_started(folder, identity)
    write_json(folder / "identity.json", {"identity": identity})
    job.say(
        f"{stage}: {config.epochs} epoch{'s' * (config.epochs > 1)}"
        + (", going on where it was stopped" if resume else "")
    )
    try:
        return fit(
            model,
            job.bundle,
            replace(config, resume=resume),
            folder,
            callbacks=callbacks,
            distillation=_distillation(job),
        )
    except Interrupted as error:
        raise EdgelaneError(f"{stage} {error}; nothing was compressed: run it again to go on") from error


def _was_started(folder: Path, identity: str) -> bool:
    if not (folder / "checkpoints" / "last.ckpt").exists():
        return False
    try:
        return bool(read_json(folder / "identity.json")["identity"] == identity)
    except (EdgelaneError, KeyError, TypeError):
        return False


def _distillation(job: Job) -> Distillation | None:
    """The recipe's teacher and what the network learns from it."""
    settings = job.recipe.train.distill
    if settings is None:
        return None
    from edgelane.checkpoint import Checkpoint
    from edgelane.training import Distillation

    if settings.teacher == "dense":
        teacher = job.before
    else:
        path = Path(settings.teacher)
        checkpoint = Checkpoint.load(path / "model.pt" if path.is_dir() else path)
        if (checkpoint.task, checkpoint.classes) != (job.checkpoint.task, job.checkpoint.classes):
            raise EdgelaneError(
                f"train.distill.teacher: {path} knows {', '.join(checkpoint.classes)} ({checkpoint.task}); "
                f"expected {', '.join(job.checkpoint.classes)} ({job.checkpoint.task})"
            )
        teacher = checkpoint.build()
    return Distillation(
        teacher,
        logits=settings.logits,
        temperature=settings.temperature,
        features=dict(settings.features),
        feature_weight=settings.feature_weight,
    )
