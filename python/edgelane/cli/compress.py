"""`edgelane compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli.console import JsonFlag, chatty, out, print_json
from edgelane.cli.train import print_metrics


def compress(
    run: Annotated[Path, typer.Argument(help="Run folder that `edgelane train` wrote.", metavar="RUN")],
    sparsity: Annotated[float | None, typer.Option(help="Part of the weights to remove, 0 to 1.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="unstructured, 4x1, 1x4, 4x4, 2:4 or channel.", show_default="4x4")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to int8 with a calibration on training images.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=0, help="Epochs of fine-tuning.", show_default="20")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A JSON or YAML file of settings: these and more, as in compress.json.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Another data set than the one of the training.")] = None,
    json: JsonFlag = False,
) -> None:
    """Prune and quantise a trained network; write RUN/compressed.pt and RUN/compress.json."""
    from edgelane.compression import compress as compress_run

    with chatty():
        result = compress_run(
            run, sparsity=sparsity, pattern=pattern, int8=int8, epochs=epochs, recipe=recipe, data=data
        )
    if json:
        print_json(result)
        return
    print_metrics(result["metrics"])
    out().print(f"wrote {run / 'compressed.pt'} and {run / 'compress.json'}", markup=False)
