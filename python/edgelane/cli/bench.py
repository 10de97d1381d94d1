"""`edgelane bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.bench.timing import BenchmarkResult
from edgelane.cli.console import (
    CoresOption,
    MemoryLimitOption,
    SelfTestFlag,
    out,
    print_json,
    print_table,
    progress_bar,
    use_cores,
    use_memory_limit,
    warn,
)
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder, write_json


def bench(
    model: Annotated[Path, typer.Argument(help="A compiled network.", metavar="MODEL.lane")],
    against: Annotated[
        str,
        typer.Option(help="Engines to compare with: onnxruntime, openvino, torch; ENGINE=FILE for another file."),
    ] = "",
    threads: Annotated[str, typer.Option(help="Thread counts, one comparison for each, as 1,2.")] = "1",
    cores: CoresOption = None,
    self_test: SelfTestFlag = False,
    memory_limit: MemoryLimitOption = None,
    seconds: Annotated[float, typer.Option(help="Measuring time for each thread count.")] = 10.0,
    json: Annotated[
        str | None,
        typer.Option("--json", help="Where to write the figures; - is stdout. Default: bench.json beside the model."),
    ] = None,
) -> None:
    """Time a compiled network against other engines: in turn, on the same inputs and threads.

    Their outputs are compared first, and nothing is timed when they disagree. Writes the
    figures as JSON and report.html beside the model, with what compress found in the same folder.
    """
    from edgelane.bench.compare import compare

    counts = parse_threads(threads)
    use_cores(cores)
    use_memory_limit(memory_limit)
    target = model.with_name("bench.json") if json is None else Path(json)
    if json != "-" and model.is_file():
        make_folder(target.parent)  # before the measurement, not after it
    engines = [name.strip() for name in against.split(",") if name.strip()]
    with progress_bar("measuring") as update:
        comparison = compare(
            model,
            engines,
            threads=counts,
            seconds=seconds,
            self_test=self_test,
            progress=lambda stage, fraction: update(fraction, stage),
        )
    for count, result in comparison.results.items():
        for message in result.warnings:
            warn(f"{count} thread(s): {message}")
    for message in comparison.notes:
        warn(message)
    if json == "-":
        print_json(comparison.to_dict())
        return
    write_json(target, comparison.to_dict())
    for count, result in comparison.results.items():
        print_result(f"{count} thread{'s' * (count > 1)}, {comparison.precision}, batch 1", result)
    out().print(f"wrote {target}", markup=False)
    try:
        from edgelane.report.bench import write_bench_report
    except ModuleNotFoundError as error:
        from edgelane.extras import missing

        warn(f"no report.html: {missing((error.name or '').split('.')[0])}")
    else:
        page = target.with_name("report.html")
        write_bench_report(page, comparison)
        out().print(f"wrote {page}", markup=False)


def print_result(title: str, result: BenchmarkResult) -> None:
    """One table of latencies."""
    rows = [
        [
            row.name,
            f"{row.p50_ms:.3f}",
            f"{row.p90_ms:.3f}",
            f"{row.p99_ms:.3f}",
            f"{row.min_ms:.3f}",
            f"{row.mean_ms:.3f}",
            row.count,
            f"{row.speedup:.2f}x",
        ]
        for row in result.rows
    ]
    columns = (
        "engine",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "min ms",
        "mean ms",
        "samples",
        f"speed-up over {result.baseline}",
    )
    print_table(title, columns, rows)


def parse_threads(text: str) -> list[int]:
    """[1, 2] from "1,2"."""
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise EdgelaneError(f"expected thread counts such as 1,2, found {text!r}")
    return list(dict.fromkeys(counts))
