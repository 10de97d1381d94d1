"""The `edgelane` command: one small module per verb, each a thin caller of the library function of the same name."""

from __future__ import annotations

from typing import Annotated

import typer

from edgelane._version import __version__
from edgelane.cli import bench, calibrate, check, compile, compress, demo, doctor, export, run, train

app = typer.Typer(
    help="Pruned and int8 driving-perception networks that really run faster on the computer in the vehicle.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for name, verb, example in (
    ("train", train.train, "edgelane train resnet18 --data scenes --epochs 5 -o runs/signs"),
    ("compress", compress.compress, "edgelane compress runs/signs --recipe cpu-int8 --max-drop 0.5"),
    ("export", export.export, "edgelane export runs/signs"),
    ("compile", compile.compile, "edgelane compile runs/signs/model.onnx -o runs/signs/model.lane"),
    ("run", run.run, "edgelane run runs/signs/model.lane photos/ -o runs/signs/predictions"),
    ("bench", bench.bench, "edgelane bench runs/signs/model.lane --against onnxruntime,openvino --threads 1,2"),
    ("check", check.check, "edgelane check model.onnx --against model.lane --layers --isa all"),
    ("calibrate", calibrate.calibrate, "edgelane calibrate --threads 1"),
    ("demo", demo.demo, "edgelane demo -o runs/demo"),
    ("doctor", doctor.doctor, "edgelane doctor"),
):
    app.command(name, epilog=f"Example: {example}")(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgelane {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error came from (also EDGELANE_DEBUG=1).")
    ] = False,
) -> None:
    """Pruned and int8 driving-perception networks that really run faster on the computer in the vehicle."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
