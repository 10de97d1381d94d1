"""Calibration: the float model over the images, with the values that will be int8 as outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx

from edgelane.export.int8.images import Samples
from edgelane.export.int8.network import Array
from edgelane.export.int8.running import Runner
from edgelane.observers import Observer, check_finite

BATCH = 32  # images whose range counts as one batch, as in edgelane.compression
VALUES_BYTES = 512 << 20  # of observed values that are held at once

Progress = Callable[[float], None]


def observe(
    model: onnx.ModelProto,
    sources: Mapping[str, Sequence[str]],
    samples: Samples,
    indices: Sequence[int],
    progress: Progress,
) -> dict[str, Observer]:
    """An Observer for the values of each of `sources` together, by its key.

    Raises EdgelaneError that names the value and the batch for NaN and infinity.
    """
    observers = {origin: Observer() for origin in sources}
    values = list(dict.fromkeys(value for together in sources.values() for value in together))
    given = [value for value in values if value in {entry.name for entry in samples.inputs}]
    computed = [value for value in values if value not in given]
    runner = Runner(model, computed)

    def run(chosen: Sequence[int], size: int) -> Iterator[dict[str, Array]]:
        for _, feeds in samples.batches(chosen, size):
            yield dict(zip(computed, runner.run(feeds), strict=True)) | {name: feeds[name] for name in given}

    own = samples.batch or 1
    first = next(run(indices[:own], own))
    taken = sum(value.nbytes for value in first.values()) // own
    together = own * max(1, min(BATCH, VALUES_BYTES // max(taken, 1)) // own)
    for batch, start in enumerate(range(0, len(indices), together)):
        parts = list(run(indices[start : start + together], together))
        for origin, observer in observers.items() if parts else ():
            for value in sources[origin]:
                what = "the input" if value in given else f"activation {value!r}"
                for part in parts:
                    check_finite(part[value], what, batch)
            observer.add(np.concatenate([part[value].reshape(-1) for value in sources[origin] for part in parts]))
        progress(min(1.0, (start + together) / len(indices)))
    return observers
