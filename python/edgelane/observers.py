"""Calibration: from the values that a tensor takes to the step of its int8. numpy only.

Symmetric: `real = scale * q` with zero point 0, and the scale maps a clipping range [-limit, limit] onto [-127, 127].
The methods differ in how `limit` follows from the values:

- "minmax": the largest magnitude of all;
- "moving_average": the largest magnitude of each batch, averaged exponentially (Jacob et al. 2018, "Quantization and
  Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"), so that one wild batch counts less;
- "percentile": the magnitude that 99.99 % of the values do not pass;
- "mse": the limit with the least mean squared error of rounding and clipping together;
- "entropy": the limit at which the distribution of the magnitudes, clipped, diverges least from its int8 version
  (Kullback-Leibler; Migacz 2017, "8-bit Inference with TensorRT").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

Array = npt.NDArray[Any]

METHODS = ("minmax", "moving_average", "percentile", "mse", "entropy")
LEVELS = 127  # the limit becomes 127; -128 is reached only by values beyond it
BINS = 8192  # about 64 per int8 step over the full range, 3 at the narrowest range that "mse" tries
PERCENTILE = 99.99
MOMENTUM = 0.9  # of the moving average: calibration sees tens of batches, where training sees thousands
_ENTROPY_BINS = 2048
_CHUNK = 1 << 16  # values at a time, which the cache holds
_SMALLEST = float(np.finfo(np.float32).tiny) * 2.0**24  # of a scale, so that its product with a weight's is normal


class Observer:
    """What calibration keeps of one tensor: the magnitudes of all batches in `BINS` equal bins from 0 to `limit`, which
    doubles when a larger value comes, and the ranges. The memory does not grow with the data.
    """

    def __init__(self, momentum: float = MOMENTUM) -> None:
        self.counts: npt.NDArray[np.float64] = np.zeros(BINS)  # without the exact zeros, which int8 always represents
        self.zeros = 0
        self.limit = 0.0
        self.largest = 0.0
        self.average = 0.0
        self.batches = 0
        self._momentum = momentum

    def add(self, values: Array) -> None:
        """Count one batch of `values` (any shape, floating, finite: see `check_finite`)."""
        magnitude = np.abs(np.asarray(values, np.float32)).reshape(-1)
        if magnitude.size == 0:
            return
        largest = float(magnitude.max())
        self.largest = max(self.largest, largest)
        self.average = largest if self.batches == 0 else self.average + (1 - self._momentum) * (largest - self.average)
        self.batches += 1
        zeros = magnitude.size - int(np.count_nonzero(magnitude))
        self.zeros += zeros
        if largest == 0.0:
            return
        if self.limit == 0.0:
            self.limit = largest
        while largest > self.limit:
            self.counts = np.concatenate((self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)))
            self.limit *= 2.0
        for start in range(0, magnitude.size, _CHUNK):
            places = magnitude[start : start + _CHUNK].astype(np.float64) * (BINS / self.limit)
            counted = np.bincount(places.astype(np.intp), minlength=BINS + 1)
            self.counts += counted[:BINS]
            self.counts[-1] += counted[BINS]  # of `limit` itself
        self.counts[0] -= zeros

    def scale(self, method: str) -> float:
        """The step of int8 for this tensor by one of `METHODS`. A tensor that was never anything but zero gets 1 / 127.

        Raises EdgelaneError for an unknown method.
        """
        check_method(method)
        if self.largest == 0.0:
            return 1.0 / LEVELS
        if method == "minmax":
            limit = self.largest
        elif method == "moving_average":
            limit = self.average
        elif method == "percentile":
            limit = self._percentile()
        elif method == "mse":
            limit = self._least_error()
        else:
            limit = self._least_divergence()
        return max(limit / LEVELS, _SMALLEST)

    def _percentile(self) -> float:
        seen = self.zeros + np.cumsum(self.counts)
        index = int(np.searchsorted(seen, seen[-1] * (PERCENTILE / 100.0)))
        return min(self.largest, self.limit * (index + 1) / BINS)

    def _least_error(self) -> float:
        """Out of 96 limits between 5 % and 100 % of the largest value."""
        filled = self.counts > 0
        counts = self.counts[filled]
        centres = np.minimum((np.arange(BINS)[filled] + 0.5) * (self.limit / BINS), self.largest)
        best, least = self.largest, np.inf
        for share in np.linspace(1.0, 0.05, 96):
            step = self.largest * float(share) / LEVELS
            error = float((counts * (centres - np.minimum(np.rint(centres / step), LEVELS) * step) ** 2).sum())
            if error < least:
                best, least = step * LEVELS, error
        return best

    def _least_divergence(self) -> float:
        counts = self.counts.reshape(_ENTROPY_BINS, -1).sum(1)
        used = int(np.flatnonzero(counts)[-1]) + 1
        return min(self.largest, self.limit * least_divergence(counts[:used], LEVELS + 1) / _ENTROPY_BINS)


def least_divergence(counts: Array, levels: int) -> int:
    """The number i of bins, from `levels` to all, at which a histogram of magnitudes loses least in `levels` steps.

    P: the first i bins, the last of which takes in everything beyond it. Q: the same bins without what is beyond,
    merged into `levels` groups, each spread evenly over its bins that are not empty. The loss is KL(P || Q), infinite
    where Q is empty and P is not.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    mass = np.concatenate(([0.0], np.cumsum(counts)))
    filled = np.concatenate(([0.0], np.cumsum(counts > 0)))
    own = np.concatenate(([0.0], np.cumsum(counts * np.log(np.maximum(counts, 1.0)))))  # counts are whole numbers
    best, least = counts.size, np.inf
    for bins in range(levels, counts.size + 1):
        beyond, last = total - mass[bins], counts[bins - 1]
        if (beyond > 0 and last == 0) or mass[bins] == 0:
            continue
        edges = -(-np.arange(levels + 1) * bins // levels)  # bin b belongs to level b * levels // bins
        sums, spread = np.diff(mass[edges]), np.diff(filled[edges])
        logs = np.log(sums / np.maximum(spread, 1.0), where=sums > 0, out=np.zeros(levels))
        p_log_p = own[bins] - last * np.log(max(last, 1.0)) + (last + beyond) * np.log(max(last + beyond, 1.0))
        p_log_q = float(sums @ logs) + beyond * logs[-1]
        divergence = (p_log_p - p_log_q) / total - np.log(total) + np.log(mass[bins])
        if divergence < least:
            best, least = bins, divergence
    return best


def check_method(method: str) -> None:
    """Raise EdgelaneError when `method` is none of `METHODS`."""
    if method not in METHODS:
        raise EdgelaneError(f"unknown calibration method {method!r}; expected one of {', '.join(METHODS)}")


def check_finite(values: Array, what: str, batch: int) -> None:
    """Raise EdgelaneError when `values`, called `what`, of this calibration batch hold NaN or infinity."""
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise EdgelaneError(f"calibration batch {batch}: {bad} of {values.size} values of {what} are NaN or infinite")
