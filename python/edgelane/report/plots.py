"""The plots of a report as SVG text. Colours are CSS variables of the page, so that they follow its light or dark
scheme.
"""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

WIDTH_INCHES = 9.6
BINS = 60
LAYERS_SHOWN = 40
_DENSE, _NO_WEIGHTS = "dense", "no weights"

# Colours that matplotlib writes and the page replaces with its own variables.
_SENTINELS = {
    "#010101": "var(--text)",
    "#020202": "var(--muted)",
    "#030303": "var(--grid)",
    "#111101": "var(--series-0)",
    "#111102": "var(--series-1)",
    "#111103": "var(--series-2)",
    "#111104": "var(--series-3)",
    "#111105": "var(--series-4)",
    "#111106": "var(--series-5)",
    "#111107": "var(--series-6)",
    "#111108": "var(--series-7)",
}
_TEXT, _MUTED, _GRID, *_SERIES = _SENTINELS
_STYLE = {
    "svg.fonttype": "none",  # text stays text: sharp, searchable, in the page's font
    "svg.hashsalt": "edgelane",  # element ids that do not change from run to run
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _TEXT,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
}
_style_lock = threading.Lock()  # matplotlib's settings are global


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
    with _style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.75 + 0.52 * len(names)))
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            base = len(names) - 1 - index
            colour = _SERIES[index % len(_SERIES)]
            counts, _ = np.histogram(values[name], edges)
            heights = 0.72 * counts / max(1, counts.max())
            axes.stairs(base + heights, edges, baseline=base, fill=True, color=colour, alpha=0.45, linewidth=0)
            axes.stairs(base + heights, edges, baseline=base, color=colour, linewidth=1.0)
            p50, p99 = np.percentile(values[name], [50, 99])
            axes.plot([p50, p50], [base, base + 0.8], color=_TEXT, linewidth=1.4)
            axes.plot([p99, p99], [base, base + 0.45], color=_TEXT, linewidth=1.0, linestyle=(0, (2, 2)))
            axes.annotate(
                f"p50 {p50:.2f}   p99 {p99:.2f}",
                (1.0, base + 0.5),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=8,
                color=_MUTED,
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
        return _svg(figure)


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
        colours.append(_MUTED)
    with _style():
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
                color=_MUTED,
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
        return _svg(figure)


def _layer_label(row: Mapping[str, Any]) -> str:
    if row["format"] == "-":
        return f"{row['step']}  {row['op']}"
    return f"{row['step']}  {row['op']}  {row['format']} {float(row['density']):.0%}"


def _format_colours(formats: Sequence[str]) -> dict[str, str]:
    """A colour for each format that occurs: the same one for dense, and for no weights, in every chart."""
    others = [name for name in dict.fromkeys(formats) if name not in (_DENSE, _NO_WEIGHTS)]
    colours = {_DENSE: _SERIES[0], **dict(zip(others, itertools.cycle(_SERIES[1:]), strict=False)), _NO_WEIGHTS: _MUTED}
    return {name: colour for name, colour in colours.items() if name in formats}


def _format(row: Mapping[str, Any]) -> str:
    return _NO_WEIGHTS if row["format"] == "-" else str(row["format"])


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between `low` and `high`."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [tick for power in powers for digit in (1, 2, 5) if low <= (tick := digit * 10.0**power) <= high]


class _style:
    """Holds matplotlib's global settings for one figure."""

    def __enter__(self) -> None:
        _style_lock.acquire()
        self._context = matplotlib.rc_context(_STYLE)
        self._context.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(None, None, None)
        _style_lock.release()


def _svg(figure: Any) -> str:
    """The figure as an <svg> element without prolog, fixed size or background, its colours replaced by the page's
    variables.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for sentinel, variable in _SENTINELS.items():
        text = text.replace(sentinel, variable)
    return text
