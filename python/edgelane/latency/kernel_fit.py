"""The time of one kernel: a sum of what it does, and a correction learned from where that sum was wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import nnls

from edgelane.latency.features import Vector, Work, features

CORRECTED_FROM = 25  # samples; with fewer the physical sum stands alone
LARGEST_CORRECTION = 0.5  # of the logarithm of the time
OUTLIER = 0.15  # errors beyond count less
SMOOTHING = 1.0
ROUNDS = 12


@dataclass(frozen=True)
class KernelFit:
    """time_us = coefficients . features, times the exponential of a smooth function of the logarithms of the shape.

    The coefficients are not negative (Lawson and Hanson, "Solving Least Squares Problems", 1974), so that time grows
    with work; they minimise relative errors. What is left over, an efficiency that depends on the shape, is
    interpolated by radial basis functions with smoothing, bounded, and fades to its mean far from all samples.
    """

    kernel: str
    coefficients: Vector
    correction: Any  # RBFInterpolator, or None
    samples: int
    error: float  # median of |ln(predicted / measured)| over the samples
    with_taps: frozenset[bool]  # whether windows larger than 1x1 were among the samples, and 1x1

    def times(self, works: Sequence[Work], lanes: int) -> Vector:
        """Predicted microseconds of each."""
        physical = np.array([features(work, self.kernel, lanes) for work in works]) @ self.coefficients
        if self.correction is None:
            return physical
        shift = self.correction(np.array([_coordinates(work) for work in works]))
        corrected: Vector = physical * np.exp(np.clip(shift, -LARGEST_CORRECTION, LARGEST_CORRECTION))
        return corrected


def fit(
    kernel: str, works: Sequence[Work], times_us: Sequence[float], lanes: int, *, correct: bool = True
) -> KernelFit:
    """Fit one kernel to its samples, at least one; without the correction if so asked."""
    times = np.maximum(np.array(times_us, dtype=np.float64), 0.02)  # the clock's own resolution
    table = np.array([features(work, kernel, lanes) for work in works])
    scale = table.max(axis=0)
    scale[scale == 0] = 1.0
    table = table / scale
    weights = 1.0 / times
    solution = np.zeros(table.shape[1])
    for _ in range(ROUNDS):  # towards errors of the logarithm, outliers damped
        solution, _ = nnls(table * weights[:, None], times * weights)
        predicted = np.maximum(table @ solution, 1e-6)
        error = np.abs(np.log(predicted / times))
        weights = 1.0 / np.sqrt(times * predicted) / np.sqrt(np.maximum(1.0, error / OUTLIER))
    left = np.clip(np.log(times / np.maximum(table @ solution, 1e-6)), -0.7, 0.7)
    correction = None
    if correct and len(times) >= CORRECTED_FROM:
        points = np.array([_coordinates(work) for work in works])
        # Equal shapes would make the system singular where nothing smooths it; the noise is far below any difference.
        points = points + 1e-6 * np.random.default_rng(0).standard_normal(points.shape)
        correction = RBFInterpolator(points, left, kernel="linear", smoothing=SMOOTHING, degree=0)
        left = left - correction(points)
    taps = frozenset(work.shape.taps > 1 for work in works)
    return KernelFit(kernel, solution / scale, correction, len(times), float(np.median(np.abs(left))), taps)


def _coordinates(work: Work) -> list[float]:
    """Where a step lies: octaves of its sizes, and what is otherwise different about it."""
    s = work.shape
    height, width = s.output[2:] if len(s.output) == 4 else (s.positions, 1)
    return [
        math.log2(max(1, s.oc)),
        math.log2(max(1, s.ic // s.groups)),
        math.log2(max(1, height)),
        math.log2(max(1, width)),
        0.7 * math.log2(s.taps),
        2.0 * (max(s.stride) > 1),
        2.0 * (max(s.dilation) > 1),
        math.log2(max(work.density, 1e-3)),
        work.near,
        work.far,
    ]
