"""`compress`: the verb. From RUN/model.pt to RUN/compressed.pt, RUN/compress.json and RUN/report.html.

Plan, prune and fine-tune, int8 behind the gate, judge, measure, write: each step is a module of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from edgelane._version import __version__
from edgelane.bench.machine import environment
from edgelane.compression import evidence, fine_tune, gate
from edgelane.compression.job import Job
from edgelane.compression.plan import Plan, make_plan
from edgelane.compression.quantization import quantization_scales
from edgelane.compression.rebuild import finalize
from edgelane.compression.recipe import Recipe
from edgelane.compression.recipe_file import make_recipe, recipe_text
from edgelane.compression.record import record_of
from edgelane.extras import missing
from edgelane.files import write_bytes, write_json

if TYPE_CHECKING:
    from edgelane.checkpoint import Checkpoint
    from edgelane.robustness import Saliency


def compress(
    run_dir: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Compress a trained network as the recipe says; write RUN/compressed.pt, RUN/compress.json and RUN/report.html,
    and in RUN/compress the recipe as a file and, where int8 follows it, the pruned float32 network as pruned.pt.

    recipe: a `Recipe`, a recipe file, or the name of a shipped recipe. settings: single settings by "section.name",
    such as {"prune.sparsity": 0.8}, in place of the recipe's or without one. `data` replaces the data that the run was
    trained on. RUN/model.pt may be an earlier compressed.pt, to quantise what was pruned before. A training that was
    stopped goes on where it was. `say` gets one line for each step.
    Returns the content of compress.json, see `edgelane.report.compress`.
    Raises GateError, and writes none of the three, when the result would lose more than the budget allows;
    EdgelaneError for bad settings, a missing or damaged run, and data whose classes are not those of the run.
    """
    job = Job.open(Path(run_dir), make_recipe(settings or {}, recipe), data, say)
    evidence.check_possible(job)
    stages: dict[str, Any] = {}
    _judge(job, stages, job.first_stage, job.before)
    plan = make_plan(job)

    model = pruned = job.before
    if job.recipe.prune is not None:
        started = time.perf_counter()
        model = pruned = fine_tune.prune(job, plan.sparsity)
        _judge(job, stages, "pruned", pruned, since=started)
        gate.check_pruned(job, pruned, lambda: evidence.pruning_sensitivity(job, pruned))
    rungs: list[gate.Rung] = []
    sensitive: list[dict[str, Any]] = []
    if job.recipe.quantize is not None:
        started = time.perf_counter()
        model, rungs, sensitive = gate.choose_int8(job, pruned, lambda: evidence.pruning_sensitivity(job, pruned))
        _judge(job, stages, "int8", model, since=started)
    last = stages[list(stages)[-1]]
    drop = gate.check_final(job, last["test"], rungs, lambda: sensitive or evidence.pruning_sensitivity(job, pruned))

    final = finalize(model)
    report = {
        "edgelane": __version__,
        "model": job.checkpoint.model_name,
        "task": job.checkpoint.task,
        "classes": list(job.checkpoint.classes),
        "recipe": job.recipe.to_dict(),
        "stages": stages,
        "metrics": last["test"],
        "drop": drop.score,
        "worst_class": {"name": drop.worst_class, "drop": drop.class_score},
        "gate": {"max_drop": job.recipe.budget.max_drop, "max_class_drop": job.recipe.budget.max_class_drop},
        "ladder": [rung.to_dict() for rung in rungs],
        "sensitivity": evidence.layer_sensitivity(job, pruned, final, sensitive),
        "plan": plan.to_dict(),
        **evidence.costs(job, final, plan),
        "environment": environment(),
        "commands": [
            f"edgelane compress {job.run} --recipe {job.folder / 'recipe.yaml'}" + (f" --data {data}" if data else ""),
            f"edgelane export {job.run}",
            f"edgelane compile {job.run / 'model.onnx'} -o {job.run / 'model.lane'}",
        ],
        "duration_s": sum(stage["seconds"] for stage in stages.values()),
    }
    if job.recipe.quantize is not None:
        report["scales"] = quantization_scales(final)
    report |= evidence.robustness(job, final)
    maps = evidence.saliency(job, final)
    if maps is not None:
        report["saliency"] = maps.to_dict()
    _write(job, pruned, final, report, maps)
    return report


def plan_only(
    run_dir: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Plan:
    """What `compress` would take from each layer and save, before any training. Writes nothing."""
    return make_plan(Job.open(Path(run_dir), make_recipe(settings or {}, recipe), data, say))


def _judge(job: Job, stages: dict[str, Any], name: str, model: nn.Module, since: float | None = None) -> None:
    seconds = 0.0 if since is None else time.perf_counter() - since
    stages[name] = {"test": job.judge_once(model, "test"), "val": job.judge_once(model, "val"), "seconds": seconds}
    test, validation = (100 * stages[name][split]["score"] for split in ("test", "val"))
    job.say(f"{name}: {test:.2f} points on test, {validation:.2f} on val")


def _write(job: Job, pruned: nn.Module, final: nn.Module, report: dict[str, Any], maps: Saliency | None) -> None:
    result = _checkpoint(job, final, job.recipe, report["metrics"])
    report["kind"] = result.kind
    result.save(job.run / "compressed.pt")
    between = job.folder / "pruned.pt"
    if job.recipe.prune is not None and job.recipe.quantize is not None:
        recipe = replace(job.recipe, quantize=None)
        _checkpoint(job, finalize(pruned), recipe, report["stages"]["pruned"]["test"]).save(between)
    else:
        between.unlink(missing_ok=True)  # an earlier result's
    write_json(job.run / "compress.json", report)
    write_bytes(job.folder / "recipe.yaml", recipe_text(job.recipe).encode())
    pictures = job.folder / "saliency.npz"
    if maps is not None:
        maps.save(pictures)
    else:
        pictures.unlink(missing_ok=True)  # an earlier result's
    try:
        from edgelane.report.compress import write_compress_report
    except ModuleNotFoundError as error:
        job.say(f"no report.html: {missing((error.name or '').split('.')[0])}")
    else:
        write_compress_report(job.run / "report.html", report, model=final, saliency=maps)


def _checkpoint(job: Job, network: nn.Module, recipe: Recipe, metrics: dict[str, Any]) -> Checkpoint:
    record = record_of(network)
    kind = "+".join(name for name, key in (("pruned", "pruning"), ("int8", "quantization")) if key in record)
    return replace(
        job.checkpoint,
        state_dict=network.state_dict(),
        kind=kind or "float",  # type: ignore[arg-type]
        compression={**record, "recipe": recipe.to_dict()},
        metrics={"test": metrics},
    )
