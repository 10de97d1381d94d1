"""One variant of one model: build, export, compile, compare with ONNX Runtime, and on demand time both."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from benchmarks.zoo.build import build, images
from benchmarks.zoo.catalog import Entry
from benchmarks.zoo.exporters import NotExportable, export, reason
from benchmarks.zoo.outcomes import AGREES, DISAGREES, FAILED, NOT_EXPORTABLE, REFUSED, key
from edgelane.bench.agreement import FLOAT_TOLERANCE, relative_error
from edgelane.bench.peers import runner
from edgelane.bench.timing import benchmark
from edgelane.errors import EdgelaneError
from edgelane.export.compiler import CompileReport, compile
from edgelane.export.compiler.unsupported import UnsupportedNodes

Array = npt.NDArray[Any]
# Below this share of the largest output, what two images make different, a network says nothing about its layers.
RESPONSE = 1e-3


def check(entry: Entry, exporter: str, opset: int, folder: Path) -> dict[str, Any]:
    """Export, compile and compare two images at the small size; the outcome with what led to it, as JSON values."""
    size = entry.variant_size
    source, target = folder / "model.onnx", folder / "model.lane"
    try:
        export(build(entry, size), torch.from_numpy(images(1, size)), source, exporter, opset)
    except NotExportable as error:
        return {"outcome": NOT_EXPORTABLE, "reason": str(error), "size": size}
    start = time.perf_counter()
    try:
        report, source = _compile(entry, source, target)
    except EdgelaneError as error:
        return {"outcome": REFUSED, "reason": str(error)[:2000], "size": size}
    facts = {
        "size": size,
        "steps": len(report.layers),
        "macs": report.dense_macs,
        "compile_s": round(time.perf_counter() - start, 2),
    }
    return {**facts, **compare(source, target, images(2, size), ranked=entry.complete)}


def _compile(entry: Entry, source: Path, target: Path) -> tuple[CompileReport, Path]:
    """Compile a model, a complete detector up to where the compiler says that it can be cut; return the ONNX file with
    the same outputs.
    """
    try:
        return compile(source, target, golden=False), source
    except UnsupportedNodes as error:
        if not entry.complete or not error.cut:
            raise
        report = compile(source, target, golden=False, outputs=error.cut)
        model = onnx.load(str(source))
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in error.cut)
        cut = source.with_name("cut.onnx")
        onnx.save(model, cut)
        return report, cut


def compare(source: Path, target: Path, batch: Array, *, ranked: bool = False) -> dict[str, Any]:
    """The largest error of any output of any image relative to that output's largest magnitude, and the outcome.

    `ranked`: rows are in the order of scores, in which two that are equal up to rounding may change places, so each
    column is sorted before it is compared.
    """
    feeds = [{"x": batch[index : index + 1]} for index in range(len(batch))]
    wanted = [_outputs("onnxruntime", source, feed) for feed in feeds]
    try:
        found = [_outputs("edgelane", target, feed) for feed in feeds]
    except EdgelaneError as error:
        return {"outcome": FAILED, "reason": str(error)[:2000]}
    if ranked:
        wanted, found = ([[_sorted(value) for value in values] for values in both] for both in (wanted, found))
    errors = [
        relative_error(value, right) if value.shape == right.shape and np.isfinite(right).all() else float("inf")
        for values, rights in zip(found, wanted, strict=True)
        for value, right in zip(values, rights, strict=True)
    ]
    worst = float(np.nan_to_num(np.max(errors), nan=np.inf))
    response = max(relative_error(one, other) for one, other in zip(wanted[0], wanted[-1], strict=True))
    if worst <= FLOAT_TOLERANCE and response < RESPONSE:
        return {"outcome": FAILED, "reason": f"two images differ by {response:.1e}: nothing is compared"}
    shown: float | str = worst if np.isfinite(worst) else "not finite"
    return {"outcome": AGREES if worst <= FLOAT_TOLERANCE else DISAGREES, "error": shown, "response": response}


def _sorted(value: Array) -> Array:
    return np.sort(value, axis=0) if value.ndim <= 2 else value


def _outputs(kind: str, path: Path, feeds: Mapping[str, Array]) -> list[Array]:
    return [value.copy() for value in runner(kind, path, feeds)()]


def measure(entry: Entry, exporter: str, opset: int, folder: Path, seconds: float) -> dict[str, Any]:
    """The same at the full size, and milliseconds of both engines on one thread, in turns."""
    source, target = folder / "model.onnx", folder / "model.lane"
    batch = images(1, entry.size)
    try:
        export(build(entry, entry.size), torch.from_numpy(batch), source, exporter, opset)
        report = compile(source, target, golden=False)
    except (NotExportable, EdgelaneError) as error:
        return {"outcome": REFUSED, "reason": str(error)[:2000], "size": entry.size}
    facts: dict[str, Any] = {
        "size": entry.size,
        "variant": key(exporter, opset),
        "steps": len(report.layers),
        "macs": report.dense_macs,
        **compare(source, target, images(2, entry.size)),
    }
    if facts["outcome"] != AGREES:
        return facts
    runners = {kind: runner(kind, path, {"x": batch}) for kind, path in (("onnxruntime", source), ("edgelane", target))}
    result = benchmark(runners, seconds, warmup_seconds=0.1)
    own, reference = result.row("edgelane"), result.row("onnxruntime")
    return {
        **facts,
        "edgelane_ms": round(own.min_ms, 3),
        "onnxruntime_ms": round(reference.min_ms, 3),
        "edgelane_p50_ms": round(own.p50_ms, 3),
        "onnxruntime_p50_ms": round(reference.p50_ms, 3),
        "other_processes_cores": result.environment["other_processes_cores"],
    }


def guarded(work: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """`check` or `measure` by name; any exception becomes an outcome."""
    try:
        result: dict[str, Any] = {"check": check, "measure": measure}[work](*arguments)
        return result
    except Exception as error:  # a fault of any library below is a finding about this variant, not the end of the run
        return {"outcome": FAILED, "reason": reason(error)}
