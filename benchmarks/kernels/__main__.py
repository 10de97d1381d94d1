"""`make bench`: what each kernel reaches of this machine's ceilings, and from which sparsity on sparse is faster.

    python -m benchmarks.kernels [--network resnet50] [--dtype int8] [--pattern 4x4] [--json build/kernels.json]

For every layer shape of the networks in layers.txt, dense and at 50 to 95 % in each pattern: the kernel and format
that the runtime chooses, time, Op/s, bytes/s (packed weights, input and output, each once), and the share of the
ceiling that binds it. Then the table of break-even sparsities.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.kernels.make_layers import NETWORKS
from benchmarks.kernels.program import PROGRAM, Filter, break_even_table, percent, run
from edgelane.bench.machine import environment
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder, write_json

DTYPES, PATTERNS = ("float32", "int8"), ("unstructured", "4x1", "1x4", "4x4")


def main() -> int:
    """Measure, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels")
    parser.add_argument("--network", choices=NETWORKS, default="")
    parser.add_argument("--dtype", choices=DTYPES, default="")
    parser.add_argument("--pattern", choices=PATTERNS, default="")
    parser.add_argument("--json", type=Path, default=Path("build/kernels.json"))
    parser.add_argument("--program", type=Path, default=PROGRAM)
    arguments = parser.parse_args()
    chosen = Filter(arguments.network, arguments.dtype, arguments.pattern)
    make_folder(arguments.json.parent)
    console = Console(width=None if sys.stdout.isatty() else 160)
    with Console(stderr=True).status("measuring") as status:
        roofline = run("roofline", chosen, arguments.program, status.update)
        even = run("break-even", chosen, arguments.program, status.update)
    _print_ceilings(console, roofline["ceilings"])
    _print_roofline(console, roofline["roofline"])
    tables = _break_even(even["break_even"])
    for (network, dtype), table in tables.items():
        _print_break_even(console, f"break-even sparsity, {network}, {dtype}, one thread", table)
    write_json(
        arguments.json,
        {
            "machine": environment(),
            "isa": roofline["isa"],
            "ceilings": roofline["ceilings"],
            "roofline": roofline["roofline"],
            "break_even": even["break_even"],
        },
    )
    console.print(f"wrote {arguments.json}", markup=False)
    return 0


def _break_even(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["dtype"]), []).append(row)
    return {key: break_even_table(group) for key, group in groups.items()}


def _print_ceilings(console: Console, ceilings: dict[str, Any]) -> None:
    table = Table("ceiling of one core", "", title="this machine")
    for peak in ceilings["peaks"]:
        table.add_row(f"{peak['dtype']}, {peak['isa']}", f"{peak['macs_per_s'] / 1e9:.1f} G multiply-adds/s")
    for level in ceilings["read"]:
        table.add_row(f"reads from {level['level']}", f"{level['bytes_per_s'] / 1e9:.1f} GB/s")
    for barrier in ceilings["barrier"]:
        table.add_row(f"barrier of {barrier['threads']} thread(s)", f"{barrier['us']:.2f} µs")
    console.print(table)


def _print_roofline(console: Console, rows: list[dict[str, Any]]) -> None:
    columns = ("pattern", "zeros", "kernel", "format", "µs", "GOp/s", "GB/s", "bound by", "of ceiling")
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["layer"], row["dtype"]), []).append(row)
    for (network, layer, dtype), group in groups.items():
        table = Table(*columns, title=f"{network}, {layer}, {dtype}, {group[0]['uses']} use(s)", title_justify="left")
        for row in group:
            table.add_row(
                row["pattern"],
                f"{row['sparsity']:.0%}",
                row["kernel"],
                row["format"],
                f"{row['us']:.1f}",
                f"{row['op_per_s'] / 1e9:.1f}",
                f"{row['bytes_per_s'] / 1e9:.1f}",
                row["bound"],
                f"{row['of_ceiling']:.0%}",
            )
        console.print(table)


def _print_break_even(console: Console, title: str, found: dict[str, Any]) -> None:
    patterns = list(found["network"])
    table = Table("layer", "uses", *patterns, title=title)
    for layer in found["layers"]:
        table.add_row(layer["layer"], str(layer["count"]), *(percent(layer["sparsity"].get(name)) for name in patterns))
    table.add_row("all layers, by their number", "", *(percent(found["network"][name]) for name in patterns))
    console.print(table)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgelaneError as error:
        sys.exit(f"benchmarks.kernels: {error}")
