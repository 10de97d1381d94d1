"""`edgelane demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli.console import JsonFlag, out, print_json, print_table


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "runs/demo"
    ),
    json: JsonFlag = False,
) -> None:
    """All six verbs in a row: train a sign classifier, prune it, quantise it, compile it, run it, and time it against
    other engines.

    Takes some minutes. A second call repeats only what is missing or out of date.
    """
    from edgelane.demo import run_demo

    result = run_demo(output)
    if json:
        print_json(result.to_dict())
        return
    print_table(result.title, result.columns, result.rows)
    for line in result.notes:
        out().print(line, markup=False)
