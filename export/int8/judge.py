"""The int8 model against the float one: how much of the outputs is noise, and accuracy where the classes are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgelane.errors import EdgelaneError
from edgelane.export.int8.images import Samples
from edgelane.export.int8.network import Array
from edgelane.export.int8.running import Runner

BATCH = 16
CACHE_BYTES = 256 << 20  # of the float model's outputs
MOST_DB = 200.0  # where nothing differs; JSON has no infinity


@dataclass(frozen=True)
class Verdict:
    """sqnr_db: of each float output, 10 log10 of the mean squared signal over the mean squared difference.

    accuracy: share of the samples whose largest output is their class's; None without labels.
    """

    sqnr_db: dict[str, float]
    accuracy: float | None = None

    @property
    def worst_db(self) -> float:
        """Of the output with the most noise."""
        return min(self.sqnr_db.values(), default=MOST_DB)


class Judge:
    """Compares models with the float model on the samples of these indices."""

    def __init__(self, model: onnx.ModelProto, samples: Samples, indices: Sequence[int]) -> None:
        self.outputs = [
            info.name for info in model.graph.output if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        ]
        if not self.outputs:
            raise EdgelaneError("the model has no float32 output, so that int8 cannot be compared with float")
        self.samples, self.indices = samples, list(indices)
        self._runner = Runner(model, self.outputs)
        self._kept: list[list[Array]] = []
        self._bytes = 0
        self.accuracy = self._accuracy_of(self._runner) if samples.labels is not None else None

    def _reference(self, position: int, feeds: dict[str, Array]) -> list[Array]:
        """The float outputs of a batch, computed once where memory allows."""
        if position < len(self._kept):
            return self._kept[position]
        results = self._runner.run(feeds)
        size = sum(value.nbytes for value in results)
        if position == len(self._kept) and self._bytes + size <= CACHE_BYTES:
            self._kept.append(results)
            self._bytes += size
        return results

    def compare(self, model: onnx.ModelProto, indices: int | None = None, accuracy: bool = True) -> Verdict:
        """Judge a model with the same inputs and outputs, on the first `indices` samples where that is given."""
        runner = Runner(model, self.outputs)
        signal, noise = np.zeros(len(self.outputs)), np.zeros(len(self.outputs))
        chosen = self.indices[:indices]
        for position, (_, feeds) in enumerate(self.samples.batches(chosen, BATCH)):
            pairs = zip(self._reference(position, feeds), runner.run(feeds), strict=True)
            for output, (wanted, found) in enumerate(pairs):
                if wanted.shape != found.shape:
                    raise EdgelaneError(
                        f"output {self.outputs[output]!r}: expected {wanted.shape}, found {found.shape}"
                    )
                finite = np.isfinite(wanted)  # a mask of -inf is no signal
                real = np.where(finite, wanted, 0).astype(np.float64)
                signal[output] += float((real**2).sum())
                noise[output] += float(((real - np.where(finite, found, 0)) ** 2).sum())
        ratios = {name: decibels(s, n) for name, s, n in zip(self.outputs, signal, noise, strict=True)}
        judged = accuracy and self.samples.labels is not None
        return Verdict(ratios, self._accuracy_of(runner) if judged else None)

    def _accuracy_of(self, runner: Runner) -> float:
        labels = self.samples.labels
        assert labels is not None
        right = seen = 0
        for chosen, feeds in self.samples.batches(self.indices, BATCH):
            scores = runner.run(feeds)[0]
            if scores.ndim != 2 or scores.shape[0] != len(chosen):
                raise EdgelaneError(
                    f"accuracy: expected an output of one score for each class, found {list(scores.shape)}"
                )
            right += int((scores.argmax(1) == np.array([labels[index] for index in chosen])).sum())
            seen += len(chosen)
        return right / seen


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), at most MOST_DB, and -MOST_DB at least."""
    if noise == 0:
        return MOST_DB
    if signal == 0 or not math.isfinite(noise):
        return -MOST_DB
    return max(-MOST_DB, min(MOST_DB, 10 * math.log10(signal / noise)))
