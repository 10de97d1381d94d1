"""What the page of `edgelane compress` says about the layers: costs, and pictures of their zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelane.report import compress_plots
from edgelane.report.page import Figure, Table, data_uri, figure_markup
from edgelane.report.text import number, percent

if TYPE_CHECKING:
    from torch import nn

MASKS = 6  # layers whose zeros are drawn


@dataclass(frozen=True)
class MaskPicture:
    """The zeros of one layer."""

    source: str
    caption: str


def layer_figure(content: Mapping[str, Any], model: nn.Module | None = None) -> Figure | None:
    """The layers' costs and what is known of each; None where the content has no layers. What the content does not say
    of pattern and dtype follows from the recipe and from the compressed `model`.
    """
    layers = content.get("layers")
    if not layers:
        return None
    plan = {row["name"]: row for row in (content.get("plan") or {}).get("rows") or []}
    sensitive = {row["name"]: row for row in content.get("sensitivity") or []}
    kept = {row["name"]: row["reason"] for row in (content.get("plan") or {}).get("kept_dense") or []}
    rows = []
    for layer in layers:
        row = {**plan.get(layer["name"], {}), **{key: value for key, value in layer.items() if value is not None}}
        row.update(_format(row, content, model))
        row["format"] = " ".join(str(row[key]) for key in ("pattern", "dtype") if row.get(key)) or str(
            row.get("op", "")
        )
        rows.append(row)
    columns = {
        "layer": lambda row: row["name"],
        "weight": lambda row: "x".join(map(str, row.get("shape", ()))),
        "format": lambda row: f"{row['format']} ({kept[row['name']]})" if row["name"] in kept else row["format"],
        "density": lambda row: percent(row.get("density"), 0),
        "MACs before, M": lambda row: number(row.get("dense_macs"), "{:.2f}", 1e6),
        "MACs, M": lambda row: number(row.get("macs"), "{:.2f}", 1e6),
        "parameters": lambda row: number(row.get("params"), "{:,}"),
        "before, µs": lambda row: number(row.get("before_us"), "{:.1f}"),
        "measured, µs": lambda row: number(row.get("measured_us"), "{:.1f}"),
        "predicted, µs": lambda row: number(row.get("predicted_us"), "{:.1f}"),
        "pays from": lambda row: percent(row.get("overtakes_at"), 0),
        "alone loses, points": lambda row: number(sensitive.get(row["name"], {}).get("drop"), "{:.2f}"),
        "SQNR alone, dB": lambda row: number(sensitive.get(row["name"], {}).get("sqnr_db"), "{:.1f}"),
        "alone disturbs outputs by": lambda row: percent(sensitive.get(row["name"], {}).get("damage")),
    }
    table = _without_empty_columns(
        Table(
            "",
            list(columns),
            [[str(cell(row)) for cell in columns.values()] for row in rows],
            "Density: the share of the weights that is not zero. Times: before and after compression, measured, and as "
            "predicted before any training. Pays from: the sparsity at which this layer overtakes dense. Alone: what "
            "the network loses, and how much noise its outputs have, when only this layer is compressed.",
        )
    )
    return Figure("Layers", figure_markup(compress_plots.layer_costs(rows)), table)


def _format(row: Mapping[str, Any], content: Mapping[str, Any], model: nn.Module | None) -> dict[str, str]:
    found: dict[str, str] = {}
    pattern = ((content.get("recipe") or {}).get("prune") or {}).get("pattern")
    if "pattern" not in row and pattern and row.get("density") is not None:
        found["pattern"] = pattern if row["density"] < 1 else "dense"
    if "dtype" not in row and model is not None:
        from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear

        quantized = isinstance(model.get_submodule(row["name"]), (QuantizedConv2d, QuantizedLinear))
        found["dtype"] = "int8" if quantized else "float32"
    return found


def _without_empty_columns(table: Table) -> Table:
    kept = [i for i in range(len(table.columns)) if any(row[i] not in ("", "-") for row in table.rows)]
    return Table(
        table.title,
        [table.columns[i] for i in kept],
        [[row[i] for i in kept] for row in table.rows],
        table.caption,
        table.emphasis,
    )


def mask_pictures(content: Mapping[str, Any], model: nn.Module | None) -> list[MaskPicture]:
    """The zeros of up to MASKS pruned layers, spread over the network's depth."""
    if model is None:
        return []
    sparse = [row for row in content.get("layers") or [] if row.get("density", 1.0) < 1.0]
    places = sorted({int(place) for place in np.linspace(0, len(sparse) - 1, MASKS).round()}) if sparse else []
    pictures = []
    for row in (sparse[place] for place in places):
        module: Any = model.get_submodule(row["name"])
        weight = module.weight.detach().cpu().float().numpy()
        rows, columns = len(weight), weight[0].size
        shown = min(rows, compress_plots.MASK_ROWS), min(columns, compress_plots.MASK_COLUMNS)
        part = "" if shown == (rows, columns) else f"; shown {shown[0]} of {rows} rows, {shown[1]} of {columns} columns"
        caption = f"{row['name']}: {'x'.join(map(str, weight.shape))}, {100 * row['density']:.0f} % not zero{part}"
        picture = compress_plots.mask_picture(weight)
        pictures.append(MaskPicture(data_uri(picture, "PNG"), caption))
    return pictures
