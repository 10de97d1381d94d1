"""Spending sparsity where it saves time: which pattern and how many zeros each layer gets under a budget."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix

from edgelane.errors import EdgelaneError
from edgelane.latency.features import PATTERN_BLOCKS, block_density
from edgelane.latency.model import LatencyModel, LayerPlan, as_dtype, check_plan
from edgelane.latency.shapes import LayerShape
from edgelane.latency.tracing import Network

GRID = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.97)
SAME_FOOTPRINT = 0.03  # share of the bytes that changes no time that could be told
ROUNDS = 8  # times depend a little on how much of the network fits into the cache, and that on the plan
TIME_LIMIT_S = 30.0
GAP = 1e-5  # share of the value by which a solution may miss the best one: far below what importance can tell

# What is kept of a layer's importance under (layer, pattern, sparsity); more is better.
Importance = Callable[[str, str, float], float]
# The same as points to interpolate between: layer -> sparsity -> kept, for all patterns; or (layer, pattern) -> ...
ImportanceTable = Mapping[str, Mapping[float, float]] | Mapping[tuple[str, str], Mapping[float, float]]


@dataclass(frozen=True)
class Option:
    """One thing that a layer can become."""

    plan: LayerPlan
    time_us: float
    bytes: float
    value: float


def solve(
    model: LatencyModel,
    network: Network,
    budget_us: float | None,
    patterns: Sequence[str],
    dtype: str,
    importance: Importance | ImportanceTable,
    *,
    layers: Iterable[str] | None = None,
    fixed: Mapping[str, LayerPlan] | None = None,
    sparsities: Sequence[float] = GRID,
    size_mb: float | None = None,
) -> dict[str, LayerPlan]:
    """Keep as much importance as the budget allows: for each layer dense, or a pattern at a sparsity.

    model, network: what predicts the times, and of which layers.
    budget_us: most microseconds of the whole network, every other step included. None: no limit of time.
    patterns: those to choose among, for each layer by itself.
    dtype: of every layer that `fixed` does not name, "float32" or "int8".
    importance: what is kept of a layer under (layer, pattern, sparsity), or points of it by layer, between which is
        interpolated linearly; ("dense", 0) and sparsity 0 are what the whole layer counts. The sum is maximised.
    layers: those that may become sparse; None is all but the stem, the last layer and depthwise convolutions. Linear
        layers stay dense, which costs no more, unless a limit of size could make them sparse.
    fixed: layers whose plan is not open, such as those that stay float32.
    sparsities: the grid; for N:M patterns only that of the pattern itself is tried.
    size_mb: most megabytes (10^6 bytes) of the weights in the `.lane` file.

    A multiple-choice knapsack, solved exactly by branch and cut (scipy.optimize.milp, HiGHS). Returns a plan of every
    layer, in the network's order. Raises EdgelaneError for a budget that no plan meets, with the fastest time that
    there is, and for names and settings that there are not.
    """
    if budget_us is None and size_mb is None:
        raise EdgelaneError("expected a budget of time or size, found neither")
    for name, limit in (("budget_us", budget_us), ("size_mb", size_mb)):
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise EdgelaneError(f"expected {name} to be a positive number, found {limit!r}")
    for pattern in patterns:
        check_plan(pattern, 0.0)
    given = network.checked(fixed or {})
    value = importance if callable(importance) else _interpolating(importance)
    free = _prunable(network) if layers is None else list(layers)
    unknown = [name for name in free if name not in network.layers]
    if unknown:
        raise EdgelaneError(f"the model runs no layer named {unknown[0]!r}; it has {', '.join(network.layers)}")
    base = {name: given.get(name, LayerPlan(dtype=dtype)) for name in network.layers}
    network.checked(base)
    choices = {
        name: [base[name]] if name in given or name not in free else _choices(base[name], patterns, sparsities)
        for name in network.layers
    }
    return _search(model, network, choices, value, budget_us, None if size_mb is None else size_mb * 1e6)


def stored_bytes(layer: LayerShape, pattern: str = "dense", sparsity: float = 0.0, dtype: str | None = None) -> int:
    """Expected bytes of a layer's weights in a `.lane` file: the smallest of its encodings (export/FORMAT.md).

    A block encoding is one bit for each block, in words of 8 bytes, and the blocks that hold a nonzero weight.
    """
    shape = as_dtype(layer, dtype)
    check_plan(pattern, sparsity)
    width = 1 if shape.dtype == "int8" else 4
    smallest = shape.weights * width
    for oc, ic in PATTERN_BLOCKS.values():
        blocks = math.ceil(shape.oc / oc) * math.ceil(shape.ic // shape.groups / ic) * shape.taps
        present = round(blocks * block_density(pattern, sparsity, oc, ic, shape))
        smallest = min(smallest, math.ceil(blocks / 64) * 8 + present * oc * ic * width)
    return smallest


def _search(
    model: LatencyModel,
    network: Network,
    choices: Mapping[str, list[LayerPlan]],
    value: Importance,
    budget_us: float | None,
    budget_bytes: float | None,
) -> dict[str, LayerPlan]:
    """Solve, predict what came out, and solve again with the cache as full as that makes it, until both agree."""
    plan = {name: options[-1] for name, options in choices.items()}
    most = math.inf if budget_us is None else budget_us
    target, best, best_value = most, None, -math.inf
    fastest = math.inf
    for _ in range(ROUNDS):
        footprint = model.footprint(network, plan)
        options = _options(model, network, choices, value, footprint)
        other = _other_time(model, network, plan)
        fastest = min(fastest, other + sum(min(o.time_us for o in row) for row in options.values()))
        chosen = _knapsack(options, target - other, budget_bytes)
        if chosen is None:
            break
        plan = chosen
        total = model.predict(network, plan).total_us
        kept = sum(value(name, p.pattern, p.sparsity) for name, p in plan.items())
        if total <= most and kept > best_value + 1e-12:
            best, best_value = plan, kept
        if abs(model.footprint(network, plan) - footprint) < SAME_FOOTPRINT * footprint and total <= most:
            break
        target = min(most, target - (total - most)) if total > most else target
    if best is None:
        raise _infeasible(model, network, choices, budget_us, budget_bytes, fastest)
    return best


def _infeasible(
    model: LatencyModel,
    network: Network,
    choices: Mapping[str, list[LayerPlan]],
    budget_us: float | None,
    budget_bytes: float | None,
    fastest_us: float,
) -> EdgelaneError:
    least = sum(
        min(stored_bytes(network.layers[name], o.pattern, o.sparsity, o.dtype) for o in options)
        for name, options in choices.items()
    )
    if budget_bytes is not None and least > budget_bytes:
        return EdgelaneError(
            f"no plan fits {budget_bytes / 1e6:.3f} MB: with these patterns and layers the smallest has "
            f"{least / 1e6:.3f} MB of weights"
        )
    threads = model.table.threads
    return EdgelaneError(
        f"no plan meets {(budget_us or 0) / 1000:.3f} ms"
        + (f" and {budget_bytes / 1e6:.3f} MB" if budget_bytes is not None else "")
        + f": with these patterns and layers the fastest possible takes {fastest_us / 1000:.3f} ms "
        f"({threads} thread{'s' * (threads != 1)}, predicted)"
    )


def _options(
    model: LatencyModel,
    network: Network,
    choices: Mapping[str, list[LayerPlan]],
    value: Importance,
    footprint: float,
) -> dict[str, list[Option]]:
    return {
        name: _undominated(
            [
                Option(
                    plan,
                    sum(
                        model.layer_us(use, plan.pattern, plan.sparsity, plan.dtype, footprint_bytes=footprint)
                        for use in network.uses(name)
                    ),
                    stored_bytes(network.layers[name], plan.pattern, plan.sparsity, plan.dtype),
                    value(name, plan.pattern, plan.sparsity),
                )
                for plan in plans
            ]
        )
        for name, plans in choices.items()
    }


def _undominated(options: list[Option]) -> list[Option]:
    """Without those that another one beats or equals in time, size and value."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (-o.value, o.time_us, o.bytes)):
        if not any(o.time_us <= option.time_us and o.bytes <= option.bytes for o in kept):
            kept.append(option)
    return kept


def _other_time(model: LatencyModel, network: Network, plan: Mapping[str, LayerPlan]) -> float:
    """Microseconds of the steps whose time no choice changes."""
    prediction = model.predict(network, plan)
    return sum(row.time_us for row in prediction.rows if not row.layer)


def _knapsack(
    options: Mapping[str, list[Option]], budget_us: float, budget_bytes: float | None
) -> dict[str, LayerPlan] | None:
    """One option for each layer, most value within the budgets; None where nothing fits."""
    columns = [(name, option) for name, row in options.items() for option in row]
    names = list(options)
    limits = [(np.array([o.time_us for _, o in columns]), budget_us)] if math.isfinite(budget_us) else []
    if budget_bytes is not None:
        limits.append((np.array([o.bytes for _, o in columns]), budget_bytes))
    one_each = lil_matrix((len(names), len(columns)))
    row_of = {name: index for index, name in enumerate(names)}
    for column, (name, _) in enumerate(columns):
        one_each[row_of[name], column] = 1
    constraints = [LinearConstraint(one_each.tocsr(), 1, 1)]
    for amounts, limit in limits:
        if limit <= 0:
            return None
        constraints.append(LinearConstraint(amounts[None, :] / limit, -np.inf, 1.0))
    with _quiet():
        result = milp(
            -np.array([o.value for _, o in columns]),
            integrality=np.ones(len(columns)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": GAP},
        )
    if result.x is None:
        return None
    return {name: option.plan for (name, option), taken in zip(columns, result.x, strict=True) if taken > 0.5}


@contextmanager
def _quiet() -> Iterator[None]:
    """HiGHS writes some of its debugging to the process's standard output whatever its options say, where it would
    spoil the JSON of a command: it goes nowhere.
    """
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _choices(base: LayerPlan, patterns: Sequence[str], sparsities: Sequence[float]) -> list[LayerPlan]:
    """Dense, and each pattern at each sparsity of the grid."""
    plans = [base]
    for pattern in patterns:
        if pattern == "dense":
            continue
        parts = pattern.split(":")
        grid = [1 - int(parts[0]) / int(parts[1])] if len(parts) == 2 else [float(s) for s in sparsities if s > 0]
        for sparsity in grid:
            check_plan(pattern, sparsity)
        plans += [LayerPlan(pattern, sparsity, base.dtype) for sparsity in grid]
    return plans


def _prunable(network: Network) -> list[str]:
    names = [name for name, shape in network.layers.items() if not shape.is_depthwise]
    stem = next((name for name in names if network.layers[name].op == "conv2d"), None)
    return [name for name in names if name not in (stem, list(network.layers)[-1])]


def _interpolating(table: ImportanceTable) -> Importance:
    points: dict[object, tuple[list[float], list[float]]] = {}
    for key, values in table.items():
        ordered = sorted(values.items())
        points[key] = [float(s) for s, _ in ordered], [float(v) for _, v in ordered]

    def kept(layer: str, pattern: str, sparsity: float) -> float:
        found = points.get((layer, pattern)) or points.get(layer)
        if found is None and sparsity <= 0:  # dense under a table by pattern: the same whatever the pattern
            found = next((curve for key, curve in points.items() if isinstance(key, tuple) and key[0] == layer), None)
        if found is None or not found[0]:
            if sparsity <= 0:  # a layer that nobody may prune needs no points
                return 0.0
            raise EdgelaneError(f"no importance is given for layer {layer} in pattern {pattern}")
        return float(np.interp(sparsity, *found))

    return kept
