"""Timing of one group: a process for each engine and file, turns in random order, outputs compared first."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.models.groups import Group
from benchmarks.models.statistics import jitter, latency, ratio_of_minima, ratio_within_rounds, rms_error
from edgelane.bench.agreement import FLOAT_TOLERANCE
from edgelane.bench.compare import random_feeds
from edgelane.bench.machine import Load, cpu_flags
from edgelane.bench.processes import Worker, take_turns
from edgelane.doctor import write_tiny_network
from edgelane.runtime import TensorSpec

LOADS = 5
# Engines round single int8 activations to different neighbouring steps, and random networks carry that through all
# layers behind: 1 to 5 % of the outputs' root mean square. A wrong scale, channel or residual is far beyond.
INT8_TOLERANCE = 0.1
OWN = "edgelane "
# oneDNN, which OpenVINO computes with, then uses no AMX. ONNX Runtime has no such switch.
WITHOUT_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}


def measure(group: Group, threads: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Everything about one group on one thread count, as JSON values."""
    inputs = _inputs(group.reference)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, _workers(group, threads, inputs, scratch) as workers:
        errors = _errors(group, workers, inputs, Path(folder))
        load = Load(lambda: sum((worker.ask("cpu_seconds") for worker in workers.values()), time.process_time()))
        rounds = take_turns(workers, seconds)
        foreign = load.foreign_cores()
        loads = _loads(workers, LOADS) if threads == 1 else {}
        profiles = {name: workers[name].ask("profile") for name in workers if name.startswith(OWN)}
        facts = {name: worker.facts for name, worker in workers.items()}
    rows = {}
    for name in workers:
        rows[name] = {
            **asdict(latency(rounds[name])),
            "round_min_ms": [round(min(turn), 4) for turn in rounds[name]],
            "file": facts[name]["file"],
            "file_bytes": facts[name]["file_bytes"],
            "peak_mib": facts[name]["peak_kib"] / 1024,
            "before_mib": facts[name]["before_kib"] / 1024,
            "load_ms": float(np.median(loads[name])) if name in loads else None,
            "version": facts[name]["version"],
            "settings": facts[name]["settings"],
            "environment": facts[name]["environment"],
        }
        if name in profiles:
            rows[name]["macs"] = sum(row["macs"] for row in profiles[name])
            rows[name]["dense_macs"] = sum(row["dense_macs"] for row in profiles[name])
    return {
        "title": group.title,
        "int8": group.int8,
        "threads": threads,
        "rows": rows,
        "relative_error": errors,
        "tolerance": INT8_TOLERANCE if group.int8 else FLOAT_TOLERANCE,
        "other_processes_cores": foreign,
    }


def measure_scaling(lane: Path, seconds: float, scratch: Path) -> dict[str, Any]:
    """One compiled network on one thread and on two, in turns."""
    inputs = _inputs(lane.with_suffix(".onnx"))
    with Worker("one thread") as one, Worker("two threads") as two:
        workers = {"one": one, "two": two}
        for threads, worker in enumerate(workers.values(), 1):
            worker.ask("load", **_load_arguments("edgelane", lane, threads, inputs, scratch))
        rounds = take_turns(workers, seconds)
    return {
        "file": lane.name,
        "reference_ms": latency(rounds["one"]).min_ms,
        "own_ms": latency(rounds["two"]).min_ms,
        "ratio": ratio_of_minima(rounds["one"], rounds["two"]),
        "ratio_within_rounds": ratio_within_rounds(rounds["one"], rounds["two"]),
    }


def measure_jitter(lane: Path, seconds: float, core: int, scratch: Path) -> dict[str, Any]:
    """p99.9 over p50 of one compiled network on one pinned thread, beside empty loops on the same core."""
    inputs = _inputs(lane.with_suffix(".onnx"))
    with Worker("edgelane, pinned") as worker:
        worker.ask("pin", cores=[core])
        worker.ask("load", **_load_arguments("edgelane", lane, 1, inputs, scratch))
        samples = worker.ask("jitter", seconds=seconds)
    result = jitter(samples["runs_ms"], samples["spins_ms"])
    return {**asdict(result), "excess": result.excess, "file": lane.name, "core": core}


class _Loaded(Worker):
    """A worker that remembers what loading told."""

    facts: dict[str, Any]


@contextlib.contextmanager
def _workers(
    group: Group, threads: int, inputs: Sequence[Sequence[Any]], scratch: Path
) -> Iterator[dict[str, _Loaded]]:
    plan: dict[str, tuple[str, Path, dict[str, str]]] = {
        "onnxruntime": ("onnxruntime", group.onnxruntime_reference, {}),
        "openvino": ("openvino", group.reference, {}),
    }
    if group.int8 and "amx_int8" in cpu_flags():
        plan["openvino"] = ("openvino", group.reference, WITHOUT_AMX)
        plan["openvino with AMX"] = ("openvino", group.reference, {})
    for name, lane in group.own.items():
        plan[OWN + name] = ("edgelane", lane, {})
    with contextlib.ExitStack() as stack:
        workers: dict[str, _Loaded] = {}
        for name, (kind, path, environment) in plan.items():
            worker = workers[name] = _Loaded(name, environment)
            stack.callback(worker.close)
            worker.tell("load", **_load_arguments(kind, path, threads, inputs, scratch))
        for name, (_, path, environment) in plan.items():
            facts = {"file": path.name, "file_bytes": path.stat().st_size, "environment": environment}
            workers[name].facts = {**workers[name].answer(), **facts}
        yield workers


def _load_arguments(
    kind: str, path: Path, threads: int, inputs: Sequence[Sequence[Any]], scratch: Path
) -> dict[str, Any]:
    warm = _tiny(scratch).with_suffix(".lane" if kind == "edgelane" else ".onnx")
    return {
        "kind": kind,
        "path": str(path),
        "threads": threads,
        "inputs": inputs,
        "warm": str(warm),
        "warm_inputs": _inputs(warm.with_suffix(".onnx")),
    }


def _tiny(scratch: Path) -> Path:
    import edgelane

    path = scratch / "tiny.onnx"
    if not path.with_suffix(".lane").is_file():
        write_tiny_network(path)
        edgelane.compile(path, path.with_suffix(".lane"))
    return path


def _inputs(path: Path) -> list[list[Any]]:
    """Names, shapes and dtypes of the ONNX file's inputs."""
    graph = onnx.load(str(path), load_external_data=False).graph
    constants = {initializer.name for initializer in graph.initializer}
    return [
        [
            value.name,
            [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        ]
        for value in graph.input
        if value.name not in constants
    ]


def _errors(
    group: Group, workers: Mapping[str, Worker], inputs: Sequence[Sequence[Any]], folder: Path
) -> dict[str, float]:
    """How far every runner is from ONNX Runtime without optimisations on the same file: the root mean square of the
    difference over that of the outputs, the worst output's.
    """
    feeds = random_feeds([TensorSpec(name, tuple(shape), np.dtype(dtype)) for name, shape, dtype in inputs])
    wanted = {onnx_file: _reference(onnx_file, feeds) for onnx_file in {group.reference, *_sources(group).values()}}
    errors = {}
    for name, worker in workers.items():
        path = folder / f"{name}.npz"
        worker.ask("outputs", path=str(path))
        with np.load(path) as arrays:
            outputs = [arrays[key] for key in arrays.files]
        reference = wanted[_sources(group).get(name, group.reference)]
        errors[name] = max(rms_error(value, right) for value, right in zip(outputs, reference, strict=True))
    return errors


def _sources(group: Group) -> dict[str, Path]:
    """The ONNX files that edgelane's were compiled from, by runner."""
    return {OWN + name: lane.with_suffix(".onnx") for name, lane in group.own.items()}


def _reference(path: Path, feeds: Mapping[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, dict(feeds))
    return outputs


def _loads(workers: dict[str, _Loaded], count: int) -> dict[str, list[float]]:
    """Milliseconds of fresh loads, in turn, of edgelane and ONNX Runtime."""
    names = [name for name in workers if not name.startswith("openvino")]
    loads: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(count):
        for name in names:
            loads[name].append(workers[name].ask("reload"))
    return loads
