"""From the results of single units to the figures of the table, and the expectations that they are judged by."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.compression.matrix import BUDGET, BUDGET_SHARE, DENSE, INT8, MAX_DROP, REFERENCE, REFUSED, UNIFORM
from benchmarks.compression.units import DONE, REFUSAL

# Two networks take the same time if they do within this share: sparsity comes in steps of a hundredth.
EQUAL_TIME = 0.03
MET, MISSED, TIED, UNKNOWN = "met", "missed", "tied", "not measured"


@dataclass(frozen=True)
class Spread:
    """Of one figure over the seeds. `deviation`: the sample's standard deviation, None for one seed."""

    mean: float
    deviation: float | None
    lowest: float
    highest: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None for no values."""
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, min(values), max(values), len(values))


def figures(workload: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Of one setting over its seeds, as Spreads or None: "score" and "drop" (points lost against the dense float32
    network of the same seed), both in points; "p50_ms", "min_ms", "macs" (the share of the dense one's), "bytes".
    """
    done = {seed: results for seed, results in workload["units"].items() if _done(results, setting)}
    scores = {seed: 100 * results[setting]["score"] for seed, results in done.items()}
    dense = {seed: 100 * results[DENSE]["score"] for seed, results in done.items() if _done(results, DENSE)}
    times = workload.get("timing", {}).get("rows", {}).get(setting, {})
    macs = [results[setting]["macs"] / results[DENSE]["macs"] for results in done.values() if _done(results, DENSE)]
    return {
        "score": Spread.of(list(scores.values())),
        "drop": Spread.of([dense[seed] - score for seed, score in scores.items() if seed in dense]),
        "p50_ms": Spread.of([row["p50_ms"] for row in times.values()]),
        "min_ms": Spread.of([row["min_ms"] for row in times.values()]),
        "macs": Spread.of(macs),
        "bytes": Spread.of([results[setting]["bytes"] for results in done.values()]),
    }


def summary(workload: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The figures of all settings as JSON values."""
    return {
        setting: {
            name: None if spread is None else asdict(spread) for name, spread in figures(workload, setting).items()
        }
        for setting in settings
        if setting != REFUSED
    }


def expectations(workload: Mapping[str, Any]) -> list[dict[str, str]]:
    """What was expected of a workload: "what", "measured" in words, and "verdict"."""
    return [_keeps_accuracy(workload), _holds_budget(workload), _beats_uniform(workload), _is_refused(workload)]


def _keeps_accuracy(workload: Mapping[str, Any]) -> dict[str, str]:
    drop = figures(workload, REFERENCE)["drop"]
    what = f"80 % 4x4 int8 within {MAX_DROP:g} point of dense fp32"
    if drop is None:
        return _row(what, "", UNKNOWN)
    return _row(what, f"{points(-drop.mean)} points (by seed {_range(drop, -1)})", _verdict(drop.mean <= MAX_DROP))


def _holds_budget(workload: Mapping[str, Any]) -> dict[str, str]:
    solver, int8 = (_times(workload, key, "p50_ms") for key in (BUDGET, INT8))  # what a budget means
    what = f"the solver's network takes {BUDGET_SHARE:.0%} of the dense int8 one's time"
    shares = [solver[seed] / int8[seed] for seed in solver if seed in int8]
    if not shares:
        return _row(what, "", UNKNOWN)
    worst = max(shares)
    text = f"{statistics.fmean(shares):.1%} (by seed {min(shares):.1%} to {worst:.1%})"
    return _row(what, text, _verdict(statistics.fmean(shares) <= BUDGET_SHARE * (1 + EQUAL_TIME)))


def _beats_uniform(workload: Mapping[str, Any]) -> dict[str, str]:
    what = "the solver's network beats uniform sparsity at equal time"
    both = {seed: results for seed, results in workload["units"].items() if _done(results, BUDGET)}
    pairs = [(results[BUDGET], results[UNIFORM]) for results in both.values() if _done(results, UNIFORM)]
    solver, uniform = (_times(workload, key, "min_ms") for key in (BUDGET, UNIFORM))  # as the sparsity was found
    ratios = [solver[seed] / uniform[seed] for seed in solver if seed in uniform]
    gain = Spread.of([100 * (own["score"] - other["score"]) for own, other in pairs])
    if gain is None or not ratios:
        return _row(what, "", UNKNOWN)
    own, other = (statistics.fmean(pair[index]["loss"] for pair in pairs) for index in (0, 1))
    text = (
        f"{points(gain.mean)} points (by seed {_range(gain)}) at {statistics.fmean(ratios):.3f} of its time; "
        f"test loss {own:.4f} against {other:.4f}"
    )
    if statistics.fmean(ratios) > 1 + EQUAL_TIME:
        return _row(what, text, MISSED)
    return _row(what, text, TIED if round(gain.mean, 6) == 0 else _verdict(gain.mean > 0))


def _is_refused(workload: Mapping[str, Any]) -> dict[str, str]:
    what = "the gate refuses the recipe made to fail"
    tried = [results[REFUSED] for results in workload["units"].values() if REFUSED in results]
    tried = [result for result in tried if result["outcome"] in (DONE, REFUSAL)]
    if not tried:
        return _row(what, "", UNKNOWN)
    refused = [result for result in tried if result["outcome"] == REFUSAL]
    if len(refused) < len(tried):
        return _row(what, f"{len(refused)} of {len(tried)} refused", MISSED)
    closest = [min(rung["drop"] for rung in result["ladder"]) for result in refused if result["ladder"]]
    text = f"{len(refused)} of {len(tried)} refused"
    text += f"; the closest variant lost {min(closest):.1f} points, {MAX_DROP:g} allowed" if closest else ""
    return _row(what, text, MET)


def points(value: float) -> str:
    """With its sign; a minus that is one."""
    return f"{value:+.2f}".replace("-", "−") if round(value, 2) else "0.00"


def _times(workload: Mapping[str, Any], setting: str, statistic: str) -> dict[str, float]:
    rows = workload.get("timing", {}).get("rows", {}).get(setting, {})
    return {seed: row[statistic] for seed, row in rows.items()}


def _range(spread: Spread, sign: int = 1) -> str:
    ends = sorted((sign * spread.lowest, sign * spread.highest))
    return f"{points(ends[0])} to {points(ends[1])}"


def _row(what: str, measured: str, verdict: str) -> dict[str, str]:
    return {"what": what, "measured": measured, "verdict": verdict}


def _verdict(holds: bool) -> str:
    return MET if holds else MISSED


def _done(results: Mapping[str, Any], setting: str) -> bool:
    return bool(results.get(setting, {}).get("outcome") == DONE)
