"""The interleaved benchmark.

Engines that are timed one after the other see different clocks, temperatures and neighbours, and the ratio between
them is then mostly weather. Here they take turns in one loop: every round calls every runner in a new random order. A
turn starts with one call that is not timed, so that a runner pays neither for the caches its predecessor filled nor
for a predecessor's worker threads that still spin.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgelane.bench.machine import Load, environment, load_average
from edgelane.errors import EdgelaneError

CALLS_PER_TURN = 4
MINIMUM_ROUNDS = 5
WARMUP_CALLS = 3
FOREIGN_CORES_WARNING = 0.15  # an otherwise idle desktop stays below this; one busy neighbour is 1.0
P99_SAMPLES = 100  # below this count the 99th percentile is no more than the slowest call


@dataclass(frozen=True)
class BenchmarkRow:
    """One runner's latencies in milliseconds; `speedup` is the baseline's p50 over this p50, from the same run."""

    name: str
    count: int
    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    speedup: float


@dataclass(frozen=True)
class BenchmarkResult:
    """What `benchmark` measured: one row per runner, every sample, the environment, and warnings that a reader must
    see.
    """

    rows: tuple[BenchmarkRow, ...]
    samples_ms: dict[str, list[float]]
    baseline: str
    environment: dict[str, object]
    warnings: tuple[str, ...] = field(default=())

    def row(self, name: str) -> BenchmarkRow:
        """The row of one runner. Raises KeyError for a name that was not measured."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BenchmarkResult:
        """The result that `to_dict` described."""
        return cls(
            rows=tuple(BenchmarkRow(**row) for row in values["rows"]),
            samples_ms=values["samples_ms"],
            baseline=values["baseline"],
            environment=values["environment"],
            warnings=tuple(values["warnings"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "baseline": self.baseline,
            "rows": [asdict(row) for row in self.rows],
            "warnings": list(self.warnings),
            "environment": self.environment,
            "samples_ms": {name: [round(value, 5) for value in values] for name, values in self.samples_ms.items()},
        }


def benchmark(
    runners: Mapping[str, Callable[[], object]],
    seconds: float = 10.0,
    *,
    warmup_seconds: float = 0.3,
    baseline: str | None = None,
    seed: int = 0,
    progress: Callable[[float], object] | None = None,
) -> BenchmarkResult:
    """Time every runner, interleaved, for `seconds` in all (warm-up not included; at least five rounds however slow
    they are).

    `runners` maps a name to a function that does one inference. The baseline of the speed-ups is `baseline`, or the
    first runner. `progress`, where given, is called with the fraction done.

    Raises EdgelaneError for no runners, an unknown baseline, or a time that is not positive.
    """
    if not runners:
        raise EdgelaneError("nothing to benchmark: pass at least one runner")
    if not seconds > 0:
        raise EdgelaneError(f"the benchmark's time must be positive, found {seconds} seconds")
    baseline = next(iter(runners)) if baseline is None else baseline
    if baseline not in runners:
        raise EdgelaneError(f"unknown baseline {baseline!r}; the runners are {', '.join(runners)}")

    facts = environment()
    facts["load_average_before"] = load_average()
    for run in runners.values():
        _warm_up(run, warmup_seconds)
    load = Load()
    samples = _measure(runners, seconds, random.Random(seed), progress)
    facts["other_processes_cores"] = load.foreign_cores()
    facts["load_average_after"] = load_average()

    rows = _rows(samples, baseline)
    return BenchmarkResult(rows, samples, baseline, facts, _warnings(facts, rows))


def _warm_up(run: Callable[[], object], seconds: float) -> None:
    """Call `run` until its one-time work (page faults, lazy packing, clock ramp) is behind it."""
    end = time.perf_counter() + seconds
    calls = 0
    while calls < WARMUP_CALLS or time.perf_counter() < end:
        run()
        calls += 1


def _measure(
    runners: Mapping[str, Callable[[], object]],
    seconds: float,
    order: random.Random,
    progress: Callable[[float], object] | None,
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in runners}
    turns = list(runners.items())
    clock = time.perf_counter_ns
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection in the middle of a call is Python's latency, not the engine's
    try:
        start = clock()
        rounds = 0
        while rounds < MINIMUM_ROUNDS or clock() - start < seconds * 1e9:
            order.shuffle(turns)
            for name, run in turns:
                run()
                for _ in range(CALLS_PER_TURN):
                    before = clock()
                    run()
                    samples[name].append((clock() - before) / 1e6)
            rounds += 1
            if progress is not None:
                progress(min(1.0, (clock() - start) / (seconds * 1e9)))
    finally:
        if collecting:
            gc.enable()
    return samples


def _rows(samples: Mapping[str, list[float]], baseline: str) -> tuple[BenchmarkRow, ...]:
    reference = float(np.percentile(samples[baseline], 50))
    rows = []
    for name, values in samples.items():
        p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
        rows.append(
            BenchmarkRow(name, len(values), min(values), float(np.mean(values)), p50, p90, p99, reference / p50)
        )
    return tuple(rows)


def _warnings(facts: Mapping[str, object], rows: tuple[BenchmarkRow, ...]) -> tuple[str, ...]:
    few = min(row.count for row in rows)
    if few >= P99_SAMPLES:
        return disturbances(facts)
    return (
        *disturbances(facts),
        f"only {few} samples for the slowest runner: p99 needs at least {P99_SAMPLES}, give it more seconds",
    )


def disturbances(facts: Mapping[str, object]) -> tuple[str, ...]:
    """What in the `environment` of a result makes its times doubtful, a sentence for each."""
    warnings = []
    foreign = facts["other_processes_cores"]
    if isinstance(foreign, float) and foreign > FOREIGN_CORES_WARNING:
        warnings.append(
            f"other processes kept {foreign:.2f} cores busy meanwhile, which slows long calls more than short ones: "
            "repeat this on an idle machine"
        )
    governor = facts["governor"]
    if governor is not None and governor not in ("performance", "schedutil"):
        warnings.append(
            f"the CPU governor is {governor!r}: set it to 'performance' (cpupower frequency-set -g performance)"
        )
    return tuple(warnings)
