"""`edgelane compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelane.cli import compress_onnx as onnx
from edgelane.cli.console import JsonFlag, chatty, err, out, print_json, print_table, warn
from edgelane.cli.train import print_metrics
from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from edgelane.compression.gate import GateError
    from edgelane.compression.plan import Plan

SALIENCY_PICTURES = 8


def compress(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder that `edgelane train` wrote, or a float32 ONNX file.", metavar="RUN|MODEL.onnx"
        ),
    ],
    recipe: Annotated[
        str | None, typer.Option(help="A recipe file (YAML or JSON), or cpu-int8, cpu-fp32 or tensorrt-2-4.")
    ] = None,
    sparsity: Annotated[float | None, typer.Option(help="Part of the weights to remove, 0 to 1.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="unstructured, 4x1, 1x4, 4x4, N:M (as 2:4) or channel.", show_default="4x4")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to int8 with a calibration on training images.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=0, help="Epochs of fine-tuning.", show_default="20")] = None,
    latency_budget: Annotated[
        float | None,
        typer.Option(
            help="Milliseconds that one run may take here, one thread: prune where it saves time. Needs a calibration."
        ),
    ] = None,
    size_budget: Annotated[float | None, typer.Option(help="Megabytes that the .lane file may take.")] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Points of accuracy (mean IoU) that may go; else nothing is written. Of an ONNX file too, with one "
            "folder of calibration images for each class."
        ),
    ] = None,
    max_class_drop: Annotated[float | None, typer.Option(help="The same for the class that loses most.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting of a recipe, as prune.importance=taylor; repeatable.", metavar="NAME=VALUE"
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Judge both under every image condition and attack too, and compare saliency maps; takes minutes.",
        ),
    ] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Print what would go from each layer and be saved; train nothing.")
    ] = False,
    search: Annotated[
        int | None,
        typer.Option(min=1, help="Try so many recipes; write RUN/search with the front of accuracy against latency."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Optuna storage URL of --search, which other processes and machines may share.",
            show_default="RUN/search/study.db",
        ),
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
    mean: onnx.MeanOption = None,
    std: onnx.StdOption = None,
    scale: onnx.ScaleOption = None,
    size: onnx.SizeOption = None,
    json: JsonFlag = False,
) -> None:
    """Prune and quantise a trained network; write RUN/compressed.pt, RUN/compress.json and RUN/report.html.

    Of an ONNX file, with --int8 and --calibration: write it as int8 with explicit Q/DQ. That needs no torch.
    """
    if run.suffix.lower() == ".onnx":
        onnx.compress_onnx(context)
        return
    onnx.refuse_onnx_options(context)
    from edgelane.compression import GateError
    from edgelane.compression import compress as compress_run
    from edgelane.compression import plan_only as plan_run
    from edgelane.compression import search as search_run
    from edgelane.compression.recipe_file import read_setting

    flags: dict[str, Any] = {
        "prune.sparsity": sparsity,
        "prune.pattern": pattern,
        "train.epochs": epochs,
        "budget.latency_ms": latency_budget,
        "budget.size_mb": size_budget,
        "budget.max_drop": max_drop,
        "budget.max_class_drop": max_class_drop,
        "quantize": {} if int8 else None,
        "judge.conditions": ["all"] if robustness else None,
        "judge.attacks": ["all"] if robustness else None,
        "judge.saliency": SALIENCY_PICTURES if robustness else None,
    }
    if storage is not None and search is None:
        raise EdgelaneError("--storage is for --search: give a number of recipes to try")
    given = {name: value for name, value in flags.items() if value is not None}
    if search is None and (latency_budget is not None or size_budget is not None):
        given = {"prune.allocation": "latency", "prune.sparsity": None, **given}
    given |= dict(read_setting(text) for text in setting or [])
    if search is not None:
        with chatty():
            found = search_run(run, search, recipe=recipe, settings=given, data=data, storage=storage, say=_say)
        if json:
            print_json(found)
        else:
            print_front(found)
            out().print(f"wrote {run / 'search' / 'pareto.json'} and {run / 'search' / 'pareto.svg'}", markup=False)
        return
    how: dict[str, Any] = {"recipe": recipe, "settings": given, "data": data, "say": _say}
    try:
        with chatty():
            plan = plan_run(run, **how) if plan_only else None
            result = None if plan_only else compress_run(run, **how)
    except GateError as error:
        _print_refusal(error, json)
        raise
    if plan is not None:
        if json:
            print_json(plan.to_dict())
        else:
            print_plan(plan)
        return
    assert result is not None
    for text in result["timing_warnings"]:
        warn(text)
    if json:
        print_json(result)
    else:
        print_result(result)
        names = ("compressed.pt", "compress.json", "report.html")
        written = ", ".join(str(run / name) for name in names if (run / name).exists())
        out().print(f"wrote {written}", markup=False)


def _say(line: str) -> None:
    err().print(line, markup=False)


def print_plan(plan: Plan) -> None:
    """One line for each layer, and what is expected of the whole."""
    reasons = {entry["name"]: entry["reason"] for entry in plan.kept_dense}
    if plan.rows:
        columns = (
            "layer",
            "shape",
            "MMAC",
            "pattern",
            "sparsity",
            "dtype",
            "no zeros us",
            "predicted us",
            "overtakes at",
        )
        print_table("plan", (*columns, "stays dense"), [_plan_row(row, reasons) for row in plan.rows])
        assert plan.dense_us is not None
        assert plan.predicted_us is not None
        gain = plan.dense_us / plan.predicted_us
        out().print(
            f"predicted {plan.predicted_us / 1e3:.3f} ms, dense float32 {plan.dense_us / 1e3:.3f} ms: {gain:.2f}x"
        )
        return
    layers = [[name, f"{100 * share:.1f} %", ""] for name, share in plan.sparsity.items()]
    layers += [[name, "", reason] for name, reason in reasons.items()]
    if layers:
        print_table("plan", ("layer", "sparsity", "stays dense"), layers)
    out().print(f"no times: {plan.note}", markup=False)


def _plan_row(row: dict[str, Any], reasons: dict[str, str]) -> list[str]:
    overtakes = row["overtakes_at"]
    return [
        row["name"],
        row["shape"],
        f"{row['macs'] / 1e6:.2f}",
        row["pattern"],
        f"{100 * row['sparsity']:.1f} %",
        row["dtype"],
        f"{row['dense_us']:.1f}",
        f"{row['predicted_us']:.1f}",
        "" if row["pattern"] in ("dense", "channel") else "never" if overtakes is None else f"{100 * overtakes:.0f} %",
        reasons.get(row["name"], ""),
    ]


def print_result(result: dict[str, Any]) -> None:
    """The metrics, and what was lost and gained."""
    print_metrics(result["metrics"])
    before, after = result["before_totals"], result["totals"]
    first, worst = next(iter(result["stages"])), result["worst_class"]
    out().print(
        f"lost {result['drop']:.2f} points against {first}; the class that lost most: {worst['name']}, "
        f"{worst['drop']:.2f}",
        markup=False,
    )
    out().print(
        f"{before['p50_ms']:.3f} -> {after['p50_ms']:.3f} ms ({before['p50_ms'] / after['p50_ms']:.2f}x), "
        f"{before['bytes'] / 1e6:.2f} -> {after['bytes'] / 1e6:.2f} MB, "
        f"{before['macs'] / 1e6:.1f} -> {after['macs'] / 1e6:.1f} MMAC"
    )
    for text in result["over_budget"]:
        warn(f"over its budget: {text}")


def _print_refusal(error: GateError, json: bool) -> None:
    """What was tried, and which layers are to blame; the message itself follows as the command's error."""
    if json:
        print_json({"refused": str(error), "ladder": error.ladder, "sensitivity": error.sensitivity})
        return
    if error.ladder:
        rows = [
            [row["name"], f"{row['score']:.2f}", f"{row['drop']:.2f}", row["worst_class"], f"{row['class_drop']:.2f}"]
            for row in error.ladder
        ]
        print_table("tried, on the validation split", ("int8", "score", "lost", "worst class", "lost"), rows)
    if error.sensitivity:
        keys = [key for key in ("drop", "sqnr_db", "damage") if key in error.sensitivity[0]]
        titles = {"drop": "points lost alone", "sqnr_db": "outputs' signal to noise, dB", "damage": "outputs disturbed"}
        rows = [
            [row["name"], *("-" if row[key] is None else f"{row[key]:.3f}" for key in keys)]
            for row in error.sensitivity
        ]
        print_table("sensitivity of the layers", ("layer", *(titles[key] for key in keys)), rows)


def print_front(found: dict[str, Any]) -> None:
    """What no other recipe beats in both, the most accurate first."""
    from edgelane.compression.search import in_words

    front = sorted((point for point in found["points"] if point["on_front"]), key=lambda point: -point["score"])
    rows = [
        [
            str(point["trial"]),
            in_words(point["recipe"]),
            f"{100 * point['score']:.2f}",
            f"{100 * point['test_score']:.2f}",
            f"{point['front_p50_ms']:.3f}",
            "yes" if point["within_budget"] else "no",
        ]
        for point in front
    ]
    print_table("front", ("trial", "recipe", "val", "test", "p50 ms", "within budget"), rows)
    others = len(found["points"]) - len(front)
    out().print(f"{others} beaten, {len(found['failed'])} failed, {found['trials_elsewhere']} on other machines")
