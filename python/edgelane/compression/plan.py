"""Before any training: how much goes from each layer, and what that will save on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edgelane.compression import fine_tune
from edgelane.compression.allocation import allocate
from edgelane.compression.damage import pruning_damage
from edgelane.compression.importance import magnitude
from edgelane.compression.job import Job, plain_batches
from edgelane.compression.layers import covers
from edgelane.compression.measure import measure
from edgelane.compression.patterns import Pattern, keep_mask, pattern_named
from edgelane.compression.pruning import choose_layers
from edgelane.compression.quantization import quantize_model
from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgelane.latency import LatencyModel, Network, PlanTable

# Of a layer's weights: what the solver may choose from. Nothing pays below a third, little is left above 0.97.
LEVELS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
DAMAGE_IMAGES = 64
# The solver's budget is corrected by what an untrained network of its plan really takes.
CORRECTIONS = 4
TOLERANCE = 0.02


@dataclass(frozen=True)
class Plan:
    """`sparsity`: by pruned layer. `kept_dense`: the others, {"name", "reason"}. `rows`: by layer, see
    `edgelane.latency.PlanRow`; empty where this CPU has not been calibrated, which `note` then says.
    `dense_us`, `predicted_us`: the whole network, dense float32 and under the plan. `damage`: by pruned layer, the
    share of the outputs' energy that pruning it alone disturbs; empty unless a budget asked for it.
    """

    sparsity: dict[str, float]
    kept_dense: list[dict[str, str]]
    rows: list[dict[str, Any]]
    dense_us: float | None
    predicted_us: float | None
    damage: dict[str, float]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "sparsity": self.sparsity,
            "kept_dense": self.kept_dense,
            "rows": self.rows,
            "dense_us": self.dense_us,
            "predicted_us": self.predicted_us,
            "damage": self.damage,
            "note": self.note,
        }


def make_plan(job: Job) -> Plan:
    """The recipe's plan. Raises EdgelaneError for a budget that cannot be met or a CPU that has not been calibrated."""
    settings = job.recipe.prune
    if settings is None:
        return _described(job, {}, [], {})
    choices = choose_layers(
        job.before, settings.pattern, example_inputs=job.example, skip=settings.skip, include=settings.include
    )
    kept = [{"name": choice.name, "reason": choice.reason} for choice in choices if choice.reason]
    if settings.allocation == "latency":
        sparsity, damage = _within_budget(job, [choice.name for choice in choices if not choice.reason])
        return _described(job, sparsity, kept, damage)
    pattern = pattern_named(settings.pattern)
    sparsity = allocate(
        job.before,
        pattern.share if settings.sparsity is None else settings.sparsity,
        settings.pattern,
        allocation=settings.allocation,
        example_inputs=job.example,
        importance="l1" if settings.importance == "movement" else settings.importance,
        **fine_tune.gradient_data(job),
        skip=settings.skip,
        include=settings.include,
        seed=job.recipe.seed,
    )
    return _described(job, sparsity, kept, {})


def _within_budget(job: Job, layers: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """The sparsities that disturb the outputs least within the budget, and how much each layer's does."""
    from edgelane.latency import LatencyModel, LayerPlan, network, solve

    settings, budget = job.recipe.prune, job.recipe.budget
    assert settings is not None
    pattern = pattern_named(settings.pattern)
    model = LatencyModel.load()
    steps = network(job.before, job.example)
    masks = {name: partial(_mask, job.before, name, pattern) for name in layers}
    job.say(f"plan: what pruning each of {len(layers)} layers does to the outputs")
    damage = pruning_damage(job.before, plain_batches(job.bundle, DAMAGE_IMAGES, job.recipe.seed), masks, LEVELS)
    fixed = {name: LayerPlan() for name in steps.layers if _stays_float(job, name)}

    def plan_for(budget_us: float | None) -> dict[str, float]:
        plan = solve(
            model,
            steps,
            budget_us,
            (settings.pattern,),
            _dtype(job),
            lambda name, _, sparsity: -damage[name][sparsity] if name in damage else 0.0,
            layers=[name for name in layers if name not in fixed],
            fixed=fixed,
            sparsities=LEVELS[1:],
            size_mb=budget.size_mb,
        )
        return {name: plan[name].sparsity for name in layers}

    latency = budget.latency_ms
    sparsity = plan_for(None) if latency is None else _as_measured(job, plan_for, 1e3 * latency)
    return sparsity, {name: damage[name][level] for name, level in sparsity.items()}


def _as_measured(job: Job, plan_for: Callable[[float], dict[str, float]], wanted_us: float) -> dict[str, float]:
    """The plan that takes what is wanted when it is measured: the predicted budget is moved until it does.

    Raises EdgelaneError where no plan does.
    """
    allowed, held, fastest = wanted_us, None, float("inf")
    for _ in range(CORRECTIONS):
        sparsity = plan_for(allowed)
        taken = _untrained_us(job, sparsity)
        job.say(f"plan: for {allowed / 1e3:.3f} ms predicted, an untrained network takes {taken / 1e3:.3f} ms")
        fastest = min(fastest, taken)
        if taken <= wanted_us * (1 + TOLERANCE) and (held is None or taken > held[0]):
            held = taken, sparsity
            if taken >= wanted_us * (1 - TOLERANCE) or not any(sparsity.values()):
                break
        allowed *= wanted_us / taken
    if held is None:
        raise EdgelaneError(
            f"no plan holds {wanted_us / 1e3:g} ms when measured: the nearest takes {fastest / 1e3:.3f} ms; allow more"
        )
    return held[1]


def _mask(model: nn.Module, name: str, pattern: Pattern, level: float) -> Tensor:
    weight: Any = model.get_submodule(name).weight
    return keep_mask(magnitude(weight, "l1"), level, pattern)


def _stays_float(job: Job, name: str) -> bool:
    skipped = () if job.recipe.quantize is None else job.recipe.quantize.float_layers
    return any(covers(entry, name) for entry in skipped)


def _dtype(job: Job) -> str:
    return "float32" if job.recipe.quantize is None else "int8"


def untrained(job: Job, sparsity: Mapping[str, float], *, quantize: bool = True) -> nn.Module:
    """The network of a plan as it will be deployed, but for its training: what it takes does not depend on that."""
    model = fine_tune.one_shot(job, sparsity) if any(sparsity.values()) else job.before
    if job.recipe.quantize is None or not quantize:
        return model
    few = plain_batches(job.bundle, 8, job.recipe.seed)
    return quantize_model(model, few, method="minmax", skip=job.recipe.quantize.float_layers)


def _untrained_us(job: Job, sparsity: Mapping[str, float]) -> float:
    return 1e3 * measure({"plan": untrained(job, sparsity)}, job.example, seconds=1.0)["plan"].p50_ms


def _described(job: Job, sparsity: dict[str, float], kept: list[dict[str, str]], damage: dict[str, float]) -> Plan:
    """With predictions, where this CPU has been calibrated."""
    from edgelane.latency import LatencyModel, network

    try:
        model = LatencyModel.load()
    except EdgelaneError as error:
        return Plan(sparsity, kept, [], None, None, damage, note=str(error))
    steps = network(job.before, job.example)
    if job.recipe.prune is not None and job.recipe.prune.pattern == "channel" and any(sparsity.values()):
        table, rows = _without_channels(job, model, steps, sparsity)
    else:
        table = _predicted(job, model, steps, sparsity)
        rows = table.to_dict()["rows"]
    named = [{"name": row["layer"], **row} for row in rows]
    return Plan(sparsity, kept, named, round(model.predict(steps).total_us, 3), table.predicted_us, damage)


def _predicted(job: Job, model: LatencyModel, steps: Network, sparsity: Mapping[str, float]) -> PlanTable:
    from edgelane.latency import LayerPlan, plan_table

    plan = {}
    for name in steps.layers:
        share = sparsity.get(name, 0.0)
        pattern = job.recipe.prune.pattern if share > 0 and job.recipe.prune is not None else "dense"
        plan[name] = LayerPlan(pattern, share, "float32" if _stays_float(job, name) else _dtype(job))
    return plan_table(model, steps, plan)


def _without_channels(
    job: Job, model: LatencyModel, steps: Network, sparsity: Mapping[str, float]
) -> tuple[PlanTable, list[dict[str, Any]]]:
    """The smaller dense network that is left, and its rows, in which what it was before stands in place of `dense_us`:
    a layer is also faster for the channels that others lost.
    """
    from edgelane.latency import network

    whole = {row.layer: row.dense_us for row in _predicted(job, model, steps, {}).rows}
    table = _predicted(job, model, network(untrained(job, sparsity, quantize=False), job.example), {})
    rows = [{**row, "dense_us": whole[row["layer"]]} for row in table.to_dict()["rows"]]
    for row in rows:
        if sparsity.get(row["layer"], 0.0) > 0:
            row.update(pattern="channel", sparsity=sparsity[row["layer"]])
    return table, rows
