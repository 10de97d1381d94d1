"""`edgelane check`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelane.cli.compile import parse_shape
from edgelane.cli.console import JsonFlag, ThreadsOption, out, print_json, print_table, warn, working
from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from edgelane.check import Check, Comparison, LayerRow, Row
    from edgelane.export.lint import Finding

NODES_SHOWN = 8
# Fewer zeros than this are no pruning, only rounding; a layer with more should gain at least this much by them.
PRUNED_BELOW, GAIN_EXPECTED = 0.75, 1.05


def check(
    model: Annotated[
        str,
        typer.Argument(
            help="An ONNX or .lane file, a run folder (all that is in it), a torch module: an edgelane checkpoint, "
            "a .pt2 or TorchScript file, or module:function. Code in torch files and modules is run.",
            metavar="MODEL",
        ),
    ],
    against: Annotated[
        list[str] | None, typer.Option(help="Another model to compare outputs with, of the same kinds; repeatable.")
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="What to compare on: .npz, .npy or a picture; repeatable. Default: noise."),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare values inside too, and name the first node where models part.")
    ] = False,
    isa: Annotated[
        str | None, typer.Option(help="Kernel sets for .lane files: all, or names such as avx2,avx512_vnni.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Largest float32 difference, in parts of the largest magnitude.", show_default="1e-4"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A data set, by name or folder, on whose test split every model is judged.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Shape of an input that the file leaves open, as images=1,3,384,640.")
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="Names of values to end an ONNX model at, as for edgelane compile.")
    ] = None,
    threads: ThreadsOption = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on Q/DQ errors for TensorRT as well.")] = False,
    json: JsonFlag = False,
) -> None:
    """Say what a model holds and how it would run here, whether TensorRT likes its Q/DQ, and whether results agree.

    Exits with 1 when an operator is not supported or results differ by more than the tolerance.
    """
    from edgelane.check import check as check_model
    from edgelane.export.parity import TOLERANCE

    allowed = TOLERANCE if tolerance is None else tolerance
    if allowed > TOLERANCE:
        warn(f"--tolerance {allowed:g} is looser than edgelane's own {TOLERANCE:g}")
    with working("checking"):
        result = check_model(
            model,
            against or [],
            inputs=inputs or [],
            input_shapes=dict(parse_shape(text) for text in shape) if shape else None,
            outputs=[name.strip() for name in outputs.split(",")] if outputs is not None else None,
            isas=parse_isas(isa),
            threads=threads,
            layers=layers,
            tolerance=allowed,
            data=data,
        )
    failed = not result.ok or (strict and any(finding.severity == "error" for finding in result.findings))
    if json:
        print_json({**result.to_dict(), "failed": failed})
    else:
        print_check(result, layers)
        out().print("failed" if failed else "ok")
    if failed:
        raise typer.Exit(1)


def parse_isas(text: str | None) -> list[str | None]:
    """The kernel sets named in "avx2,avx512", every one of this CPU for "all", or [None], the best, for nothing."""
    if text is None:
        return [None]
    from edgelane import _C

    known = _C.available_isas()
    names = list(known) if text == "all" else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise EdgelaneError(f"this CPU has no kernel set {unknown[0]!r}; it has {', '.join(known)}")
    return list(dict.fromkeys(names))


def print_check(result: Check, layers: bool) -> None:
    """All sections that have something to say."""
    for note in result.notes:
        warn(note)
    _print_unsupported(result)
    if result.layers:
        _print_layers(result)
    if result.quantized:
        _print_findings(result.findings)
    for comparison in result.comparisons:
        _print_comparison(comparison, layers)
    if result.metrics:
        _print_metrics(result)


def _print_metrics(result: Check) -> None:
    names = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}
    if next(iter(result.metrics.values()))["task"] == "segmentation":
        names = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}
    rows = [[model, *(f"{m[key]:.2%}" for key in names), m["count"]] for model, m in result.metrics.items()]
    print_table(f"on the test split of {result.data}", ("model", *names.values(), "items"), rows)


def _print_unsupported(result: Check) -> None:
    if result.unsupported:
        rows = [[node.name, node.op, node.reason, node.advice] for node in result.unsupported]
        print_table(f"{_many(len(rows), 'node')} not supported", ("node", "operator", "reason", "what helps"), rows)
    elif result.isa and not result.model.endswith(".lane"):
        out().print("operators: all supported")


def _print_layers(result: Check) -> None:
    rows = result.layers
    timed = all(row.sparse_us is not None for row in rows)
    columns = ["layer", "op", "dtype", "input", "output", "MMAC", "left", "density", "1x4", "4x1", "4x4", "zeros"]
    columns += ["runs as", "dense us", "sparse us", "gain"] if timed else []
    print_table("layers", columns, [_layer(row, timed) for row in rows])
    dense, left = (sum(getattr(row, key) for row in rows) / 1e6 for key in ("dense_macs", "macs"))
    text = f"{left:.1f} of {dense:.1f} MMAC left"
    if timed:
        before, now = (sum(getattr(row, key) for row in rows) / 1e3 for key in ("dense_us", "sparse_us"))
        text += f"; steps take {now:.3f} ms, {before:.3f} ms if no weight were zero"
        text += f" (measured here: {result.isa}, {_many(result.threads, 'thread')})"
    out().print(text, markup=False)
    idle = [row.name for row in rows if row.density < PRUNED_BELOW and (_gain(row) or GAIN_EXPECTED) < GAIN_EXPECTED]
    if idle:
        out().print(f"zeros that do not pay here: {_some(idle)}", markup=False)


def _layer(row: LayerRow, timed: bool) -> list[str]:
    blocks = [f"{row.block_density[key]:.0%}" if row.block_density else "-" for key in ("1x4", "4x1", "4x4")]
    cells = [row.name, row.op, row.dtype, _shape(row.input_shape), _shape(row.output_shape)]
    cells += [f"{macs / 1e6:.2f}" if row.dense_macs else "-" for macs in (row.dense_macs, row.macs)]
    cells += [f"{row.density:.0%}" if row.block_density else "-", *blocks, row.pattern]
    if timed:
        gain = _gain(row)
        cells += [row.packing, f"{row.dense_us:.1f}", f"{row.sparse_us:.1f}"]
        cells.append(f"{gain:.1f}x" if gain is not None and row.density < PRUNED_BELOW else "-")
    return cells


def _gain(row: LayerRow) -> float | None:
    return row.dense_us / row.sparse_us if row.dense_us and row.sparse_us else None


def _print_findings(findings: Sequence[Finding]) -> None:
    errors = sum(finding.severity == "error" for finding in findings)
    out().print(
        f"Q/DQ for TensorRT 10 and 11: {_many(errors, 'error')}, {len(findings) - errors} that cost speed", markup=False
    )
    ordered = sorted(findings, key=lambda finding: (finding.severity != "error", finding.rule))
    for rule, group in groupby(ordered, key=lambda finding: finding.rule):
        listed = list(group)
        first = listed[0]
        out().print(f"  {first.severity} {rule}: TensorRT wants {first.wants}. Fix: {first.fix}", markup=False)
        for finding in listed[:NODES_SHOWN]:
            out().print(f"    {finding.node} ({finding.op}): {finding.found}", markup=False)
        if len(listed) > NODES_SHOWN:
            out().print(f"    and {len(listed) - NODES_SHOWN} more (all of them with --json)")


def _print_comparison(comparison: Comparison, layers: bool) -> None:
    if comparison.note:
        warn(comparison.note)
    verdict = "equal" if comparison.ok else "DIFFERENT"
    title = f"{comparison.reference} and {comparison.other}: {verdict}"
    if comparison.problem:
        out().print(title, markup=False)
        out().print(f"  {comparison.problem}", markup=False)
        return
    columns = ("value", "node", "operator", "dtype", "elements", "worst", "mean", "differ", "verdict")
    end = "; end to end, where int8 steps add up" if comparison.piecewise else ""
    print_table(f"{title}{end}", columns, [_row(row, comparison.piecewise) for row in comparison.outputs])
    if comparison.piecewise:
        worst = max(comparison.layers, key=lambda row: (row.off or 0.0, row.worst))
        text = f"{_many(len(comparison.layers), 'value')} from the same int8 values before them: "
        text += (
            f"at most {worst.off or 0:.4%} of one differ ({worst.node}), allowed are {comparison.share:.1%} by one step"
        )
        out().print(text, markup=False)
    if comparison.layers and layers:
        print_table("inside", columns, [_row(row, False) for row in comparison.layers])
    if comparison.first is not None:
        row = comparison.first
        node = f"{row.node} ({row.op}), value {row.value}" if row.node else row.value
        allowed = f"one step on {comparison.share:.1%}" if row.off is not None else f"{comparison.tolerance:g}"
        found = f"worst {row.worst:.3g}, mean {row.mean:.3g}"
        out().print(f"first part at {node}: {found}, allowed {allowed}", markup=False)
        if not layers and not comparison.piecewise:
            out().print("--layers looks inside for the node where they part")


def _row(row: Row, unjudged: bool) -> list[str]:
    unit = " steps" if row.off is not None and row.elements else ""
    off = f"{row.off:.3%}" if row.off is not None else "-"
    mark = "-" if unjudged else "ok" if row.ok else "DIFFERENT"
    return [
        row.value, row.node or "-", row.op or "-", row.dtype, str(row.elements or "-"), f"{row.worst:.3g}{unit}",
        f"{row.mean:.2g}", off, mark,
    ]  # fmt: skip


def _shape(dims: Sequence[int]) -> str:
    return "x".join(map(str, dims))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NODES_SHOWN} more" if len(names) > NODES_SHOWN else ""
    return ", ".join(names[:NODES_SHOWN]) + more


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
