"""`edgelane calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgelane.cli.console import IsaOption, JsonFlag, ThreadsOption, out, print_json, print_table, progress_bar, warn


def calibrate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the table; by default in the cache folder, where it is found."),
    ] = None,
    threads: ThreadsOption = 1,
    isa: IsaOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure once how long layers take on this CPU: by shape, pattern, density and dtype.

    Takes some minutes. The latency of networks is then predicted from it, and sparsity is spent where it saves time
    (edgelane compress --latency-budget, --plan-only). Kept for this CPU, kernel set, number of threads and version in
    the cache folder ($EDGELANE_CACHE, else ~/.cache/edgelane).
    """
    from edgelane.latency import calibrate as measure
    from edgelane.latency import noise
    from edgelane.latency.table import table_path

    with progress_bar("calibrating") as update:
        model = measure(output, threads=threads, isa=isa, progress=update)
    table = model.table
    path = output if output is not None else table_path(threads, table.isa)
    disturbed = noise(table)
    if disturbed:
        warn(disturbed)
    if json:
        print_json(_summary(model, str(path), disturbed))
        return
    rows = [[name, count, f"{error:.1%}"] for name, (count, error) in sorted(model.errors.items())]
    print_table("median error after fitting", ("dtype and kernel", "steps", "error"), rows)
    out().print(
        f"{len(table.samples)} steps on {table.cpu}, {table.isa}, {threads} thread(s), in {table.seconds:.0f} s; "
        f"spread {table.spread:.1%}",
        markup=False,
    )
    out().print(f"wrote {path}", markup=False)


def _summary(model: Any, path: str, disturbed: str) -> dict[str, object]:
    table = model.table
    header = ("cpu", "isa", "threads", "version", "date", "seconds", "spread", "foreign_cores")
    return {
        **{key: getattr(table, key) for key in header},
        "path": path,
        "steps": len(table.samples),
        "noise": disturbed,
        "kernels": {name: {"steps": count, "error": round(error, 4)} for name, (count, error) in model.errors.items()},
    }
