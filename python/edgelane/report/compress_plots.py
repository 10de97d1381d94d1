"""The figures of `edgelane compress`: scores before and after, what each layer costs, and where its zeros are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from edgelane.report.svg import CARD, GRID, MUTED, SERIES, TEXT, WIDTH_INCHES, style, to_svg

if TYPE_CHECKING:
    from PIL.Image import Image

MASK_ROWS, MASK_COLUMNS = 96, 256  # of a weight: what a picture shows of it
MASK_ZOOM = 2  # pixels for each weight
_ACCENT = (11, 107, 203)  # readable on a light and on a dark card


@dataclass(frozen=True)
class Pair:
    """A score before and after, 0 to 1; `hurt` marks it."""

    name: str
    before: float
    after: float
    hurt: bool = False


def pairs(rows: Sequence[Pair], axis: str) -> str:
    """One line per row: a ring for the score before, a dot for the one after, the way between them; marked where
    `hurt`.
    """
    with style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.9 + 0.21 * len(rows)))
        axes = figure.add_subplot()
        places = np.arange(len(rows))
        for hurt, colour, name in ((False, SERIES[0], "after"), (True, SERIES[1], "after, hurt")):
            own = [(place, row) for place, row in zip(places, rows, strict=True) if row.hurt == hurt]
            if not own:
                continue
            at = [place for place, _ in own]
            before, after = [100 * row.before for _, row in own], [100 * row.after for _, row in own]
            axes.hlines(at, before, after, color=colour, linewidth=1.6, alpha=0.6)
            axes.scatter(after, at, s=34, color=colour, zorder=3, label=name, marker="D" if hurt else "o")
        axes.scatter(
            [100 * row.before for row in rows],
            places,
            s=40,
            facecolor=CARD,
            edgecolor=TEXT,
            linewidth=1.1,
            zorder=2,
            label="before",
        )
        axes.set_yticks(places, [row.name for row in rows], fontsize=8, parse_math=False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.04)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(axis)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=8)
        return to_svg(figure, f"{axis}, before and after, of {len(rows)} rows; the table holds the numbers")


def layer_costs(rows: Sequence[Mapping[str, Any]]) -> str:
    """One bar per layer: MACs before and what is left of them, and, where it was measured or predicted, time likewise.

    Rows as in compress.json; "format" (pattern and dtype) colours them.
    """
    names = [str(row["name"]) for row in rows]
    formats = [str(row["format"]) for row in rows]
    colour_of = {name: SERIES[i % len(SERIES)] for i, name in enumerate(dict.fromkeys(formats))}
    colours = [colour_of[name] for name in formats]
    times = ("before_us", "measured_us", "predicted_us")
    timed = any(row.get(key) is not None for row in rows for key in times)
    with style():
        figure = Figure(figsize=(WIDTH_INCHES, 1.0 + 0.2 * len(rows)))
        panels = figure.subplots(1, 2 if timed else 1, sharey=True, squeeze=False)[0]
        places = np.arange(len(rows))
        before = [float(row.get("dense_macs") or 0) / 1e6 for row in rows]
        left = [float(row.get("macs") or 0) / 1e6 for row in rows]
        panels[0].barh(places, before, color=GRID, height=0.74)
        panels[0].barh(places, left, color=colours, height=0.5)
        panels[0].set_xlabel(f"MACs, millions (before {sum(before):.1f}, left {sum(left):.1f})")
        panels[0].set_yticks(places, names, fontsize=7.5, parse_math=False)
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        if timed:
            _times(panels[1], rows, places, colours)
        for axes in panels:
            axes.tick_params(length=0)
            axes.grid(axis="x")
            axes.set_axisbelow(True)
        for name, colour in colour_of.items():
            panels[0].barh([0], [0], color=colour, label=name)
        panels[0].barh([0], [0], color=GRID, label="before")
        panels[0].legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(5, len(colour_of) + 1), frameon=False, fontsize=8
        )
        figure.tight_layout(w_pad=1.5)
        return to_svg(figure, f"MACs and time of {len(rows)} layers; the table below holds the numbers")


def _times(axes: Any, rows: Sequence[Mapping[str, Any]], places: npt.NDArray[np.int64], colours: list[str]) -> None:
    def column(key: str) -> list[float]:
        return [float(row[key]) if row.get(key) is not None else float("nan") for row in rows]

    before, after, predicted = column("before_us"), column("measured_us"), column("predicted_us")
    axes.barh(places, np.nan_to_num(before), color=GRID, height=0.74)
    axes.barh(places, np.nan_to_num(after), color=colours, height=0.5)
    total = f"before {np.nansum(before):.0f}, after {np.nansum(after):.0f}"
    if not np.isnan(predicted).all():
        axes.scatter(predicted, places, marker="|", s=60, color=TEXT, linewidth=1.4, zorder=3, label="predicted")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"time, µs ({total})", color=MUTED)


def mask_picture(weight: npt.NDArray[np.float32]) -> Image:
    """Where a weight [oc, ic, ...taps] is not zero.

    One row per output channel; the columns run through the input channels of the first tap, then of the next, so that
    blocks of neighbouring input channels lie side by side. At most MASK_ROWS x MASK_COLUMNS weights, those of lowest
    index, each MASK_ZOOM pixels wide and high. Zeros are transparent.
    """
    from PIL import Image

    rows = weight.reshape(*weight.shape[:2], -1).transpose(0, 2, 1).reshape(len(weight), -1)
    shown = rows[:MASK_ROWS, :MASK_COLUMNS] != 0
    picture = Image.fromarray(shown.repeat(MASK_ZOOM, 0).repeat(MASK_ZOOM, 1).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, *_ACCENT])
    picture.info["transparency"] = 0
    return picture
