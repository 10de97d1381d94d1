"""The page of `edgelane bench`, which is that of the whole run folder: it holds what `edgelane compress` found too."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from edgelane.bench.compare import Comparison
from edgelane.files import read_json
from edgelane.report.compress import parts
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
    compression, warnings, commands = _compression(comparison.model)
    write_report(
        path,
        Report(
            title=comparison.model.name,
            subtitle=f"Latency on {first.environment['cpu']}, {first.environment['date']}",
            tables=[Table("Latency", columns, rows, caption, emphasis)],
            latencies=[LatencyPlot(_threads(count), result.samples_ms) for count, result in comparison.results.items()],
            layers=[LayerChart(_threads(count), comparison.layers[count]) for count in counts],
            warnings=[
                *(
                    f"{_threads(count)}: {text}"
                    for count, result in comparison.results.items()
                    for text in result.warnings
                ),
                *warnings,
            ],
            notes=comparison.notes,
            compression=compression,
            environment=first.environment,
            commands=[*commands, f"{command} --threads {','.join(map(str, counts))} --seconds {comparison.seconds:g}"],
        ),
    )


def _compression(model: Path) -> tuple[dict[str, Any] | None, list[str], list[str]]:
    """(what to show, warnings, commands) of the compress.json beside `model`; nothing where there is none.

    Pictures come from compressed.pt and what lies in the folder `compress`, where torch is there to read them.
    """
    from edgelane.runtime import Session

    folder = model.parent
    if not (folder / "compress.json").is_file():
        return None, [], []
    content = read_json(folder / "compress.json")
    network, maps = None, None
    if importlib.util.find_spec("torch") is not None and (folder / "compressed.pt").is_file():
        from edgelane.checkpoint import Checkpoint
        from edgelane.robustness import Saliency

        network = Checkpoint.load(folder / "compressed.pt").build()
        if (folder / "compress" / "saliency.npz").is_file():
            maps = Saliency.load(folder / "compress" / "saliency.npz")
    found = parts(content, model=network, saliency=maps)
    warnings = list(found["warnings"])
    compiled = Session(model).metadata.get("compression") or {}
    if compiled.get("recipe") != content.get("recipe"):
        warnings.insert(
            0,
            f"{model.name} is not the network that {folder / 'compress.json'} is about: export and "
            "compile that again to time it.",
        )
    return found, warnings, list(content.get("commands") or ())


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"
