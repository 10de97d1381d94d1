"""The page of `edgelane bench`, which is that of the whole run folder: it holds what `edgelane compress` found too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelane.bench.compare import Comparison
from edgelane.extras import missing
from edgelane.report.compress import read_parts
from edgelane.report.page import LatencyPlot, LayerChart, Report, Table, write_report


def write_bench_report(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write the result of `edgelane.bench.compare.compare` as one HTML file, and with it what compress.json beside the
    model says.
    """
    counts = list(comparison.results)
    rows: list[list[str]] = []
    emphasis: list[int] = []
    for count, result in comparison.results.items():
        for row in result.rows:
            if row.name == "edgelane":
                emphasis.append(len(rows))
            times = (row.p50_ms, row.p90_ms, row.p99_ms, row.min_ms, row.mean_ms)
            error = comparison.errors[count].get(row.name)
            rows.append(
                [
                    row.name,
                    str(count),
                    *(f"{time:.3f}" for time in times),
                    str(row.count),
                    f"{row.speedup:.2f}x",
                    "other file" if error is None else f"{error:.1e}",
                ]
            )
    columns = ("engine", "threads", "p50 ms", "p90 ms", "p99 ms", "min ms", "mean ms", "samples", "speed-up", "error")
    first = comparison.results[counts[0]]
    caption = (
        f"Batch 1, {comparison.precision}. Engines took turns in one run for each thread count. Speed-up is against "
        f"{first.baseline} "
        "at the same thread count. Error is the largest difference from edgelane's output, relative to its largest "
        "magnitude."
    )
    engines = ",".join(name.replace(" ", "=", 1) for name in comparison.runners if name != "edgelane")
    command = f"edgelane bench {comparison.model}" + (f" --against {engines}" if engines else "")
    command += f" --threads {','.join(map(str, counts))} --seconds {comparison.seconds:g}"
    warnings = [
        f"{_threads(count)}: {text}" for count, result in comparison.results.items() for text in result.warnings
    ]
    compression = None
    try:
        compression = read_parts(comparison.model.parent)
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        warnings.append(f"What edgelane compress found is not on this page: {missing(package)}")
    compressed = {} if compression is None else compression["content"]
    write_report(
        path,
        Report(
            title=comparison.model.name,
            subtitle=f"Latency on {first.environment['cpu']}, {first.environment['date']}",
            tables=[Table("Latency", columns, rows, caption, emphasis)],
            latencies=[LatencyPlot(_threads(count), result.samples_ms) for count, result in comparison.results.items()],
            layers=[LayerChart(_threads(count), comparison.layers[count]) for count in counts],
            warnings=[*warnings, *_mismatch(comparison.model, compressed)],
            notes=comparison.notes,
            compression=compression,
            environment=first.environment,
            commands=[*compressed.get("commands", ()), command],
        ),
    )


def _mismatch(model: Path, compressed: Mapping[str, Any]) -> list[str]:
    """A warning where `model` is not the network that `compressed`, the content of compress.json, is of."""
    from edgelane.runtime import Session

    made_by = (Session(model).metadata.get("compression") or {}).get("recipe")
    if not compressed or made_by == compressed.get("recipe"):
        return []
    return [f"{model.name} is not the network that compress.json beside it is of; export and compile that to time it."]


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"
