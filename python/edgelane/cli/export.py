"""`edgelane export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli.console import JsonFlag, human_bytes, out, print_json, working


def export(
    run: Annotated[Path, typer.Argument(help="Run folder; compressed.pt is exported, or model.pt.", metavar="RUN")],
    json: JsonFlag = False,
) -> None:
    """Export a run as standard ONNX, check it against torch, and write RUN/model.onnx."""
    from edgelane.export.onnx import export_run

    with working("exporting"):
        result = export_run(run)
    if json:
        print_json(result)
        return
    path = run / "model.onnx"
    size = human_bytes(path.stat().st_size)
    out().print(f"wrote {path} ({size}) from {result['source']}, equal to torch within tolerance", markup=False)
