"""How long the deployed networks of a workload take: all of them in one interleaved run, one thread, batch 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compression.deployed import runner
from benchmarks.compression.matrix import Unit
from benchmarks.compression.units import DONE, lane_of
from edgelane.bench import benchmark
from edgelane.runtime import Session


def shape_of(result: Mapping[str, Any]) -> str:
    """What a network's time follows from but its weights: the zeros asked of each layer, as text.

    Networks of one setting whose shapes are equal share a time.
    """
    return json.dumps(result.get("plan"), sort_keys=True)


def representatives(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By seed of one setting's results: the seed, the first of equal shape, whose network is timed for it."""
    first: dict[str, str] = {}
    return {seed: first.setdefault(shape_of(result), seed) for seed, result in results.items()}


def measure(results: Mapping[Unit, Mapping[str, Any]], root: Path, seconds: float) -> dict[str, Any]:
    """Times of one workload's networks. "rows": by setting and seed, "p50_ms", "min_ms", "count" and the seed of the
    network that was timed; beside them how loaded the machine was.
    """
    by_setting: dict[str, dict[str, Unit]] = {}
    for unit, result in results.items():
        if result["outcome"] == DONE:
            by_setting.setdefault(unit.setting.key, {})[str(unit.seed)] = unit
    timed: dict[str, Unit] = {}
    names: dict[tuple[str, str], str] = {}
    for setting, by_seed in by_setting.items():
        chosen = representatives({seed: results[unit] for seed, unit in by_seed.items()})
        for seed, representative in chosen.items():
            name = f"{setting} {representative}"
            timed[name] = by_seed[representative]
            names[setting, seed] = name
    runners = {name: runner(Session(lane_of(root, unit))) for name, unit in timed.items()}
    found = benchmark(runners, seconds)
    rows: dict[str, dict[str, Any]] = {}
    for (setting, seed), name in names.items():
        row = found.row(name)
        rows.setdefault(setting, {})[seed] = {
            "p50_ms": row.p50_ms,
            "min_ms": row.min_ms,
            "count": row.count,
            "timed_seed": timed[name].seed,
        }
    facts = ("date", "load_average_before", "load_average_after", "other_processes_cores", "governor")
    return {
        "rows": rows,
        "seconds": seconds,
        "networks": len(runners),
        "warnings": list(found.warnings),
        **{key: found.environment[key] for key in facts},
    }
