"""Predicting the time of layers and of whole networks from a calibration."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from edgelane.errors import EdgelaneError
from edgelane.latency.features import (
    CHANNEL_GROUP,
    PATTERN_BLOCKS,
    WINOGRAD_TILE,
    Vector,
    Work,
    block_density,
    block_oc_of,
    lanes_of,
)
from edgelane.latency.kernel_fit import KernelFit, fit
from edgelane.latency.shapes import DTYPES, LayerShape
from edgelane.latency.table import COMMAND, Sample, Table, default_isa, table_path
from edgelane.latency.tracing import Network

Levels = tuple[float, float]  # something for a core's own cache, and for the last one
# fmt: off
SPARSITIES = np.array([
    0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.97, 0.985,
    0.995,
])
# fmt: on
GAIN = 0.02  # a sparse layer has overtaken the dense one when it takes this share less: no prediction is finer
OWN_CACHES = (0.5e6, 1e6, 2e6, 4e6)  # bytes; those that explain the calibration best are this CPU's
LAST_CACHES = (6e6, 12e6, 24e6, 48e6, 96e6)
USUAL_FOOTPRINT = 8_000_000  # bytes of a network, where a layer is asked for without one


@dataclass(frozen=True)
class LayerPlan:
    """What a layer becomes. `pattern` "dense" or one of sparsity; `sparsity` is the share of its weights that are
    zero.
    """

    pattern: str = "dense"
    sparsity: float = 0.0
    dtype: str = "float32"


DENSE = LayerPlan()


@dataclass(frozen=True)
class StepPrediction:
    """One step of a predicted network. `layer` is its torch name, empty for steps without weights; `estimated` is true
    where the calibration knows no such step, and a similar one stood in.
    """

    name: str
    layer: str
    shape: LayerShape
    plan: LayerPlan
    time_us: float
    estimated: bool


@dataclass(frozen=True)
class Prediction:
    """Predicted time of a whole network, copies of inputs and outputs included; its steps in order."""

    total_us: float
    rows: list[StepPrediction]


class LatencyModel:
    """Times of layers on one CPU, for one number of threads and one kernel set."""

    def __init__(self, table: Table) -> None:
        """Fit a calibration. Raises EdgelaneError for one without convolutions."""
        self.table = table
        self.lanes = lanes_of(table.isa)
        groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        for sample in table.samples:
            groups[_kind(sample)].append(sample)
        if not any(kernel.startswith("conv2d") for _, kernel in groups):
            raise EdgelaneError(f"the calibration holds no convolution; run `{COMMAND}` again")
        self.caches = self._find_caches(groups)
        self._fits = {key: self._fit(key[1], samples, self.caches) for key, samples in groups.items()}
        self._curves: dict[tuple[LayerShape, str, Levels], Vector] = {}

    @classmethod
    def load(cls, threads: int = 1, isa: str | None = None) -> LatencyModel:
        """The model of this CPU from the cache folder, read once in a process. Raises EdgelaneError, which names the
        command, without one.
        """
        path = find_table(threads, isa)
        return _read_once(path, os.stat(path).st_mtime_ns)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LatencyModel:
        """The model of a table that `calibrate` wrote."""
        return cls(Table.read(path))

    # ---- what is asked ----

    def layer_us(
        self,
        layer: LayerShape,
        pattern: str = "dense",
        sparsity: float = 0.0,
        dtype: str | None = None,
        *,
        footprint_bytes: float = USUAL_FOOTPRINT,
    ) -> float:
        """Predicted microseconds of one layer within a network of `footprint_bytes` of weights and activations.

        `dtype` None is the layer's own. Never rises with the sparsity, and never exceeds the dense layer's time: the
        runtime packs a layer dense where that is faster. Raises EdgelaneError for a step that is no layer, a pattern,
        sparsity or dtype that there is not.
        """
        shape = as_dtype(layer, dtype)
        check_plan(pattern, sparsity)
        curve = self._curve(shape, pattern, self._levels(footprint_bytes))
        return float(np.interp(sparsity, SPARSITIES, curve))

    def step_us(self, shape: LayerShape, *, footprint_bytes: float = USUAL_FOOTPRINT) -> float:
        """Predicted microseconds of any step without weights, or of a dense layer."""
        return self._step(shape, self._levels(footprint_bytes))[0]

    def overtakes(
        self, layer: LayerShape, pattern: str, dtype: str | None = None, *, footprint_bytes: float = USUAL_FOOTPRINT
    ) -> float | None:
        """The sparsity from which the layer takes less time than dense; None where it never does.

        Found on the predicted curve, between its points by linear interpolation. Less time means at least 2 % less:
        no prediction is finer.
        """
        shape = as_dtype(layer, dtype)
        check_plan(pattern, 0.0)
        curve = self._curve(shape, pattern, self._levels(footprint_bytes))
        limit = curve[0] * (1 - GAIN)
        most = _most_sparse(pattern)
        below = np.flatnonzero((curve < limit) & (most + 1e-9 >= SPARSITIES))
        if below.size == 0:
            return None
        at = int(below[0])
        share = (curve[at - 1] - limit) / (curve[at - 1] - curve[at])
        return float(SPARSITIES[at - 1] + share * (SPARSITIES[at] - SPARSITIES[at - 1]))

    def predict(self, network: Network, plan: Mapping[str, LayerPlan] | None = None) -> Prediction:
        """Predicted time of a whole network under a plan; layers that it does not name are dense float32.

        Raises EdgelaneError for a name that is no layer of the network and for settings that there are not.
        """
        wanted = network.checked(plan or {})
        form = network.form(wanted)
        footprint = self.footprint(network, plan)
        levels = self._levels(footprint)
        rows = []
        for step in form.steps:
            chosen = wanted.get(step.layer, DENSE) if step.layer else DENSE
            if step.shape.is_layer:
                check_plan(chosen.pattern, chosen.sparsity)
                curve = self._curve(step.shape, chosen.pattern, levels)
                time_us, estimated = float(np.interp(chosen.sparsity, SPARSITIES, curve)), False
            else:
                time_us, estimated = self._step(step.shape, levels)
                chosen = LayerPlan(dtype=step.shape.dtype)
            rows.append(StepPrediction(step.name, step.layer, step.shape, chosen, time_us, estimated))
        return Prediction(sum(row.time_us for row in rows), rows)

    def footprint(self, network: Network, plan: Mapping[str, LayerPlan] | None = None) -> float:
        """About how many bytes of packed weights and activations the network works on."""
        wanted = network.checked(plan or {})
        steps = network.form(wanted).steps
        weights = 0.0
        for step in steps:
            if step.shape.is_layer:
                chosen = wanted.get(step.layer, DENSE)
                weights += self._packed_bytes(step.shape, chosen.pattern, chosen.sparsity)
        return weights + max((step.shape.activation_bytes for step in steps), default=0)

    @cached_property
    def errors(self) -> dict[str, tuple[int, float]]:
        """For each kernel, its samples and the median of the relative error that is left after fitting."""
        return {f"{dtype} {name}": (known.samples, known.error) for (dtype, name), known in self._fits.items()}

    # ---- fitting ----

    def _find_caches(self, groups: Mapping[tuple[str, str], list[Sample]]) -> Levels:
        """The sizes from which weights come from the next cache and from memory: linear layers, which do little but
        read weights, tell them.
        """
        streamed = {key: samples for key, samples in groups.items() if key[1] == "linear" and len(samples) >= 5}

        def error(caches: Levels) -> float:
            fits = [(self._fit(key[1], rows, caches, correct=False), len(rows)) for key, rows in streamed.items()]
            return sum(known.error * count for known, count in fits)

        return min(itertools.product(OWN_CACHES, LAST_CACHES), key=error)

    def _fit(self, kernel: str, samples: list[Sample], caches: Levels, *, correct: bool = True) -> KernelFit:
        works = [_work_of(sample, _levels(sample.footprint_bytes, caches)) for sample in samples]
        return fit(kernel, works, [sample.time_us for sample in samples], self.lanes, correct=correct)

    # ---- evaluating ----

    def _levels(self, footprint_bytes: float) -> Levels:
        near, far = _levels(footprint_bytes, self.caches)
        return round(near, 2), round(far, 2)

    def _curve(self, shape: LayerShape, pattern: str, levels: Levels) -> Vector:
        """Microseconds at each of SPARSITIES."""
        key = (shape, pattern, levels)
        if key not in self._curves:
            self._curves[key] = self._new_curve(shape, pattern, levels)
        return self._curves[key]

    def _new_curve(self, shape: LayerShape, pattern: str, levels: Levels) -> Vector:
        candidates = self._candidates(shape)
        packed_dense = shape.op != "conv2d" or shape.is_depthwise  # whatever their zeros
        own = "dense" if packed_dense else pattern
        times = np.min([known.times(self._works(known, shape, own, levels), self.lanes) for known in candidates], 0)
        # Where fewer blocks were slower, the runtime can pack some zeros with the rest.
        falling: Vector = np.minimum.accumulate(times)
        return falling

    def _works(self, known: KernelFit, shape: LayerShape, pattern: str, levels: Levels) -> list[Work]:
        return [self._work_at(known, shape, pattern, float(sparsity), levels) for sparsity in SPARSITIES]

    def _candidates(self, shape: LayerShape) -> list[KernelFit]:
        """The kernels that may run a layer; the runtime takes about the fastest.

        Raises EdgelaneError where the calibration knows none.
        """
        if shape.op == "linear":
            found = self._named(shape, "linear") or [
                known for (_, name), known in self._fits.items() if name == "linear"
            ]
        else:
            found = self._named(shape, "depthwise") if shape.is_depthwise else []
            found = found or self._named(shape, "conv2d")  # what depthwise layers run on where they have no kernel
            found = [known for known in found if (shape.taps > 1) in known.with_taps] or found
            if shape.dtype == "float32" and _winograd_fits(shape):
                found = found + self._named(shape, "winograd")
        if not found:
            raise EdgelaneError(f"the calibration knows no {shape.dtype} layer like {shape}; run `{COMMAND}` again")
        return found

    def _named(self, shape: LayerShape, prefix: str) -> list[KernelFit]:
        return [
            known for (dtype, name), known in self._fits.items() if dtype == shape.dtype and name.startswith(prefix)
        ]

    def _step(self, shape: LayerShape, levels: Levels) -> tuple[float, bool]:
        """Microseconds, and whether another kind of step stood in."""
        if shape.is_layer:
            return float(self._curve(shape, "dense", levels)[0]), False
        name = f"{shape.op} {shape.variant}".strip()
        exact = self._fits.get((shape.dtype, name))
        if exact is not None:
            return float(exact.times([Work(shape)], self.lanes)[0]), False
        similar = [known for (_, other), known in self._fits.items() if other.split()[0] == shape.op]
        moving = [known for (_, other), known in self._fits.items() if other.split()[0] in ("binary", "unary")]
        for stand_ins in (similar, moving):
            if stand_ins:
                times = [known.times([Work(shape)], self.lanes)[0] for known in stand_ins]
                return float(np.median(times)), True
        return 0.0, True

    def _packed_bytes(self, shape: LayerShape, pattern: str, sparsity: float) -> float:
        """Bytes of a layer's weights as the runtime packs them: 4 for each weight of float32 or four of int8."""
        if shape.op != "conv2d" or shape.is_depthwise:
            return shape.weights * (1 if shape.dtype == "int8" else 4)
        known = min(
            self._candidates(shape),
            key=lambda k: k.times([self._work_at(k, shape, pattern, sparsity)], self.lanes)[0],
        )
        if known.kernel.startswith("winograd"):
            return shape.ic * shape.oc * 4.0 * (WINOGRAD_TILE + 2) ** 2
        words = shape.weights / (CHANNEL_GROUP if shape.dtype == "int8" else 1)
        work = self._work_at(known, shape, pattern, sparsity)
        return words * work.density * (4.0 + 4.0 / work.block_oc)

    def _work_at(
        self, known: KernelFit, shape: LayerShape, pattern: str, sparsity: float, levels: Levels = (0.0, 0.0)
    ) -> Work:
        block_oc, block_ic = block_oc_of(known.kernel), CHANNEL_GROUP if shape.dtype == "int8" else 1
        return Work(shape, block_oc, block_density(pattern, sparsity, block_oc, block_ic, shape), *levels)


@lru_cache(maxsize=4)
def _read_once(path: str, changed_ns: int) -> LatencyModel:
    return LatencyModel.read(path)


def find_table(threads: int = 1, isa: str | None = None) -> str:
    """The path of this CPU's calibration. Raises EdgelaneError, which names the command, where there is none."""
    kernel_set = isa or default_isa()
    path = table_path(threads, kernel_set)
    if not path.is_file():
        options = (f" --threads {threads}" if threads != 1 else "") + (f" --isa {isa}" if isa else "")
        raise EdgelaneError(
            f"no latency calibration of this CPU for {threads} thread{'s' * (threads != 1)} and {kernel_set}: "
            f"run `{COMMAND}{options}` first (some minutes, once)"
        )
    return os.fspath(path)


def as_dtype(layer: LayerShape, dtype: str | None) -> LayerShape:
    """The layer with its arithmetic in `dtype`. Raises EdgelaneError for a step without weights."""
    if not layer.is_layer:
        raise EdgelaneError(f"expected a convolution or linear layer, found {layer}")
    if dtype is None or dtype == layer.dtype:
        return layer
    if dtype not in DTYPES:
        raise EdgelaneError(f"unknown dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    return replace(layer, dtype=dtype, output_dtype=dtype)


def check_plan(pattern: str, sparsity: float) -> None:
    """Raise EdgelaneError for a pattern that has no times, or a sparsity that it cannot have."""
    if pattern == "channel":
        raise EdgelaneError(
            "channel pruning changes the shapes of layers: predict the pruned model itself, with network(pruned, ...)"
        )
    names = ("dense", *PATTERN_BLOCKS)
    parts = pattern.split(":") if isinstance(pattern, str) else []
    group = len(parts) == 2 and all(part.isdecimal() for part in parts) and 0 < int(parts[0]) < int(parts[1])
    if pattern not in names and not group:
        raise EdgelaneError(f"unknown sparsity pattern {pattern!r}; expected one of {', '.join(names)} or N:M")
    number = isinstance(sparsity, (int, float, np.floating)) and not isinstance(sparsity, bool)
    most = _most_sparse(pattern)
    if not number or not 0 <= sparsity < 1 or sparsity > most + 1e-9:
        limit = "below 1" if most == 1 else f"{most:.4g}"
        raise EdgelaneError(f"expected the sparsity of {pattern!r} to be from 0 to {limit}, found {sparsity!r}")


def _most_sparse(pattern: str) -> float:
    if pattern == "dense":
        return 0.0
    parts = pattern.split(":")
    return 1 - int(parts[0]) / int(parts[1]) if len(parts) == 2 else 1.0


def _levels(footprint_bytes: float, caches: Levels) -> Levels:
    """The shares of weights that come from beyond each cache: a half where the network is as large as it."""
    own, last = ((footprint_bytes / size) ** 2 for size in caches)
    return own / (1 + own), last / (1 + last)


def _winograd_fits(s: LayerShape) -> bool:
    return s.kernel == (3, 3) and s.stride == (1, 1) and s.dilation == (1, 1) and s.groups == 1


def _kind(sample: Sample) -> tuple[str, str]:
    """Samples of one kind are fitted together: (dtype, kernel or op)."""
    s = sample.shape
    if s.op == "conv2d":
        return s.dtype, "depthwise" if sample.kernel.startswith("depthwise") else sample.kernel
    return s.dtype, f"{s.op} {s.variant}".strip()


def _work_of(sample: Sample, levels: Levels) -> Work:
    """The density of the blocks that the kernel executed, from the multiply-accumulates that it counted."""
    s = sample.shape
    if not sample.kernel.startswith("conv2d"):
        return Work(s, 1, 1.0, *levels)
    block_oc = block_oc_of(sample.kernel)
    deep = CHANNEL_GROUP if s.dtype == "int8" else 1
    oc = -(-s.oc // block_oc) * block_oc
    ic = -(-(s.ic // s.groups) // deep) * deep
    return Work(s, block_oc, min(1.0, sample.macs / (s.positions * oc * ic * s.taps)), *levels)
