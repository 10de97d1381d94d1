"""matplotlib figures as SVG text for a page. Colours are CSS variables of the page, so that they follow its light or
dark scheme.
"""

from __future__ import annotations

import io
import re
import threading
from html import escape
from typing import Any

import matplotlib

WIDTH_INCHES = 9.6

# Colours that matplotlib writes, the page's variables in their place, and what these are in its light scheme.
_SENTINELS = {
    "#010101": ("var(--text)", "#17202b"),
    "#020202": ("var(--muted)", "#5c6875"),
    "#030303": ("var(--grid)", "#dfe4ea"),
    "#040404": ("var(--card)", "#ffffff"),
    "#111101": ("var(--series-0)", "#0b6bcb"),
    "#111102": ("var(--series-1)", "#d9622b"),
    "#111103": ("var(--series-2)", "#2a8f5b"),
    "#111104": ("var(--series-3)", "#8a5cc2"),
    "#111105": ("var(--series-4)", "#c23b6b"),
    "#111106": ("var(--series-5)", "#6f7a19"),
    "#111107": ("var(--series-6)", "#1592a3"),
    "#111108": ("var(--series-7)", "#8c6d53"),
}
TEXT, MUTED, GRID, CARD, *SERIES = _SENTINELS
_STYLE = {
    "svg.fonttype": "none",  # text stays text: sharp, searchable, in the page's font
    "svg.hashsalt": "edgelane",  # element ids that do not change from run to run
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": TEXT,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": MUTED,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
}
_style_lock = threading.Lock()  # matplotlib's settings are global


class style:
    """Holds matplotlib's global settings for one figure."""

    def __enter__(self) -> None:
        _style_lock.acquire()
        self._context = matplotlib.rc_context(_STYLE)
        self._context.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(None, None, None)
        _style_lock.release()


def to_svg(figure: Any, label: str = "", *, inline: bool = True) -> str:
    """The figure as an <svg> element; `label` says to a screen reader what it shows.

    `inline`: for a page, without prolog, fixed size or background, its colours the page's variables. Else a file that
    stands alone, in the colours of the light scheme.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=inline,
        facecolor="none" if inline else CARD,
        bbox_inches="tight",
        metadata={"Date": None, "Creator": None},
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # matplotlib names the elements of all figures alike, and a page holds several: only what is referred to keeps its
    # name.
    referred = set(re.findall(r'["(]#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", text)
    if inline:
        text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    if label:
        text = text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    for sentinel, (variable, colour) in _SENTINELS.items():
        text = text.replace(sentinel, variable if inline else colour)
    return text
