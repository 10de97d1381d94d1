"""`edgelane run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelane.cli.console import (
    CoresOption,
    IsaOption,
    JsonFlag,
    MemoryLimitOption,
    SelfTestFlag,
    ThreadsOption,
    out,
    print_json,
    print_table,
    progress_bar,
    use_cores,
    use_memory_limit,
    warn,
)

if TYPE_CHECKING:
    from edgelane.runtime.predict import Prediction
    from edgelane.runtime.segment import MaskPrediction

ROWS_SHOWN = 20


def run(
    model: Annotated[Path, typer.Argument(help="A compiled network.", metavar="MODEL.lane")],
    source: Annotated[Path, typer.Argument(help="An image, a video, or a folder of them.", metavar="IMAGE|VIDEO|DIR")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for predictions.json and pictures with the predictions."),
    ] = None,
    threads: ThreadsOption = 1,
    isa: IsaOption = None,
    cores: CoresOption = None,
    self_test: SelfTestFlag = False,
    memory_limit: MemoryLimitOption = None,
    json: JsonFlag = False,
) -> None:
    """Run a compiled network on pictures: predictions, overlays, and the latency from decoded image to answer."""
    from edgelane.runtime.predict import run as run_model

    use_cores(cores)
    use_memory_limit(memory_limit)
    with progress_bar("running") as update:

        def progress(done: int, total: int | None) -> None:
            update(done / total if total else 0.0, f"{done}/{total or '?'}")

        report = run_model(model, source, output, threads=threads, isa=isa, self_test=self_test, progress=progress)
    for name in report.skipped:
        warn(f"skipped: {name}")
    if json:
        print_json(report.to_dict())
        return
    print_predictions(report.predictions[:ROWS_SHOWN])
    if len(report.predictions) > ROWS_SHOWN:
        out().print(f"... and {len(report.predictions) - ROWS_SHOWN} more (all of them with -o or --json)")
    latency = report.latency()
    for percent in (50, 99):
        stages = [latency[f"{stage}_p{percent}_ms"] for stage in ("preprocess", "infer", "total")]
        out().print("p{}: preprocess {:.2f} ms, infer {:.2f} ms, total {:.2f} ms".format(percent, *stages))
    out().print(f"{len(report.predictions)} pictures, {report.threads} thread(s), {report.isa}", markup=False)
    if output is not None:
        out().print(f"wrote {len(report.written)} files to {output}", markup=False)


def print_predictions(predictions: Sequence[Prediction | MaskPrediction]) -> None:
    """The best class of each picture, or of a network for segmentation each class's share of it."""
    first = predictions[0]
    if hasattr(first, "shares"):
        rows = [[entry.source, *(f"{share:.1%}" for share in entry.shares.values())] for entry in predictions]  # type: ignore[union-attr]
        print_table("shares of the picture", ("source", *first.shares), rows)
        return
    rows = [[entry.source, entry.label, f"{entry.probability:.1%}"] for entry in predictions]  # type: ignore[union-attr]
    print_table("predictions", ("source", "class", "probability"), rows)
