"""Numbers from samples, and the one rule for ratios.

A ratio of two engines is the ratio of their minima. The machines that these benchmarks run on are shared: for a while
somebody else's work slows everything by a third, and a median then depends on how much of that while fell on whom. The
shortest of some hundred runs is what the code can do, and it is how the goals were set. The median over the rounds of
the ratio within a round stands beside it: where both differ, the run was not quiet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rounds = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Latency:
    """Of one engine, in milliseconds."""

    count: int
    min_ms: float
    p50_ms: float
    p90_ms: float


def latency(rounds: Rounds) -> Latency:
    """Of the samples of all rounds."""
    samples = [sample for turn in rounds for sample in turn]
    p50, p90 = (float(value) for value in np.percentile(samples, [50, 90]))
    return Latency(len(samples), min(samples), p50, p90)


def ratio_of_minima(reference: Rounds, own: Rounds) -> float:
    """How many times faster `own` is than `reference`: the figure that goals are judged on."""
    return latency(reference).min_ms / latency(own).min_ms


def ratio_within_rounds(reference: Rounds, own: Rounds) -> float:
    """The median over rounds of the ratio of both engines' shortest runs of the same round."""
    return float(np.median([min(r) / min(o) for r, o in zip(reference, own, strict=True)]))


def geometric_mean(values: Sequence[float]) -> float:
    """Of ratios."""
    return float(np.exp(np.mean(np.log(values))))


def rms_error(value: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """Root mean square of the difference over that of the reference; infinite where the value is not finite."""
    if value.shape != reference.shape or not np.isfinite(value).all():
        return float("inf")
    difference = value.astype(np.float64) - reference
    return float(np.sqrt(np.mean(difference**2)) / (np.sqrt(np.mean(reference.astype(np.float64) ** 2)) or 1.0))


@dataclass(frozen=True)
class Jitter:
    """p99.9 over p50 of the model's runs and of empty loops of the same length, and what the model adds."""

    count: int
    run_ms: float
    run_ratio: float
    spin_ratio: float

    @property
    def excess(self) -> float:
        """What is on top of the machine's own jitter."""
        return self.run_ratio - self.spin_ratio


def jitter(runs_ms: Sequence[float], spins_ms: Sequence[float]) -> Jitter:
    """p99.9 needs 1000 samples; the caller sees to that."""
    p50, p999 = (float(value) for value in np.percentile(runs_ms, [50, 99.9]))
    spin50, spin999 = (float(value) for value in np.percentile(spins_ms, [50, 99.9]))
    return Jitter(len(runs_ms), p50, p999 / p50, spin999 / spin50)
