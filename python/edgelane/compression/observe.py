"""Calibration: what range each int8 tensor should cover."""

from __future__ import annotations

import torch
from torch import Tensor

from edgelane.compression.fake_quantize import ACTIVATION_MAX
from edgelane.errors import EdgelaneError

METHODS = ("mse", "max", "percentile")
BINS = 8192  # about 64 per int8 step over the full range, 3 at the narrowest range that "mse" tries
PERCENTILE = 99.99


class Histogram:
    """Magnitudes of one tensor over all batches: `BINS` equal bins from 0 to `limit`, which doubles when a larger
    value comes.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.float64)
        self.limit = 0.0
        self.largest = 0.0

    def add(self, values: Tensor) -> None:
        """Count `values` (any shape, finite)."""
        magnitude = values.detach().abs().float().flatten()
        if magnitude.numel() == 0:
            return
        largest = float(magnitude.max())
        self.largest = max(self.largest, largest)
        if largest == 0.0:
            self.counts[0] += magnitude.numel()
            return
        if self.limit == 0.0:
            self.limit = largest
        while largest > self.limit:
            self.counts = torch.cat((self.counts.reshape(-1, 2).sum(1), torch.zeros(BINS // 2, dtype=torch.float64)))
            self.limit *= 2.0
        self.counts += torch.histc(magnitude, BINS, 0.0, self.limit).double().cpu()

    def scale(self, method: str) -> float:
        """The step of int8 for this tensor: its clipping range / 127. A tensor that was never anything but zero gets 1
        / 127.
        """
        if self.largest == 0.0:
            return 1.0 / ACTIVATION_MAX
        if method == "max":
            limit = self.largest
        elif method == "percentile":
            seen = torch.cumsum(self.counts, 0)
            index = int(torch.searchsorted(seen, seen[-1] * (PERCENTILE / 100.0)))
            limit = min(self.largest, self.limit * (index + 1) / BINS)
        else:
            limit = self._least_error()
        return max(limit / ACTIVATION_MAX, float(torch.finfo(torch.float32).tiny) * 2.0**24)

    def _least_error(self) -> float:
        """The clipping range, out of 96 between 5 % and 100 % of the largest value, with the least mean squared error
        of int8.
        """
        filled = self.counts > 0
        counts = self.counts[filled]
        centres = ((torch.arange(BINS, dtype=torch.float64) + 0.5) * (self.limit / BINS))[filled]
        centres = centres.clamp(max=self.largest)
        if self.counts[0] > 0:
            centres[0] = 0.0  # the first bin is mostly the exact zeros of ReLU, which int8 represents without error
        best, least = self.largest, float("inf")
        for share in torch.linspace(1.0, 0.05, 96, dtype=torch.float64).tolist():
            step = self.largest * share / ACTIVATION_MAX
            error = float((counts * (centres - (centres / step).round().clamp(max=ACTIVATION_MAX) * step) ** 2).sum())
            if error < least:
                best, least = self.largest * share, error
        return best


def check_finite(values: Tensor, what: str, batch: int) -> None:
    """Raise EdgelaneError when `values` hold NaN or infinity."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise EdgelaneError(
            f"calibration batch {batch}: {bad} of {values.numel()} values of {what} are NaN or infinite"
        )
