"""`edgelane compress MODEL.onnx`: int8 for an ONNX file, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgelane.cli.console import err, human_bytes, out, print_json, print_table, progress_bar
from edgelane.errors import EdgelaneError

PANEL = "Of an ONNX file"
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=PANEL, help="Folder of pictures, or of .npy or .npz tensors, that set the int8 ranges."
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", rich_help_panel=PANEL, help="The int8 file to write.", show_default="MODEL.int8.onnx"
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(rich_help_panel=PANEL, help="minmax, moving_average, percentile, mse or entropy.", show_default="mse"),
]
ImagesOption = Annotated[
    int | None, typer.Option(min=1, rich_help_panel=PANEL, help="How many images calibrate.", show_default="256")
]
FloatLayersOption = Annotated[
    str | None, typer.Option(rich_help_panel=PANEL, help="Layers, or modules, that stay float32, as stem,classifier.")
]
EqualizeFlag = Annotated[
    bool,
    typer.Option("--equalize", rich_help_panel=PANEL, help="Equalise the ranges of channels between convolutions."),
]
BiasFlag = Annotated[
    bool, typer.Option("--bias-correction", rich_help_panel=PANEL, help="Take the mean error of channels back.")
]
ResidualOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=PANEL,
        help='int8 on "both" operands of additions, or "fused" for TensorRT.',
        show_default="both",
    ),
]
SensitivityFlag = Annotated[
    bool, typer.Option("--sensitivity", rich_help_panel=PANEL, help="List what each layer alone costs.")
]
MinSqnrOption = Annotated[
    float | None,
    typer.Option(rich_help_panel=PANEL, help="Signal to noise in dB that outputs keep; the worst layers stay float32."),
]
MeanOption = Annotated[
    str | None, typer.Option(rich_help_panel=PANEL, help="Mean of red, green and blue, where the file does not say it.")
]
StdOption = Annotated[str | None, typer.Option(rich_help_panel=PANEL, help="Their deviations, as 0.229,0.224,0.225.")]
ScaleOption = Annotated[
    float | None, typer.Option(rich_help_panel=PANEL, help="Factor of pixels before that.", show_default="1/255")
]
SizeOption = Annotated[
    str | None, typer.Option(rich_help_panel=PANEL, help="Height and width where it leaves them open, as 224x224.")
]

# What `compress` is called with, by what it is for.
ONNX_ONLY = (
    "calibration", "output", "method", "images", "float_layers", "equalize", "bias_correction", "residual",
    "sensitivity", "min_sqnr", "mean", "std", "scale", "size",
)  # fmt: skip
FOR_BOTH = ("run", "int8", "max_drop", "json")


def refuse_onnx_options(context: typer.Context) -> None:
    """Raise EdgelaneError where an option for ONNX files was given with a run folder."""
    _refuse(context, [name for name in _given(context) if name in ONNX_ONLY], "an ONNX file, not a run folder")


def compress_onnx(context: typer.Context) -> None:
    """Quantise the ONNX file that `edgelane compress` was called with."""
    from edgelane.export.int8.verb import GateError, quantize_onnx

    given = context.params
    path = Path(given["run"])
    others = [name for name in _given(context) if name not in (*ONNX_ONLY, *FOR_BOTH)]
    _refuse(context, others, "a run folder, not an ONNX file")
    if not given["int8"] or given["calibration"] is None:
        raise EdgelaneError(
            f"an ONNX file can be made int8: edgelane compress {path} --int8 --calibration FOLDER_OF_IMAGES"
        )
    settings: dict[str, Any] = {
        "method": given["method"] or "mse",
        "calibration_images": given["images"] or 256,
        "float_layers": [name.strip() for name in (given["float_layers"] or "").split(",") if name.strip()],
        "residual": given["residual"] or "both",
        "pictures": _pictures(given),
        **{name: given[name] for name in ("equalize", "bias_correction", "sensitivity", "min_sqnr", "max_drop")},
    }
    try:
        with progress_bar("int8") as update:
            report = quantize_onnx(path, given["calibration"], given["output"], progress=update, **settings)
    except GateError as error:
        for entry in error.sensitivity:
            err().print(f"{entry.name}: {entry.sqnr_db:.1f} dB", markup=False)
        raise
    if given["json"]:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    rows = [
        [
            row["name"],
            row["op"],
            row["dtype"],
            "" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}",
            row["reason"],
        ]
        for row in report["layers"]
    ]
    print_table("layers", ("layer", "op", "dtype", "alone, dB", "why"), rows)
    judged = report["calibration"]
    for name, value in report["sqnr_db"].items():
        out().print(
            f"output {name}: {value:.1f} dB of signal to noise on {judged['judged']} images ({judged['judged_on']})",
            markup=False,
        )
    if report["accuracy"] is not None:
        before, after = report["accuracy"]["float"], report["accuracy"]["int8"]
        out().print(f"accuracy {before:.2%} in float32, {after:.2%} in int8", markup=False)
    sizes = f"{human_bytes(report['source_bytes'])} became {human_bytes(report['bytes'])}"
    out().print(f"wrote {report['onnx']} and {Path(report['onnx']).with_suffix('.json')}: {sizes}", markup=False)


def _given(context: typer.Context) -> list[str]:
    """The options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _refuse(context: typer.Context, names: list[str], what: str) -> None:
    if names:
        written = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        options = ", ".join(str(written[name]) for name in names)
        raise EdgelaneError(f"{options}: for {what}; `edgelane compress --help` says what is for which")


def _pictures(given: dict[str, Any]) -> Any:
    from edgelane.export.int8.images import PictureOptions

    return PictureOptions(
        _numbers("mean", given["mean"]), _numbers("std", given["std"]), given["scale"], _size(given["size"])
    )


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """(0.5, 0.5, 0.5) from "0.5,0.5,0.5", or from "0.5"."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise EdgelaneError(f"--{name}: expected three numbers such as 0.5,0.5,0.5, found {text!r}")
    return numbers * 3 if len(numbers) == 1 else numbers


def _size(text: str | None) -> tuple[int, int] | None:
    """(height, width) from "384x640"."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) < 6 for part in parts):
        raise EdgelaneError(f"--size: expected height and width such as 384x640, found {text!r}")
    return int(parts[0]), int(parts[1])
