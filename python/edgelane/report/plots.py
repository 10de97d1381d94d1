"""The plots of a report as SVG text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from edgelane.errors import EdgelaneError
from edgelane.report.svg import MUTED, SERIES, TEXT, WIDTH_INCHES, style, to_svg

BINS = 60
LAYERS_SHOWN = 40
_DENSE, _NO_WEIGHTS = "dense", "no weights"


def latency(samples_ms: Mapping[str, Sequence[float]]) -> str:
    """One ridge per engine on a shared axis of milliseconds, with p50 and p99 marked; the slowest percent is cut off
    the axis.

    The axis is logarithmic when the engines differ by more than a factor of four.
    """
    names = list(samples_ms)
    values = {name: np.asarray(samples_ms[name], np.float64) for name in names}
    low = min(float(v.min()) for v in values.values()) * 0.92
    high = max(float(np.percentile(v, 99)) for v in values.values()) * 1.12
    logarithmic = high / low > 4
    edges = np.geomspace(low, high, BINS + 1) if logarithmic else np.linspace(low, high, BINS + 1)
    with style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.75 + 0.52 * len(names)))
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            base = len(names) - 1 - index
            colour = SERIES[index % len(SERIES)]
            counts, _ = np.histogram(values[name], edges)
            heights = 0.72 * counts / max(1, counts.max())
            axes.stairs(base + heights, edges, baseline=base, fill=True, color=colour, alpha=0.45, linewidth=0)
            axes.stairs(base + heights, edges, baseline=base, color=colour, linewidth=1.0)
            p50, p99 = np.percentile(values[name], [50, 99])
            axes.plot([p50, p50], [base, base + 0.8], color=TEXT, linewidth=1.4)
            axes.plot([p99, p99], [base, base + 0.45], color=TEXT, linewidth=1.0, linestyle=(0, (2, 2)))
            axes.annotate(
                f"p50 {p50:.2f}   p99 {p99:.2f}",
                (1.0, base + 0.5),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=8,
                color=MUTED,
                va="center",
            )
        if logarithmic:
            axes.set_xscale("log")
            ticks = _ticks(low, high)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_xlim(low, high)
        axes.set_ylim(-0.08, len(names) - 0.1)
        axes.set_yticks([len(names) - 1 - index + 0.25 for index in range(len(names))], names)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("latency of one inference, ms" + (" (logarithmic)" if logarithmic else ""))
        return to_svg(figure)


def layers(rows: Sequence[Mapping[str, Any]]) -> str:
    """One horizontal bar per step with its time; behind the name stand format and density, and colour tells the
    formats apart.

    Steps beyond the forty slowest are summed in one last bar.
    """
    slowest = sorted(range(len(rows)), key=lambda index: -float(rows[index]["time_us"]))[:LAYERS_SHOWN]
    shown = [rows[index] for index in sorted(slowest)]
    rest = [rows[index] for index in range(len(rows)) if index not in set(slowest)]
    colour_of = _format_colours([_format(row) for row in shown])
    labels = [_layer_label(row) for row in shown]
    times = [float(row["time_us"]) for row in shown]
    colours = [colour_of[_format(row)] for row in shown]
    if rest:
        labels.append(f"{len(rest)} more steps")
        times.append(sum(float(row["time_us"]) for row in rest))
        colours.append(MUTED)
    with style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 0.19 * len(labels)))
        axes = figure.add_subplot()
        positions = np.arange(len(labels))
        axes.barh(positions, times, color=colours, height=0.72)
        limit = max([*times, 1e-9])
        for position, time in zip(positions, times, strict=True):
            axes.annotate(
                f"{time:.0f}",
                (time, position),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7,
                color=MUTED,
                va="center",
            )
        axes.set_yticks(positions, labels, fontsize=7.5)
        axes.invert_yaxis()
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(0, limit * 1.08)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(f"time, µs (total {sum(times):.0f})")
        for name, colour in colour_of.items():
            axes.barh([0], [0], color=colour, label=name)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(colour_of), frameon=False, fontsize=8)
        return to_svg(figure)


def _layer_label(row: Mapping[str, Any]) -> str:
    if row["format"] == "-":
        return f"{row['step']}  {row['op']}"
    return f"{row['step']}  {row['op']}  {row['format']} {float(row['density']):.0%}"


def _format_colours(formats: Sequence[str]) -> dict[str, str]:
    """A colour for each format that occurs: the same one for dense, and for no weights, in every chart."""
    others = [name for name in dict.fromkeys(formats) if name not in (_DENSE, _NO_WEIGHTS)]
    colours = {_DENSE: SERIES[0], **dict(zip(others, itertools.cycle(SERIES[1:]), strict=False)), _NO_WEIGHTS: MUTED}
    return {name: colour for name, colour in colours.items() if name in formats}


def _format(row: Mapping[str, Any]) -> str:
    return _NO_WEIGHTS if row["format"] == "-" else str(row["format"])


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between `low` and `high`."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [tick for power in powers for digit in (1, 2, 5) if low <= (tick := digit * 10.0**power) <= high]


def pareto(points: Sequence[Mapping[str, Any]], *, inline: bool = False) -> str:
    """Score against measured latency of what a search tried: the front as a numbered line, dominated points pale.

    A point has "score" (0 to 1, higher is better) and "p50_ms", and may have "label" (or "trial", its number), told
    beside the plot for the points of the front, and "within_budget": False is drawn as a cross. `inline`: for a page of
    this package; else the SVG is a file that stands alone. Raises EdgelaneError where there is no point.
    """
    if not points:
        raise EdgelaneError("expected at least one point for the plot, found none")
    front = pareto_front(points)
    with style():
        figure = Figure(figsize=(0.7 * WIDTH_INCHES, max(4.2, 0.19 * len(front) + 0.6)))
        axes = figure.add_subplot()
        for index, point in enumerate(points):
            kept, fits = index in front, point.get("within_budget", True)
            axes.scatter(
                [float(point["p50_ms"])],
                [100 * float(point["score"])],
                s=42 if kept else 26,
                marker="o" if fits else "x",
                color=SERIES[0] if kept else MUTED,
                alpha=1.0 if kept else 0.35,
                linewidths=0 if fits else 1.4,
                zorder=3,
            )
        line = [(float(points[index]["p50_ms"]), 100 * float(points[index]["score"])) for index in front]
        axes.step(*zip(*line, strict=True), where="post", color=SERIES[0], linewidth=1.2, zorder=2)
        _label_front(axes, [(x, y, _point_label(points[index])) for (x, y), index in zip(line, front, strict=True)])
        axes.margins(x=0.08, y=0.12)
        axes.tick_params(length=0, axis="both")
        axes.grid()
        axes.set_axisbelow(True)
        axes.set_xlabel("measured latency of one inference, p50, ms")
        axes.set_ylabel("score, points", color=MUTED)
        if not all(point.get("within_budget", True) for point in points):
            axes.scatter([], [], marker="x", color=MUTED, label="breaks the budget")
            axes.legend(frameon=False, fontsize=8, loc="lower right")
        label = f"Score against latency of {len(points)} networks, {len(front)} of them on the front"
        return to_svg(figure, label, inline=inline)


def pareto_front(points: Sequence[Mapping[str, Any]]) -> list[int]:
    """The indices of the points that no other beats in score or p50_ms without losing in the other, fastest first; of
    equal points the first.
    """
    order = sorted(range(len(points)), key=lambda i: (float(points[i]["p50_ms"]), -float(points[i]["score"]), i))
    front: list[int] = []
    for index in order:
        if not front or float(points[index]["score"]) > float(points[front[-1]]["score"]):
            front.append(index)
    return front


def _point_label(point: Mapping[str, Any]) -> str:
    return str(point["label"]) if "label" in point else f"trial {point['trial']}" if "trial" in point else ""


def _label_front(axes: Any, labelled: Sequence[tuple[float, float, str]]) -> None:
    """A number at each point of the front, and beside the plot what it stands for."""
    for place, (x, y, label) in enumerate(labelled):
        axes.annotate(
            str(place + 1),
            (x, y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            fontweight="bold",
        )
        axes.annotate(
            f"{place + 1}: {x:.3g} ms, {y:.1f} points" + (f": {label}" if label else ""),
            (1.02, 1.0),
            xycoords="axes fraction",
            xytext=(0, -13 * (place + 1)),
            textcoords="offset points",
            fontsize=8,
            color=TEXT,
            parse_math=False,  # a dollar is a dollar
        )
