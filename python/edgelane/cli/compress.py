"""`edgelane compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli import compress_onnx as onnx
from edgelane.cli.console import JsonFlag, chatty, out, print_json
from edgelane.cli.train import print_metrics


def compress(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder that `edgelane train` wrote, or a float32 ONNX file.", metavar="RUN|MODEL.onnx"
        ),
    ],
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
    calibration: onnx.CalibrationOption = None,
    output: onnx.OutputOption = None,
    method: onnx.MethodOption = None,
    images: onnx.ImagesOption = None,
    float_layers: onnx.FloatLayersOption = None,
    equalize: onnx.EqualizeFlag = False,
    bias_correction: onnx.BiasFlag = False,
    residual: onnx.ResidualOption = None,
    sensitivity: onnx.SensitivityFlag = False,
    min_sqnr: onnx.MinSqnrOption = None,
    max_drop: onnx.MaxDropOption = None,
    mean: onnx.MeanOption = None,
    std: onnx.StdOption = None,
    scale: onnx.ScaleOption = None,
    size: onnx.SizeOption = None,
    json: JsonFlag = False,
) -> None:
    """Prune and quantise a trained network; write RUN/compressed.pt and RUN/compress.json.

    Of an ONNX file, with --int8 and --calibration: write it as int8 with explicit Q/DQ. That needs no torch.
    """
    if run.suffix.lower() == ".onnx":
        onnx.compress_onnx(context)
        return
    onnx.refuse_onnx_options(context)
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
