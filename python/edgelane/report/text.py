"""Numbers as the pages write them; "-" stands for what is not known."""

from __future__ import annotations


def percent(value: float | None, digits: int = 2) -> str:
    """A share as percent."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, form: str, scale: float = 1) -> str:
    """The value in units of `scale`."""
    return "-" if value is None else form.format(value / scale if scale != 1 else value)


def p_text(value: float | None) -> str:
    """A p-value to three places."""
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
