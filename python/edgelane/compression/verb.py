"""`compress`: the verb. From RUN/model.pt to RUN/compressed.pt and RUN/compress.json."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgelane._version import __version__
from edgelane.compression.describe import Description, describe
from edgelane.compression.pruning import choose_layers, prune_model
from edgelane.compression.quantization import quantization_scales, quantize_model
from edgelane.compression.rebuild import finalize
from edgelane.compression.recipe import Recipe, make_recipe
from edgelane.compression.record import record_of
from edgelane.compression.schedules import Gradual
from edgelane.errors import EdgelaneError
from edgelane.files import write_json

if TYPE_CHECKING:
    from edgelane.checkpoint import Checkpoint
    from edgelane.data import DataBundle

CALIBRATION_BATCH = 32


def compress(
    run_dir: str | os.PathLike[str],
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
    int8: bool = False,
    epochs: int | None = None,
    recipe: str | os.PathLike[str] | None = None,
    data: str | None = None,
) -> dict[str, Any]:
    """Prune with fine-tuning, quantise with calibration, or both; write RUN/compressed.pt and RUN/compress.json.

    Settings are those of `Recipe`, as arguments or in the JSON or YAML file `recipe`. `data` replaces the data that the
    run was trained on. RUN/model.pt may be an earlier compressed.pt, to quantise what was pruned before.
    Returns the content of compress.json: "settings", "metrics" of the result, "stages" (the metrics
    of the dense, pruned and int8 network on the same test split, with seconds), "layers" and "totals" (MACs, parameters
    and density, see `describe`), "dense_totals", "kept_dense" (why a layer was not pruned).
    Raises EdgelaneError for bad settings, a missing or damaged run, and data whose classes are not those of the run.
    """
    from edgelane.checkpoint import Checkpoint

    settings = make_recipe({"sparsity": sparsity, "pattern": pattern, "int8": int8 or None, "epochs": epochs}, recipe)
    run = Path(run_dir)
    checkpoint = Checkpoint.load(run / "model.pt")
    model = checkpoint.build()
    bundle = _load_data(checkpoint, data)
    example = torch.zeros(1, 3, checkpoint.preprocessing.height, checkpoint.preprocessing.width)
    dense = describe(model, example)
    stages: dict[str, Any] = {}
    kept_dense: list[dict[str, str]] = []

    first = "dense" if checkpoint.kind == "float" else "before"
    _judge(stages, first, model, bundle)
    if settings.sparsity is not None:
        choices = choose_layers(
            model, settings.pattern, example_inputs=example, skip=settings.skip, include=settings.include
        )
        kept_dense = [{"name": choice.name, "reason": choice.reason} for choice in choices if choice.reason]
        started = time.perf_counter()
        model = _prune(model, bundle, settings, example, run)
        _judge(stages, "pruned", model, bundle, since=started)
    if settings.int8:
        started = time.perf_counter()
        model = quantize_model(
            model,
            calibration_batches(bundle, settings.calibration_images, settings.seed),
            method=settings.calibration,
            skip=settings.float_layers,
        )
        _judge(stages, "int8", model, bundle, since=started)

    final = finalize(model)
    described = describe(final, example)
    record = record_of(final)
    kind = "+".join(name for name, key in (("pruned", "pruning"), ("int8", "quantization")) if key in record)
    last = list(stages)[-1]
    replace(
        checkpoint,
        state_dict=final.state_dict(),
        kind=kind,  # type: ignore[arg-type]
        compression=record,
        metrics={"test": stages[last]["test"]},
    ).save(run / "compressed.pt")
    report = _report(settings, kind, stages, described, dense, kept_dense)
    if settings.int8:
        report["scales"] = quantization_scales(final)
    write_json(run / "compress.json", report)
    return report


def _load_data(checkpoint: Checkpoint, data: str | None) -> DataBundle:
    from edgelane.data import load

    if data is None:
        bundle = checkpoint.load_data()
    else:
        size = (checkpoint.preprocessing.height, checkpoint.preprocessing.width)
        bundle = load(data, task=checkpoint.task, image_size=size)
    if bundle.classes != checkpoint.classes:
        raise EdgelaneError(
            f"{bundle.name} has the classes {', '.join(bundle.classes)}; "
            f"the run was trained on {', '.join(checkpoint.classes)}"
        )
    return bundle


def _judge(stages: dict[str, Any], name: str, model: nn.Module, bundle: DataBundle, since: float | None = None) -> None:
    from edgelane.training import evaluate, predictor

    seconds = 0.0 if since is None else time.perf_counter() - since
    metrics = evaluate(predictor(model), bundle.test, bundle.classes)
    stages[name] = {"test": metrics.to_dict(), "seconds": seconds}


def _prune(model: nn.Module, bundle: DataBundle, settings: Recipe, example: Tensor, run: Path) -> nn.Module:
    """Prune, gradually where the pattern allows it, and fine-tune."""
    from edgelane.training import TrainingConfig, fit
    from edgelane.training.loop import Interrupted

    assert settings.sparsity is not None
    channel = settings.pattern == "channel"
    per_epoch = math.ceil(len(bundle.train) / settings.batch_size)  # type: ignore[arg-type]
    ramp_epochs = 0 if channel else math.ceil(settings.ramp * settings.epochs)
    schedule = Gradual(steps=ramp_epochs * per_epoch, every=max(1, per_epoch // 8)) if ramp_epochs else None
    pruned = prune_model(
        model,
        settings.sparsity,
        settings.pattern,
        example_inputs=example,
        schedule=schedule,
        skip=settings.skip,
        include=settings.include,
    )
    if settings.epochs == 0:
        return pruned
    from edgelane.compression.callback import PruningCallback

    config = TrainingConfig(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,  # type: ignore[arg-type]  # TrainingConfig checks it
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        label_smoothing=settings.label_smoothing,
        balance=settings.balance,  # type: ignore[arg-type]
        warmup_epochs=min(1.0, 0.1 * settings.epochs),
        seed=settings.seed,
        best_from=min(ramp_epochs, settings.epochs - 1),
    )
    callbacks = [] if schedule is None else [PruningCallback()]
    try:
        return fit(pruned, bundle, config, run / "compress", callbacks=callbacks)
    except Interrupted as error:
        raise EdgelaneError(f"fine-tuning {error}; nothing was compressed: run it again") from error


def calibration_batches(bundle: DataBundle, count: int, seed: int) -> Iterator[Tensor]:
    """`count` training images, chosen by `seed`, as the network sees them in deployment: without augmentation."""
    records: list[Any] = bundle.train.records  # type: ignore[attr-defined]
    order = torch.randperm(len(records), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    for start in range(0, len(order), CALIBRATION_BATCH):
        images = [bundle.train.image(index) for index in order[start : start + CALIBRATION_BATCH]]  # type: ignore[attr-defined]
        yield torch.stack([torch.from_numpy(bundle.preprocessing.apply(image)) for image in images])


def _report(
    settings: Recipe,
    kind: str,
    stages: dict[str, Any],
    described: Description,
    dense: Description,
    kept_dense: list[dict[str, str]],
) -> dict[str, Any]:
    last = list(stages)[-1]
    return {
        "edgelane": __version__,
        "kind": kind,
        "settings": settings.to_dict(),
        "metrics": stages[last]["test"],
        "accuracy_lost": next(iter(stages.values()))["test"]["score"] - stages[last]["test"]["score"],
        "stages": stages,
        "totals": described.totals,
        "dense_totals": dense.totals,
        "layers": described.layers,
        "kept_dense": kept_dense,
        "duration_s": sum(stage["seconds"] for stage in stages.values()),
    }
