"""How one unit is done: by the verbs train, compress, export and compile; the deployed file is judged."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.compression.deployed import (
    deploy,
    judge,
    level_of_equal_time,
    p50_ms,
    relative_time,
    test_split,
)
from benchmarks.compression.matrix import (
    BUDGET,
    BUDGET_SHARE,
    CHANNEL,
    DENSE,
    INT8,
    REFERENCE,
    REFUSED,
    UNIFORM,
    Unit,
    recipe,
)
from benchmarks.models.make import ROOT
from edgelane.bench.machine import Load
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder, write_bytes

Say = Callable[[str], object]
DONE, FAILED, REFUSAL = "done", "failed", "refused"
CHANNEL_LEVELS = tuple(round(0.02 * step, 2) for step in range(5, 45))
UNIFORM_LEVELS = tuple(round(0.01 * step, 2) for step in range(20, 98))


def folder_of(root: Path, unit: Unit) -> Path:
    """Where the unit's run lies."""
    return root / unit.workload.key / str(unit.seed) / unit.setting.key.replace(":", "-")


def lane_of(root: Path, unit: Unit) -> Path:
    """The deployed file that a unit leaves, but the one that has to be refused."""
    return folder_of(root, unit) / "model.lane"


def do(unit: Unit, root: Path, say: Say) -> dict[str, Any]:
    """The result of the unit as JSON values; what cannot be done is a result too, with its reason."""
    started, cpu, load = time.perf_counter(), time.process_time(), Load()
    try:
        run = folder_of(root, unit)
        found = _train(unit, run) if unit.setting.key == DENSE else _compress(unit, root, run, say)
    except EdgelaneError as error:
        found = {"outcome": FAILED, "reason": str(error)}
    return {
        **found,
        "seed": unit.seed,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "other_processes_cores": load.foreign_cores(),
    }


def _train(unit: Unit, run: Path) -> dict[str, Any]:
    from edgelane.training import TrainingConfig, train

    workload = unit.workload
    unfinished = (run / "checkpoints" / "last.ckpt").exists() and not (run / "model.pt").exists()
    if not unfinished:
        shutil.rmtree(run, ignore_errors=True)
    config = TrainingConfig(**workload.dense, seed=unit.seed, resume=unfinished)
    report = train(
        workload.network,
        workload.data,
        run,
        config=config,
        task=workload.task,
        image_size=workload.image_size,
        width=workload.width,
    )
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "tensorboard")
    return {
        "outcome": DONE,
        "command": _train_command(unit, run),
        "counts": report["data"]["counts"],
        "parameters": report["parameters"],
        "best_epoch": report["best_epoch"],
        **_deployed(run, run / "model.pt"),
    }


def _train_command(unit: Unit, run: Path) -> str:
    workload = unit.workload
    size = "x".join(map(str, workload.image_size))
    options = {"task": workload.task, "data": workload.data, "image_size": size, "width": workload.width}
    options |= {**workload.dense, "seed": unit.seed}
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
    return " ".join(["edgelane train", workload.network, *words, "-o", _relative(run)])


def _compress(unit: Unit, root: Path, run: Path, say: Say) -> dict[str, Any]:
    """Find what the setting leaves to measuring, compress, deploy, judge."""
    from edgelane.compression import compress
    from edgelane.compression.gate import GateError

    make_folder(run)
    model = folder_of(root, _other(unit, DENSE)) / "model.pt"
    if not (run / "model.pt").exists() or not (run / "model.pt").samefile(model):
        (run / "model.pt").unlink(missing_ok=True)
        os.link(model, run / "model.pt")
    found: dict[str, Any] = {}
    if unit.setting.key == BUDGET:
        found["dense_int8_ms"] = p50_ms(lane_of(root, _other(unit, INT8)))
        found["latency_ms"] = round(BUDGET_SHARE * found["dense_int8_ms"], 4)
    elif unit.setting.key in (CHANNEL, UNIFORM):
        found = _equal_time(unit, root, run, say)
    content = recipe(unit, sparsity=found.get("sparsity"), latency_ms=found.get("latency_ms"))
    write_bytes(run / "recipe.yaml", _yaml(content))
    record = {"command": f"edgelane compress {_relative(run)} --recipe {_relative(run / 'recipe.yaml')}", **found}
    try:
        report = compress(run, recipe=run / "recipe.yaml", say=say)
    except GateError as error:
        return {
            "outcome": REFUSAL,
            "reason": str(error),
            "ladder": error.ladder,
            "sensitivity": error.sensitivity,
            "recipe": content,
            **record,
        }
    finally:
        if unit.setting.key == REFUSED:
            shutil.rmtree(run / "compress", ignore_errors=True)
    result = {
        "outcome": DONE,
        **record,
        "recipe": report["recipe"],
        "plan": report["plan"]["sparsity"],
        "predicted_us": report["plan"]["predicted_us"],
        "density": report["totals"]["density"],
        "ladder": report["ladder"],
        "stages": {name: stage["test"]["score"] for name, stage in report["stages"].items()},
        "stage_seconds": {name: stage["seconds"] for name, stage in report["stages"].items()},
        **_deployed(run, model),
    }
    # Checkpoints of the fine-tuning, and the weights that stand in the .lane file too: gigabytes in all.
    shutil.rmtree(run / "compress", ignore_errors=True)
    (run / "compressed.pt").unlink()
    return result


def _deployed(run: Path, model: Path) -> dict[str, Any]:
    return {**deploy(run), **judge(run / "model.lane", test_split(model))}


def _equal_time(unit: Unit, root: Path, run: Path, say: Say) -> dict[str, Any]:
    """The share of channels, or of blocks in every layer, with which an untrained network is as fast as the target."""
    import torch

    from edgelane.checkpoint import Checkpoint
    from edgelane.compression import prune_model, quantize_model
    from edgelane.compression.measure import deploy as deploy_module

    of_channels = unit.setting.key == CHANNEL
    target = lane_of(root, _other(unit, REFERENCE if of_channels else BUDGET))
    model = Checkpoint.load(run / "model.pt").build()
    pictures = torch.randn(2, 3, *unit.workload.image_size, generator=torch.Generator().manual_seed(0))
    pattern = unit.setting.pattern
    assert pattern is not None

    def ratio(level: float) -> float:
        pruned = prune_model(model, level, pattern, example_inputs=pictures[:1])
        int8 = quantize_model(pruned, [pictures], method="minmax")
        with tempfile.TemporaryDirectory() as folder:
            found = relative_time(deploy_module(int8, pictures[:1], Path(folder) / "candidate.lane"), target)
        say(f"{level:.0%} of {pattern} takes {found:.3f} of the target's time")
        return found

    level, measured = level_of_equal_time(ratio, CHANNEL_LEVELS if of_channels else UNIFORM_LEVELS)
    return {"sparsity": level, "relative_times": {f"{key:g}": round(value, 4) for key, value in measured.items()}}


def _other(unit: Unit, key: str) -> Unit:
    return next(need for need in unit.needs() if need.setting.key == key)


def _yaml(content: Mapping[str, Any]) -> bytes:
    import yaml  # type: ignore[import-untyped]

    return bytes(yaml.safe_dump(content, sort_keys=False), "utf-8")


def _relative(path: Path) -> str:
    """As seen from the repository, so that no result names a folder of one machine."""
    return os.path.relpath(path, ROOT)
