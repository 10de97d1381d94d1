"""The gate: how much accuracy may go, and the search for int8 settings that pass, from cheap to dear.

The search is judged on the validation split, so that the test split, which has the last word, has not been chosen on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from torch import nn

from edgelane.compression import fine_tune
from edgelane.compression.job import Job
from edgelane.compression.layers import weight_layers
from edgelane.compression.recipe import Budget, Calibration, Quantize, plain
from edgelane.compression.sensitivity import sensitivity
from edgelane.errors import EdgelaneError

SENSITIVITY_BATCHES = 2  # of calibration images
FLOAT_SHARE = 4  # the search leaves at most one layer of so many in float32


class GateError(EdgelaneError):
    """No allowed result. `ladder`: what was tried (see `Rung.to_dict`); `sensitivity`: rows per layer, worst first."""

    def __init__(self, message: str, ladder: Sequence[dict[str, Any]], sensitivity: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.ladder, self.sensitivity = list(ladder), list(sensitivity)


@dataclass(frozen=True)
class Rung:
    """One try. Scores and drops in points (hundredths) on the validation split; the drop is against the network before
    compression, `class_drop` that of the class which lost most.
    """

    name: str
    score: float
    drop: float
    worst_class: str
    class_drop: float
    seconds: float
    passed: bool
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Drop:
    """What a network lost against another one, in points of the task's metric."""

    score: float
    worst_class: str
    class_score: float

    @classmethod
    def between(cls, before: dict[str, Any], after: dict[str, Any]) -> Drop:
        """From two `to_dict`s of the task's metrics."""
        losses = {name: 100 * (score - after["class_scores"][name]) for name, score in before["class_scores"].items()}
        worst = max(losses, key=lambda name: losses[name])
        return cls(100 * (before["score"] - after["score"]), worst, losses[worst])

    def within(self, budget: Budget) -> bool:
        """Whether the gate lets this pass."""
        return not self.excess(budget)

    def excess(self, budget: Budget) -> list[str]:
        """What is above the budget, in words."""
        found = []
        if budget.max_drop is not None and self.score > budget.max_drop + 1e-9:
            found.append(f"lost {self.score:.2f} points, {budget.max_drop:g} allowed")
        if budget.max_class_drop is not None and self.class_score > budget.max_class_drop + 1e-9:
            found.append(
                f"class {self.worst_class} lost {self.class_score:.2f} points, {budget.max_class_drop:g} allowed"
            )
        return found


def choose_int8(
    job: Job, model: nn.Module, damage: Callable[[], list[dict[str, Any]]]
) -> tuple[nn.Module, list[Rung], list[dict[str, Any]]]:
    """int8 of the pruned or dense `model`: the first of the ladder's rungs that the gate lets pass, or, without a gate,
    the recipe's own settings. Returns the network, what was tried, and the sensitivity of the layers to int8 where it
    was needed.

    damage: the sensitivity of the layers to pruning, which is to blame where pruning alone breaks the gate.
    Raises GateError when nothing passes.
    """
    assert job.recipe.quantize is not None
    rungs: list[Rung] = []
    rows: list[dict[str, Any]] = []
    gated = job.recipe.budget.max_drop is not None or job.recipe.budget.max_class_drop is not None

    def sensitive() -> list[dict[str, Any]]:
        if not rows:
            job.say("int8: sensitivity of each layer")
            rows.extend(int8_sensitivity(job, model, _best(rungs, job.recipe.quantize)))
        return rows

    for name, settings in _ladder(job, model, rungs, sensitive):
        started = time.perf_counter()
        candidate = fine_tune.quantize(job, model, settings)
        metrics = job.judge(candidate, "val")
        drop = Drop.between(job.judge_once(job.before, "val"), metrics)
        passed = drop.within(job.recipe.budget)
        rungs.append(
            Rung(
                name,
                100 * metrics["score"],
                drop.score,
                drop.worst_class,
                drop.class_score,
                time.perf_counter() - started,
                passed,
                plain(settings),
            )
        )
        job.say(f"int8: {name}: lost {drop.score:.2f} points on val" + (", passes" if gated and passed else ""))
        if passed or not gated:
            return candidate, rungs, rows
    tried = [rung.to_dict() for rung in rungs]
    closest = min(rungs, key=lambda rung: rung.drop)
    reasons = "; ".join(Drop(closest.drop, closest.worst_class, closest.class_drop).excess(job.recipe.budget))
    pruned = Drop.between(job.judge_once(job.before, "val"), job.judge_once(model, "val"))
    advice = "allow more, or name the most sensitive layers in quantize.float_layers"
    if not pruned.within(job.recipe.budget):
        advice = f"pruning alone lost {pruned.score:.2f}: allow more, prune less, or train longer"
    raise GateError(
        f"the gate refuses all {len(rungs)} int8 variants; the closest, {closest.name}, {reasons}; nothing was "
        f"written: {advice}",
        tried,
        sensitive() if pruned.within(job.recipe.budget) else damage(),
    )


def _ladder(
    job: Job, model: nn.Module, rungs: Sequence[Rung], sensitive: Callable[[], list[dict[str, Any]]]
) -> Iterator[tuple[str, Quantize]]:
    """The recipe's settings, then others, each rung only when those before it did not pass; `rungs` grows meanwhile."""
    start = job.recipe.quantize
    assert start is not None
    yield "the recipe's settings", start
    if Drop.between(job.judge_once(job.before, "val"), job.judge_once(model, "val")).within(job.recipe.budget):
        yield from _without_training(job, model, rungs, sensitive, start)
    # Else pruning has lost too much already, and nothing but training wins that back.
    epochs = max(start.qat_epochs, 1 + job.recipe.train.epochs // 4)
    best = _best(rungs, start)
    yield "quantisation-aware training", replace(best, rounding="nearest", qat_epochs=epochs)
    yield "twice the quantisation-aware training", replace(best, rounding="nearest", qat_epochs=2 * epochs)


def _without_training(
    job: Job,
    model: nn.Module,
    rungs: Sequence[Rung],
    sensitive: Callable[[], list[dict[str, Any]]],
    start: Quantize,
) -> Iterator[tuple[str, Quantize]]:
    """The rungs that only choose scales and roundings."""
    if start.qat_epochs == 0 and start.rounding == "nearest":
        for method in get_args(Calibration):
            if method != start.calibration:
                yield f"calibration {method}", replace(start, calibration=method)
    best = _best(rungs, start)
    if not best.bias_correction:
        yield "bias correction", replace(best, bias_correction=True)
    if not best.equalize and any(layer.is_depthwise for layer in weight_layers(model, job.example)):
        yield "equalised channels", replace(best, equalize=True, bias_correction=False)
        yield "equalised channels and bias correction", replace(best, equalize=True, bias_correction=True)
    best = _best(rungs, start)
    order = [row["name"] for row in sensitive() if row["name"] not in best.float_layers]
    count = 1
    while count <= len(order) // FLOAT_SHARE:
        layers = (*best.float_layers, *order[:count])
        yield f"{count} most sensitive layer{'s' * (count > 1)} in float32", replace(best, float_layers=layers)
        count *= 2
    best = _best(rungs, start)
    if best.rounding == "nearest":
        yield "learned rounding", replace(best, rounding="adaround")


def _best(rungs: Sequence[Rung], otherwise: Quantize | None) -> Quantize:
    """The settings that lost least so far; of equals the earlier, which is the cheaper."""
    from edgelane.compression.recipe_file import section_of

    if not rungs:
        assert otherwise is not None
        return otherwise
    best: Quantize = section_of(Quantize, min(rungs, key=lambda rung: rung.drop).settings)
    return best


def int8_sensitivity(job: Job, model: nn.Module, settings: Quantize) -> list[dict[str, Any]]:
    """One row per layer, most sensitive first: the points lost and the noise of the outputs when it alone is int8."""
    from edgelane.compression.quantization import quantize_model

    batches = [batch for _, batch in zip(range(SENSITIVITY_BATCHES), job.calibration_batches(), strict=False)]
    quantized = quantize_model(model, iter(batches), method=settings.calibration)
    found = sensitivity(quantized, lambda network: float(job.judge(network, "val")["score"]), batches)
    return [{**row.to_dict(), "drop": 100 * (row.drop or 0.0)} for row in found]


def check_pruned(job: Job, model: nn.Module, damage: Callable[[], list[dict[str, Any]]]) -> None:
    """Raise GateError when pruning alone loses too much on the validation split and no int8, whose training might win
    it back, follows.
    """
    drop = Drop.between(job.judge_once(job.before, "val"), job.judge_once(model, "val"))
    if job.recipe.quantize is None and not drop.within(job.recipe.budget):
        reasons = "; ".join(drop.excess(job.recipe.budget))
        raise GateError(
            f"the gate refuses the pruned network: on the validation split it {reasons}; nothing was written: "
            "allow more, prune less, train longer, or name the most sensitive layers in prune.skip",
            [],
            damage(),
        )


def check_final(
    job: Job, metrics: dict[str, Any], rungs: Sequence[Rung], rows: Callable[[], list[dict[str, Any]]]
) -> Drop:
    """What the result lost on the test split. Raises GateError when that is too much."""
    drop = Drop.between(job.judge_once(job.before, "test"), metrics)
    if not drop.within(job.recipe.budget):
        raise GateError(
            f"the gate refuses the result: on the test split it {'; '.join(drop.excess(job.recipe.budget))} (the "
            "validation split, on which it was chosen, allowed it); nothing was written: allow more or prune less",
            [rung.to_dict() for rung in rungs],
            rows(),
        )
    return drop
