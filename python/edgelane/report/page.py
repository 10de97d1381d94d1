"""The content of a report, and the HTML page made of it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from edgelane._version import __version__
from edgelane.files import write_bytes
from edgelane.report import plots

if TYPE_CHECKING:
    from PIL.Image import Image

PHOTO_PIXELS = 360  # longest side: sharp at the width a grid cell gets, about 20 kB each
PHOTO_QUALITY = 82


@dataclass(frozen=True)
class Table:
    """Rows of text under a title. `emphasis` holds the indices of the rows that the reader came for; `caption` says
    how it was measured.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    emphasis: Sequence[int] = ()


@dataclass(frozen=True)
class Figure:
    """A plot with the table that holds its numbers."""

    title: str
    svg: Any
    table: Table


@dataclass(frozen=True)
class LatencyPlot:
    """Distributions of one benchmark run on one axis: engine → milliseconds of every call."""

    title: str
    samples_ms: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class LayerChart:
    """Time of every step of one model: rows of `Session.profile` as dictionaries."""

    title: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Photo:
    """A picture with what the network said about it; `correct` is None where the truth is not known."""

    image: Image
    caption: str
    correct: bool | None = None


@dataclass(frozen=True)
class Report:
    """Everything on the page, in its order. Empty parts are left out. `compression`: what
    `edgelane.report.compress.parts` gives.
    """

    title: str
    subtitle: str
    tables: Sequence[Table]
    latencies: Sequence[LatencyPlot] = ()
    layers: Sequence[LayerChart] = ()
    photos: Sequence[Photo] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    compression: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    commands: Sequence[str] = ()


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Write `report` as one self-contained HTML file. Raises EdgelaneError where it cannot be written."""
    write_bytes(path, render(report).encode())


def render(report: Report) -> str:
    """The page as text."""
    return template("report.html.jinja").render(
        title=report.title,
        subtitle=report.subtitle,
        warnings=report.warnings,
        report=report,
        compression=report.compression,
        version=__version__,
        latencies=[(plot.title, figure_markup(plots.latency(plot.samples_ms))) for plot in report.latencies],
        layers=[(chart.title, figure_markup(plots.layers(chart.rows))) for chart in report.layers],
        photos=[(data_uri(photo.image), photo.caption, photo.correct) for photo in report.photos],
        environment=flatten(report.environment or {}),
        commands=report.commands,
    )


def template(name: str) -> jinja2.Template:
    """A template of this folder; what is put into it is escaped, and a name that it misses is an error."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def flatten(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each entry; nested mappings and lists on one line, what is not known said so."""
    return [(key.replace("_", " "), _text(value)) for key, value in values.items()]


def _text(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)


def figure_markup(svg: str) -> Any:
    """An SVG of plots.py or its like, which escape what they are given, for a template."""
    import markupsafe

    return markupsafe.Markup(svg)


def data_uri(image: Image, kind: str = "JPEG") -> str:
    """The picture as the address of an <img>: a photo scaled down as "JPEG", a drawing as it is as "PNG"."""
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, "PNG", optimize=True)
    else:
        small = image.convert("RGB")
        small.thumbnail((PHOTO_PIXELS, PHOTO_PIXELS))
        small.save(buffer, "JPEG", quality=PHOTO_QUALITY)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()
