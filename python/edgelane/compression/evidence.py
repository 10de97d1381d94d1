"""What speaks for the result, and against it: costs before and after, layer by layer, and how it does beyond the test
split.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from edgelane.compression.damage import pruning_damage
from edgelane.compression.describe import describe
from edgelane.compression.job import Job, plain_batches
from edgelane.compression.masks import masked_layers
from edgelane.compression.measure import Timing, measure
from edgelane.compression.plan import DAMAGE_IMAGES, TOLERANCE, Plan
from edgelane.compression.quantization import check_quantizable
from edgelane.compression.recipe import Budget
from edgelane.compression.sensitivity import sensitivity
from edgelane.extras import missing

if TYPE_CHECKING:
    from edgelane.robustness import Saliency


def check_possible(job: Job) -> None:
    """Raise EdgelaneError for what would otherwise fail only after the training: conditions, attacks and layers that
    there are not, a network that cannot be int8, and packages that are missing.
    """
    from edgelane.robustness import attacks, conditions

    conditions.choose(job.recipe.judge.conditions)
    attacks.choose(job.recipe.judge.attacks)
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise missing(package)
    if job.recipe.quantize is not None:
        check_quantizable(job.before, job.recipe.quantize.float_layers)


def pruning_sensitivity(job: Job, model: nn.Module) -> list[dict[str, Any]]:
    """One row per pruned layer, worst first: what its mask alone does to the outputs of the network before."""
    masks = {name: mask.mask.detach().cpu() for name, _, mask in masked_layers(model)}
    masks = {name: mask for name, mask in masks.items() if _fits(job.before, name, mask)}
    if not masks:
        return []
    batches = plain_batches(job.bundle, DAMAGE_IMAGES, job.recipe.seed)
    damage = pruning_damage(job.before, batches, {name: _always(mask) for name, mask in masks.items()}, [1.0])
    rows = [{"name": name, "damage": row[1.0]} for name, row in damage.items()]
    return sorted(rows, key=lambda row: -float(row["damage"]))  # type: ignore[arg-type]


def layer_sensitivity(
    job: Job, pruned: nn.Module, final: nn.Module, known: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One row per layer: "damage" as in `pruning_sensitivity`, worst first, and of int8 layers "sqnr_db", the signal to
    noise of the outputs when that layer alone is int8, with the points lost, "drop", where the gate has looked
    (`known`).
    """
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in pruning_sensitivity(job, pruned)}
    if job.recipe.quantize is not None and not known:
        known = [row.to_dict() for row in sensitivity(final, None, plain_batches(job.bundle, DAMAGE_IMAGES, 0))]
    for row in known:
        found = {key: row[key] for key in ("drop", "sqnr_db") if row[key] is not None}
        rows.setdefault(row["name"], {"name": row["name"]}).update(found)
    return list(rows.values())


def _always(mask: Any) -> Callable[[float], Any]:
    return lambda level: mask


def _fits(model: nn.Module, name: str, mask: Any) -> bool:
    module: Any = dict(model.named_modules()).get(name)
    return module is not None and module.weight.shape == mask.shape


def costs(job: Job, final: nn.Module, plan: Plan) -> dict[str, Any]:
    """MACs, parameters, bytes and time, whole and by layer, before and after."""
    before, after = describe(job.before, job.example), describe(final, job.example)
    job.say("measuring before and after on one thread")
    timing = measure({"before": job.before, "after": final}, job.example)
    predicted = {row["name"]: row for row in plan.rows}
    first = {row["name"]: row for row in before.layers}
    layers = [
        {
            **row,
            "dense_macs": first[row["name"]]["dense_macs"],
            "predicted_us": predicted.get(row["name"], {}).get("predicted_us"),
            "overtakes_at": predicted.get(row["name"], {}).get("overtakes_at"),
            "measured_us": timing["after"].layers_us.get(row["name"]),
            "before_us": timing["before"].layers_us.get(row["name"]),
        }
        for row in after.layers
    ]
    return {
        "over_budget": over_budget(job.recipe.budget, timing["after"]),
        "layers": layers,
        "totals": {**after.totals, **timing["after"].to_dict()},
        "before_totals": {**before.totals, **timing["before"].to_dict()},
        "timing_warnings": list(timing["after"].warnings),
    }


def over_budget(budget: Budget, timing: Timing) -> list[str]:
    """What of the recipe's milliseconds and megabytes the result exceeds, in words: layers that the gate left in
    float32 take more than was planned, and so may other zeros than those of the untrained network.
    """
    found = []
    if budget.latency_ms is not None and timing.p50_ms > budget.latency_ms * (1 + TOLERANCE):
        found.append(f"it takes {timing.p50_ms:.3f} ms, {budget.latency_ms:g} were allowed")
    if budget.size_mb is not None and timing.bytes > 1e6 * budget.size_mb:
        found.append(f"its file has {timing.bytes / 1e6:.2f} MB, {budget.size_mb:g} were allowed")
    return found


def robustness(job: Job, final: nn.Module) -> dict[str, Any]:
    """The comparison under the conditions and attacks that the recipe names; nothing where it names none."""
    from edgelane.robustness import attacks, conditions, judge

    settings = job.recipe.judge
    if not settings.conditions and not settings.attacks:
        return {}
    circumstances = len(conditions.choose(settings.conditions)), len(attacks.choose(settings.attacks))
    job.say("judging both under {} image conditions and {} attacks".format(*circumstances))
    found = judge(
        {job.first_stage: job.before, "compressed": final},
        job.bundle,
        conditions=settings.conditions,
        attacks=settings.attacks,
        limit=settings.images,
        seed=job.recipe.seed,
    )
    return {"robustness": found.to_dict()}


def saliency(job: Job, final: nn.Module) -> Saliency | None:
    """Where both look, on as many pictures as the recipe says; None for none."""
    if job.recipe.judge.saliency == 0:
        return None
    from edgelane.robustness import saliency as explain

    job.say("comparing where both look")
    models = {job.first_stage: job.before, "compressed": final}
    return explain(models, job.bundle, count=job.recipe.judge.saliency)
