"""`train`: the verb. From a model's name and a data set's name to RUN/model.pt and RUN/train.json."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgelane import models
from edgelane._version import __version__
from edgelane.checkpoint import Checkpoint
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder, write_json
from edgelane.tasks import check_trained
from edgelane.training.config import TrainingConfig
from edgelane.training.loop import FitResult, Interrupted, fit_with_history
from edgelane.training.metrics import evaluate, predictor

if TYPE_CHECKING:
    from edgelane.data import DataBundle


def train(
    model_name: str,
    data: str,
    out: Path,
    *,
    config: TrainingConfig | None = None,
    task: str = "classification",
    image_size: int | tuple[int, int] = 96,
    pretrained: bool = False,
    width: float = 1.0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Train `model_name` on `data` and write `out`/model.pt and `out`/train.json, whose content is returned.

    `data`, `image_size` (pixels, or height and width) and `limit` are those of `edgelane.data.load`; `pretrained` and
    `width` those of `edgelane.models.create`. Under torchrun every process trains and the first one writes; the others
    return an empty dict.
    Raises EdgelaneError for everything `fit` names, and when `out` already holds a run and `config.resume` is off.
    """
    from edgelane.data import catalog, load

    out = Path(out)
    config = config or TrainingConfig()
    check_trained(task, "a task")
    held = [path for path in (out / "model.pt", out / "checkpoints" / "last.ckpt") if path.exists()]
    if held and not config.resume:
        raise EdgelaneError(
            f"{held[0]} exists already: continue that run with --resume, or choose another folder with -o"
        )
    options: dict[str, Any] = {"seed": config.seed, "limit": limit}
    bundle = load(data, task=task, image_size=image_size, **options)
    torch.manual_seed(config.seed)
    model = models.create(
        model_name, len(bundle.classes), task=task, pretrained=pretrained and not config.resume, width=width
    )
    _check_takes(model, model_name, bundle)
    if not config.resume:
        make_folder(out)  # before the first epoch, not after the last
    try:
        result = fit_with_history(model, bundle, config, out)
    except Interrupted as error:
        last = out / "checkpoints" / "last.ckpt"
        raise Interrupted(
            f"{error}; {'continue with --resume' if last.exists() else 'nothing was saved yet'}"
        ) from error
    if not result.first:
        return {}
    checkpoint = Checkpoint(
        model_name=model_name,
        classes=bundle.classes,
        preprocessing=bundle.preprocessing,
        data=data if data in catalog.names() else str(Path(data).expanduser().absolute()),
        data_options=options,
        model_options={} if width == 1 else {"width": width},
        task=task,
        state_dict=result.model.state_dict(),
        metrics=_judge(result.model, bundle),
    )
    checkpoint.save(out / "model.pt")
    report = _report(result, bundle, checkpoint, config)
    write_json(out / "train.json", report)
    return report


def _check_takes(model: nn.Module, model_name: str, bundle: DataBundle) -> None:
    """Raise EdgelaneError when the network cannot take pictures of this size, before anything else is done."""
    height, width = bundle.preprocessing.height, bundle.preprocessing.width
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, height, width))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise EdgelaneError(
            f"{model_name} cannot take pictures of {height}x{width}: {reason}; choose another image size"
        ) from error
    model.train()


def _judge(model: nn.Module, bundle: DataBundle) -> dict[str, Any]:
    """The metrics on val and test, computed in float32 whatever the precision of training was."""
    on_device = model.to("cuda" if torch.cuda.is_available() else "cpu")
    splits = {"val": bundle.val, "test": bundle.test}
    metrics = {name: evaluate(predictor(on_device), split, bundle.classes).to_dict() for name, split in splits.items()}
    model.cpu()
    return metrics


def _report(result: FitResult, bundle: DataBundle, checkpoint: Checkpoint, config: TrainingConfig) -> dict[str, Any]:
    """What train.json holds."""
    return {
        "edgelane": __version__,
        "task": checkpoint.task,
        "model": checkpoint.model_name,
        "model_options": checkpoint.model_options,
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "data": {
            "source": checkpoint.data,
            "name": bundle.name,
            **checkpoint.data_options,
            "classes": list(bundle.classes),
            "image_size": [bundle.preprocessing.height, bundle.preprocessing.width],
            "counts": {split: len(getattr(bundle, split)) for split in ("train", "val", "test")},
            "skipped": dict(bundle.skipped),
            "skipped_examples": {reason: list(names) for reason, names in bundle.skipped_examples.items()},
        },
        "config": replace(config, resume=False).to_dict(),
        "precision": result.precision,
        "best_epoch": result.best_epoch,
        "history": result.history,
        "metrics": checkpoint.metrics,
        "duration_s": sum(row["seconds"] for row in result.history),
        "environment": _environment(result.devices),
    }


def _environment(devices: int) -> dict[str, Any]:
    import lightning
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": lightning.__version__,
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": devices,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
