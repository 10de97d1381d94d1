"""Each step of a compiled network on this CPU: what it holds, how it runs, and its time with and without its zeros.

Times are measured here and now, not modelled: the network as it is compiled, and the same network with every zero of
its weights replaced by a nonzero number, in turn. The least time of each step counts, which is what it takes when
nothing disturbs it. Nothing else can tell a layer whose zeros pay from one whose zeros do not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelane.check.models import Array, LaneModel
from edgelane.export.compiler import lane_file
from edgelane.export.compiler.lane_file import LaneFile, StepRecord, TensorRecord
from edgelane.export.compiler.patterns import examine

SPARSE_OPS = ("conv2d", "linear")
ROUNDS, REPEATS = 3, 5


@dataclass(frozen=True)
class LayerRow:
    """One step. Shapes are those of its first input and its output, times in microseconds; None: not measured."""

    name: str
    op: str
    dtype: str
    input_shape: list[int]
    output_shape: list[int]
    dense_macs: int
    macs: int  # with a nonzero weight
    density: float
    block_density: dict[str, float]  # share of blocks with a nonzero, by pattern; empty without weights
    pattern: str  # that the zeros follow, "-" without weights
    packing: str  # that the kernel chose here
    kernel: str
    dense_us: float | None = None
    sparse_us: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def layer_rows(model: LaneModel, feeds: Mapping[str, Array] | None) -> list[LayerRow]:
    """Describe every step, in order; with `feeds`, time each on them, on the model's threads and kernel set."""
    tensors = model.content.tensors
    rows = []
    for step, here in zip(model.content.steps, model.session.steps(), strict=True):
        first = tensors[next(index for index in step.inputs if index is not None)]
        weights = _weights(tensors, step)
        stats = examine(weights) if weights is not None else None
        rows.append(
            LayerRow(
                step.name,
                step.op,
                first.dtype,
                list(first.shape),
                list(tensors[step.output].shape),
                here.dense_macs,
                round(here.dense_macs * stats.density) if stats else here.dense_macs,
                stats.density if stats else 1.0,
                stats.block_density if stats else {},
                stats.pattern if stats else "-",
                here.format,
                here.kernel,
            )
        )
    if feeds is None:
        return rows
    dense, sparse = _times(model, feeds, any(row.density < 1 for row in rows))
    return [replace(row, dense_us=a, sparse_us=b) for row, a, b in zip(rows, dense, sparse, strict=True)]


def filled(content: LaneFile) -> LaneFile:
    """Return the network with every zero weight replaced by a nonzero number of the others' size."""
    generator = np.random.Generator(np.random.PCG64(0))
    tensors = list(content.tensors)
    for step in content.steps:
        weights = _weights(tensors, step)
        if weights is None or np.all(weights != 0):
            continue
        size = 1.0 if weights.dtype == np.int8 else float(np.sqrt(np.mean(np.square(weights)))) or 1.0
        numbers = np.where(weights == 0, size * generator.choice([-1, 1], weights.shape), weights)
        index = _weight_index(step)
        tensors[index] = replace(tensors[index], data=numbers.astype(weights.dtype), block=None)
    return LaneFile(tensors, content.steps, content.metadata)


def _weight_index(step: StepRecord) -> int:
    index = step.inputs[1]
    assert index is not None
    return index


def _weights(tensors: list[TensorRecord], step: StepRecord) -> Array | None:
    """The weights of a step that can be sparse."""
    return tensors[_weight_index(step)].data if step.op in SPARSE_OPS else None


def _times(model: LaneModel, feeds: Mapping[str, Array], zeros: bool) -> tuple[list[float], list[float]]:
    from edgelane.runtime import Session

    sessions = [model.session]
    if zeros:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "filled.lane"
            target.write_bytes(lane_file.to_bytes(filled(model.content)))
            sessions.append(Session(target, threads=model.session.threads, isa=model.isa))
    steps = [step.name for step in model.content.steps]
    best = [np.full(len(steps), np.inf) for _ in sessions]
    for _ in range(ROUNDS):
        for number, session in enumerate(sessions):
            timed = [row for row in session.profile(feeds, REPEATS) if row.op not in ("import", "export")]
            best[number] = np.minimum(best[number], [row.time_us for row in timed])
    return best[-1].tolist(), best[0].tolist()
