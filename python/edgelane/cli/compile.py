"""`edgelane compile`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli.console import (
    JsonFlag,
    MemoryLimitOption,
    human_bytes,
    out,
    print_json,
    print_table,
    use_memory_limit,
    warn,
    working,
)
from edgelane.errors import EdgelaneError


def compile(
    model: Annotated[Path, typer.Argument(help="An ONNX file.", metavar="MODEL.onnx")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The .lane file to write; default: beside the model.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Shape of an input that the file leaves open, or another one, as images=1,3,384,640."),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="Names of values to return in place of the model's outputs, as boxes,scores.")
    ] = None,
    golden: Annotated[
        str,
        typer.Option(
            metavar="IMAGE|random|none",
            help="Input of the golden frame, by which --self-test later proves that a machine computes right.",
        ),
    ] = "random",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="What the model may ask for, as nodes=200000 or folded_bytes=4G: file_bytes, external_bytes, nodes, "
            "outputs, nesting, name_bytes, tensor_elements, folded_bytes or folded_operations."
        ),
    ] = None,
    memory_limit: MemoryLimitOption = None,
    json: JsonFlag = False,
) -> None:
    """Compile an ONNX file to a .lane file; say what became of each layer, and how this machine's CPU would run it."""
    from edgelane.export.compiler import compile as compile_model
    from edgelane.export.compiler.limits import parse_limit
    from edgelane.runtime import Session

    use_memory_limit(memory_limit)
    target = model.with_suffix(".lane") if output is None else output
    shapes = dict(parse_shape(text) for text in shape) if shape else None
    names = [name.strip() for name in outputs.split(",")] if outputs is not None else None
    limits = dict(parse_limit(text) for text in limit or [])
    with working("compiling"):
        report = compile_model(model, target, input_shapes=shapes, outputs=names, golden=golden, limits=limits)
    for note in report.notes:
        warn(note)
    if report.golden != "written" and golden != "none":
        warn(f"golden frame {report.golden}")
    session = Session(target)
    steps = session.steps()
    if json:
        here = {"isa": session.isa, "steps": [asdict(step) for step in steps]}
        print_json({**report.to_dict(), "here": here})
        return
    rows = [
        [
            layer.name,
            layer.op,
            layer.dtype,
            layer.format,
            f"{layer.density:.0%}",
            f"{layer.macs / 1e6:.2f}",
            human_bytes(layer.bytes),
            step.format,
            step.kernel,
        ]
        for layer, step in zip(report.layers, steps, strict=True)
    ]
    columns = ("layer", "op", "dtype", "format", "density", "MMAC", "size", "runs as", "kernel on this CPU")
    print_table("layers", columns, rows)
    macs, dense = (sum(getattr(layer, key) for layer in report.layers) for key in ("macs", "dense_macs"))
    out().print(
        f"wrote {target}: {human_bytes(report.bytes)}, {macs / 1e6:.1f} of {dense / 1e6:.1f} MMAC remain", markup=False
    )
    if report.parity:
        out().print(
            f"golden frame ({golden}): outputs differ from ONNX Runtime's by at most {max(report.parity.values()):.1e} "
            "of the largest magnitude",
            markup=False,
        )


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """("images", (1, 3, 384, 640)) from "images=1,3,384,640"."""
    name, separator, dims = text.rpartition("=")
    sizes = [dim.strip() for dim in dims.split(",")]
    good = all(dim.isascii() and dim.isdecimal() and len(dim) <= 10 for dim in sizes)
    if not separator or not name or not good or min(map(int, sizes)) < 1:
        raise EdgelaneError(f"expected an input shape such as images=1,3,384,640, found {text!r}")
    return name, tuple(map(int, sizes))
