"""`edgelane demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli.console import JsonFlag, chatty, err, out, print_json, print_table, progress_bar


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything the demo makes.")] = Path(
        "runs/demo"
    ),
    json: JsonFlag = False,
) -> None:
    """All six verbs: train a sign classifier, prune it, quantise it, export, compile, run, and time it against others.

    Takes some minutes. A second call repeats only what is missing or out of date.
    """
    from edgelane.demo import run_demo

    console = err() if json else out()

    with chatty(), progress_bar("measuring") as bar:
        result = run_demo(output, say=lambda line: console.print(line, markup=False), progress=bar)
    if json:
        print_json(result.to_dict())
        return
    out().print()
    print_table(result.title, result.columns, result.rows)
    out().print()
    for line in result.notes:
        out().print(line, markup=False)
