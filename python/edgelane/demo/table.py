"""The demo's table: numbers, text, closing remarks, and the page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelane.bench.timing import BenchmarkResult
from edgelane.demo.judge import BASELINE, Variant, table_rows

COLUMNS = ("model", "accuracy", "precision", "recall", "F1", "MACs", "file", "p50 ms", "p99 ms", "speed-up")


def make_rows(
    variants: Sequence[Variant], quality: Mapping[str, Any], figures: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One dictionary for each engine and variant; latencies and speed-ups by thread count, the first count being the
    table's.
    """
    rows = []
    for row in table_rows(variants):
        judged = quality[row.name]
        latencies = {
            count: next(timed for timed in result["rows"] if timed["name"] == row.name)
            for count, result in figures.items()
        }
        first = next(iter(latencies.values()))
        rows.append(
            {
                "model": row.name,
                **{key: judged["metrics"][key] for key in ("accuracy", "precision", "recall", "f1")},
                "macs": judged["macs"],
                "bytes": judged["bytes"],
                "p50_ms": first["p50_ms"],
                "p99_ms": first["p99_ms"],
                "speedup": first["speedup"],
                "threads": latencies,
            }
        )
    return rows


def as_text(rows: Sequence[Mapping[str, Any]], threads: str | None = None) -> list[list[str]]:
    """The rows as text for COLUMNS, at the first thread count or at `threads`."""
    text = []
    for row in rows:
        times = row if threads is None else row["threads"][threads]
        text.append(
            [
                row["model"],
                *(f"{row[key]:.1%}" for key in ("accuracy", "precision", "recall", "f1")),
                f"{row['macs'] / 1e6:.1f} M",
                f"{row['bytes'] / 1e6:.2f} MB",
                f"{times['p50_ms']:.3f}",
                f"{times['p99_ms']:.3f}",
                f"{times['speedup']:.2f}x",
            ]
        )
    return text


def summary(
    rows: Sequence[Mapping[str, Any]], quality: Mapping[str, Any], seconds: Mapping[str, float], counts: Sequence[int]
) -> list[str]:
    """What the table says, in sentences."""
    by_name = {row["model"]: row for row in rows}
    dense, small = by_name["edgelane dense fp32"], by_name["edgelane pruned+int8"]
    source = by_name[BASELINE]
    count = quality["edgelane dense fp32"]["metrics"]["count"]
    speeds = ", ".join(
        f"{source['threads'][key]['p50_ms'] / small['threads'][key]['p50_ms']:.2f}x on {key} thread{'s' * (value > 1)}"
        for value in counts
        for key in (str(value),)
    )
    rivals = [("OpenVINO", by_name["OpenVINO pruned+int8"]), ("ONNX Runtime", by_name["ONNX Runtime pruned+int8"])]
    others = ", ".join(f"{row['p50_ms'] / small['p50_ms']:.2f}x {name}" for name, row in rivals)
    return [
        f"accuracy on {count} held-out signs: pruned+int8 {100 * (small['accuracy'] - dense['accuracy']):+.2f} "
        "points against dense",
        f"file: 1/{source['bytes'] / small['bytes']:.1f} of the dense ONNX",
        f"p50 of pruned+int8 against {BASELINE}: {speeds}",
        f"p50 of pruned+int8 against int8 of others on the same zeros, {counts[0]} thread: {others}",
        f"time: {sum(seconds.values()):.0f} s ({', '.join(f'{name} {value:.0f}' for name, value in seconds.items())})",
    ]


def write_page(
    path: str | os.PathLike[str],
    about: str,
    values: Mapping[str, Any],
    figures: Mapping[str, Any],
    photos: Sequence[tuple[Any, str, bool]],
    run: Path,
) -> None:
    """Write report.html. `photos` are (picture, caption, whether all predictions in it are right); `run` is the folder
    of the compressed network.
    """
    from edgelane.report import LatencyPlot, LayerChart, Photo, Report, Table, write_report
    from edgelane.report.compress import read_parts

    results = {count: BenchmarkResult.from_dict(result) for count, result in figures.items()}
    first = next(iter(results))
    environment = results[first].environment
    own = [index for index, row in enumerate(values["rows"]) if row["model"].startswith("edgelane")]
    caption = (
        "Deployed files judged on the same held-out split. Latency at batch 1 in one interleaved run; speed-up against "
        f"{BASELINE}. MACs are those that are executed: the peers multiply the zeros too. "
        "ONNX Runtime gets the int8 network with uint8 instead of symmetric int8 activations where they cannot be "
        "negative, which it runs faster. OpenVINO computes float32 models in float32 here, not in bfloat16, its "
        "default on some CPUs."
    )
    tables = [
        Table(_threads(count), COLUMNS, as_text(values["rows"], count), caption if count == first else "", own)
        for count in results
    ]
    write_report(
        path,
        Report(
            title="edgelane demo: a network's life in six verbs",
            subtitle=f"{about} {values['settings']['model']}, {environment['cpu']}, {environment['date']}",
            tables=tables,
            latencies=[LatencyPlot(_threads(count), result.samples_ms) for count, result in results.items()],
            layers=[LayerChart(f"edgelane {title}", rows) for title, rows in figures[first]["layers"].items()],
            photos=[Photo(image, text, right) for image, text, right in photos],
            warnings=[f"{_threads(count)}: {text}" for count, result in results.items() for text in result.warnings],
            notes=values["notes"],
            compression=read_parts(run),
            environment=environment,
            commands=["edgelane demo", "", "# the same, one verb at a time", *values["commands"]],
        ),
    )


def _threads(count: str) -> str:
    return f"{count} thread{'s' * (count != '1')}"
