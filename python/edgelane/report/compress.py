"""The page of `edgelane compress`: what was gained, what it cost, where, and whether it can be trusted.

What it reads of compress.json, all of it optional but "model" and "stages":

- model, kind, task, classes, edgelane; "recipe": a mapping; "duration_s"; "commands": a list; "environment": a mapping.
- "stages": name -> {"test": metrics, "val": metrics, "seconds"}, the network before compression first, the result last.
- "before_totals", "totals": macs, dense_macs, params, weights, nonzero, bytes, p50_ms, min_ms; "timing_warnings": what
  makes the times doubtful.
- "layers": rows of name, op, shape, macs, dense_macs, params, nonzero, density, and as far as known pattern, dtype,
  before_us, measured_us, predicted_us, overtakes_at.
- "over_budget": what of the budget's time and size the result exceeds, in words.
- "plan": {"rows": by layer, with pattern and dtype, "kept_dense": [{"name", "reason"}], "dense_us", "predicted_us",
  "note"}.
- "sensitivity": rows of name and "drop" (points), "sqnr_db", or "damage" (share of the outputs' energy).
- "gate": {"max_drop", "max_class_drop"}; "ladder": rungs with name, score, drop (points), worst_class, class_drop,
  seconds, passed; "chosen" where it is not the last.
- "robustness": `Robustness.to_dict()`; "saliency": `Saliency.to_dict()`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane._version import __version__
from edgelane.errors import EdgelaneError
from edgelane.files import read_json, write_bytes
from edgelane.report import compress_plots
from edgelane.report.compress_layers import layer_figure, mask_pictures
from edgelane.report.compress_plots import Pair
from edgelane.report.page import Figure, Table, data_uri, figure_markup, flatten, template
from edgelane.report.text import number, p_text, percent

if TYPE_CHECKING:
    from torch import nn

    from edgelane.robustness import Saliency

P_VALUE = 0.05  # below it a loss is called hurt
_SCORES = {"classification": ("accuracy", "recall"), "segmentation": ("mean IoU", "IoU")}


def write_compress_report(
    path: str | os.PathLike[str],
    content: Mapping[str, Any],
    *,
    model: nn.Module | None = None,
    saliency: Saliency | None = None,
) -> None:
    """Write the page as one self-contained HTML file. `content`: as the module says. `model`: the compressed network,
    for pictures of its zeros. `saliency`: the maps, of which `content` only has the numbers.

    Raises EdgelaneError where `content` has no model or no stages, or the file cannot be written.
    """
    write_bytes(path, render(content, model=model, saliency=saliency).encode())


def render(content: Mapping[str, Any], *, model: nn.Module | None = None, saliency: Saliency | None = None) -> str:
    """The page as text."""
    found = parts(content, model=model, saliency=saliency)
    return template("compress.html.jinja").render(
        title=f"{content['model']}, compressed",
        subtitle=found["subtitle"],
        warnings=found["warnings"],
        version=content.get("edgelane", __version__),
        compression=found,
        environment=flatten(content.get("environment") or {}),
        commands=content.get("commands") or (),
    )


def parts(
    content: Mapping[str, Any], *, model: nn.Module | None = None, saliency: Saliency | None = None
) -> dict[str, Any]:
    """What the page says of the compression, for the template compress_parts.html.jinja on any page."""
    for key in ("model", "stages"):
        if not content.get(key):
            raise EdgelaneError(f"expected the content of compress.json, found no {key!r} in it")
    task = str(content.get("task", "classification"))
    losses = class_losses(content)
    return {
        "subtitle": _subtitle(content),
        "warnings": _warnings(content, losses),
        "totals": _totals(content, task),
        "classes": _classes(content, losses, task),
        "ladder": _ladder(content),
        "layers": layer_figure(content, model),
        "masks": mask_pictures(content, model),
        "circumstances": _circumstances(content, task),
        "saliency": _saliency(content, saliency),
        "recipe": _recipe(content),
    }


def read_parts(run: Path) -> dict[str, Any] | None:
    """`parts` of what `edgelane compress` left in the folder `run`, and "content"; None where it was never compressed.

    Pictures come from compressed.pt and from the folder `compress`. Raises ImportError where torch is not installed.
    """
    if not (run / "compress.json").is_file():
        return None
    from edgelane.checkpoint import Checkpoint
    from edgelane.robustness import Saliency

    compressed, maps = run / "compressed.pt", run / "compress" / "saliency.npz"
    content = read_json(run / "compress.json")
    model = Checkpoint.load(compressed).build() if compressed.is_file() else None
    saliency = Saliency.load(maps) if maps.is_file() else None
    return {**parts(content, model=model, saliency=saliency), "content": content}


def class_losses(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows name, lost (points), items, standard_error, p_value, worst first; "hurt" says whether that is more than
    chance.

    Paired on the same items where the content has robustness, from the two metrics else.
    """
    from edgelane.robustness.losses import most_hurt

    rows = (content.get("robustness") or {}).get("rows") or []
    clean = next((row for row in rows if row["kind"] == "clean" and row["classes"]), None)
    if clean is not None:
        losses = [dict(loss) for loss in next(reversed(clean["classes"].values()))]
    else:
        before, after = _metrics(content)
        losses = [loss.to_dict() for loss in most_hurt(before, after)]
    for loss in losses:
        loss["hurt"] = _is_hurt(loss["lost"], loss["standard_error"], loss["p_value"])
    return losses


def _is_hurt(lost: float, error: float | None, p_value: float | None) -> bool:
    if lost <= 0:
        return False
    return p_value < P_VALUE if p_value is not None else error is not None and lost > 2 * error


def _metrics(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    stages = list(content["stages"].values())
    return stages[0]["test"], stages[-1]["test"]


def _subtitle(content: Mapping[str, Any]) -> str:
    prune = (content.get("recipe") or {}).get("prune") or {}
    done = [str(content["kind"])] if content.get("kind") else []
    done += [f"pattern {prune['pattern']}"] if prune.get("pattern") else []
    done += [f"{content['duration_s'] / 60:.1f} minutes of work"] if content.get("duration_s") else []
    return ", ".join(done) or "before and after"


def _warnings(content: Mapping[str, Any], losses: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [
        f"Compression hurts the class {loss['name']}: {loss['lost']:.1f} points lost on {loss['items']} items"
        f"{_chance(loss['p_value'])}."
        for loss in losses
        if loss["hurt"]
    ]
    found += [f"Over its budget: {text}." for text in content.get("over_budget") or ()]
    found += [f"Times: {text}" for text in content.get("timing_warnings") or ()]
    note = (content.get("plan") or {}).get("note")
    return found + ([f"No predicted times: {note}"] if note else [])


def _chance(p_value: float | None) -> str:
    return "" if p_value is None else f" (p {p_text(p_value)})"


def _totals(content: Mapping[str, Any], task: str) -> Table:
    before, after = _metrics(content)
    old, new = content.get("before_totals") or {}, content.get("totals") or {}
    plan = content.get("plan") or {}
    rows = [
        [
            f"{_SCORES[task][0]}, test",
            percent(before["score"]),
            percent(after["score"]),
            f"{100 * (after['score'] - before['score']):+.2f} points",
        ]
    ]
    for name, key, scale, form in (
        ("MACs, millions", "macs", 1e6, "{:,.1f}"),
        ("parameters, thousands", "params", 1e3, "{:,.1f}"),
        ("weights that are not zero, thousands", "nonzero", 1e3, "{:,.1f}"),
        ("file, kB", "bytes", 1e3, "{:,.0f}"),
        ("time measured, p50, ms", "p50_ms", 1, "{:.3f}"),
        ("time measured, least, ms", "min_ms", 1, "{:.3f}"),
    ):
        if old.get(key) is not None and new.get(key) is not None:
            rows.append([name, *_change(old[key] / scale, new[key] / scale, form)])
    if plan.get("dense_us") is not None and plan.get("predicted_us") is not None:
        rows.append(["time predicted, ms", *_change(plan["dense_us"] / 1e3, plan["predicted_us"] / 1e3, "{:.3f}")])
    return Table(
        "Before and after", ("quantity", "before", "after", "change"), rows, "One inference of batch 1 on one thread."
    )


def _change(before: float, after: float, form: str) -> list[str]:
    if form.format(before) == form.format(after):
        ratio = "the same"
    elif before and abs(after / before - 1) < 0.005:
        ratio = f"{100 * (after / before - 1):+.2g} %"
    elif before > after > 0:
        ratio = f"{before / after:.2f}x less"
    else:
        ratio = f"{after / before:.2f}x" if before else ""
    return [form.format(before), form.format(after), ratio]


def _classes(content: Mapping[str, Any], losses: Sequence[Mapping[str, Any]], task: str) -> Figure | None:
    if not losses:
        return None
    rows = (content.get("robustness") or {}).get("rows") or []
    clean = next((row for row in rows if row["kind"] == "clean" and len(row["class_scores"]) > 1), None)
    if clean is not None:  # of the same items as the losses
        scores = list(clean["class_scores"].values())
        before, after = scores[0], scores[-1]
    else:
        before, after = (metrics["class_scores"] for metrics in _metrics(content))
    table = Table(
        "",
        ("class", "items", "before", "after", "points lost", "standard error", "p", "verdict"),
        [
            [
                loss["name"],
                str(loss["items"]),
                percent(before[loss["name"]]),
                percent(after[loss["name"]]),
                f"{loss['lost']:.1f}",
                number(loss["standard_error"], "{:.1f}"),
                p_text(loss["p_value"]),
                "hurt" if loss["hurt"] else "",
            ]
            for loss in losses
        ],
        f"Worst first. p: how likely so large a difference is if compression changed nothing; under {P_VALUE} it is "
        "called hurt. Of twenty classes one falls below by chance.",
        [index for index, loss in enumerate(losses) if loss["hurt"]],
    )
    svg = compress_plots.pairs(
        [Pair(loss["name"], before[loss["name"]], after[loss["name"]], loss["hurt"]) for loss in losses],
        f"{_SCORES[task][1]} by class, points",
    )
    return Figure(f"{_SCORES[task][1]} by class".capitalize().replace("Iou", "IoU"), figure_markup(svg), table)


def _circumstances(content: Mapping[str, Any], task: str) -> Figure | None:
    found = content.get("robustness")
    rows = [row for row in (found or {}).get("rows") or [] if len(row["scores"]) > 1]
    if found is None or len(rows) < 2:
        return None
    pairs, cells, marked = [], [], []
    for place, row in enumerate(rows):
        scores = list(row["scores"].values())
        lost, losses = next(reversed(row["lost"].values())), next(reversed(row["classes"].values()))
        hurt = _is_hurt(lost["points"], lost["standard_error"], lost["p_value"])
        marked += [place] if hurt else []
        pairs.append(Pair(row["label"], scores[0], scores[-1], hurt))
        worst = losses[0] if losses and losses[0]["lost"] > 0 else None
        cells.append(
            [
                row["label"],
                percent(scores[0]),
                percent(scores[-1]),
                f"{lost['points']:.1f}",
                number(lost["standard_error"], "{:.1f}"),
                p_text(lost["p_value"]),
                f"{worst['name']}: {worst['lost']:.1f} on {worst['items']} items{_chance(worst['p_value'])}"
                if worst
                else "",
            ]
        )
    table = Table(
        "",
        ("condition", "before", "after", "points lost", "standard error", "p", "class that lost most"),
        cells,
        f"{found['items']} test items, the same in each row and for both networks. fgsm and pgd: attacks within so "
        "many of 255 levels of each pixel, each network attacked with its own gradients, which the roundings of int8 "
        "blur; transfer: those against the network before, shown to both.",
        marked,
    )
    svg = compress_plots.pairs(pairs, f"{_SCORES[task][0]}, points")
    return Figure("Image conditions and attacks", figure_markup(svg), table)


def _saliency(content: Mapping[str, Any], saliency: Saliency | None) -> dict[str, Any] | None:
    numbers = saliency.to_dict() if saliency is not None else content.get("saliency")
    if not numbers:
        return None
    methods, models = list(numbers["agreement"]), numbers["models"]
    agreement = [
        f"{method}: {number(values.get(models[-1]), '{:.2f}')}" for method, values in numbers["agreement"].items()
    ]
    rows = []
    for look in saliency.looks if saliency is not None else ():
        cells = [(data_uri_of(look.picture), f"item {look.index}, {look.label}", _answers(look.label, look.answers))]
        for method in methods:
            for model in models:
                text = f"{model}, {method}"
                if model != models[0]:
                    text += f": {number(look.agreement[method][model], '{:.2f}')}"
                cells.append((data_uri(look.overlay(method, model)), f"{text}, item {look.index}", text))
        rows.append(cells)
    return {"agreement": agreement, "rows": rows, "layer": numbers["layer"], "columns": 1 + len(methods) * len(models)}


def data_uri_of(picture: Any) -> str:
    """The data URI of a picture uint8 [h, w, 3]."""
    from PIL import Image

    return data_uri(Image.fromarray(picture))


def _answers(label: str, answers: Mapping[str, str]) -> str:
    return "; ".join([label, *(f"{model} says {answer}" for model, answer in answers.items())])


def _ladder(content: Mapping[str, Any]) -> Table | None:
    rungs = content.get("ladder") or []
    gate = content.get("gate") or {}
    if not rungs:
        return None
    chosen = content.get("chosen", rungs[-1]["name"])
    limits = [
        f"{text} {gate[key]:g} points"
        for key, text in (("max_drop", "at most"), ("max_class_drop", "the worst class at most"))
        if gate.get(key) is not None
    ]
    return Table(
        "What was tried for int8",
        ("settings", "score", "points lost", "worst class", "it lost", "seconds", "gate", "result"),
        [
            [
                str(rung["name"]),
                f"{rung['score']:.2f}",
                f"{rung['drop']:.2f}",
                str(rung.get("worst_class", "")),
                number(rung.get("class_drop"), "{:.2f}"),
                number(rung.get("seconds"), "{:.0f}"),
                ("passed" if rung.get("passed") else "refused") if limits else "none",
                "chosen" if rung["name"] == chosen else "",
            ]
            for rung in rungs
        ],
        f"On the validation split, cheapest first. The gate: {'; '.join(limits) if limits else 'none was asked for'}.",
        [index for index, rung in enumerate(rungs) if rung["name"] == chosen],
    )


def _recipe(content: Mapping[str, Any]) -> str:
    if not content.get("recipe"):
        return ""
    import yaml  # type: ignore[import-untyped]

    return str(yaml.safe_dump(content["recipe"], sort_keys=False, allow_unicode=True))
