"""torch's two exporters at a given opset, in a fixed way."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch


class NotExportable(Exception):
    """torch itself cannot write this model at this opset; the message is torch's."""


def export(model: torch.nn.Module, batch: torch.Tensor, path: Path, exporter: str, opset: int) -> None:
    """Write `model` to `path`: fixed shapes, input x, outputs y0, y1, ... Raises NotExportable with torch's words."""
    with torch.no_grad():
        result = model(batch)
    count = 1 if isinstance(result, torch.Tensor) else len(result)
    options: dict[str, Any] = {
        "input_names": ["x"],
        "output_names": [f"y{index}" for index in range(count)],
        "opset_version": opset,
        "dynamo": exporter == "dynamo",
    }
    if exporter == "dynamo":
        options["verbose"] = False
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (batch,), str(path), **options)
    except Exception as error:  # torch raises whatever its passes and the model's code do
        raise NotExportable(reason(error)) from error
    finally:
        logging.disable(logging.NOTSET)
    written = onnx.load(str(path), load_external_data=False)
    found = max(entry.version for entry in written.opset_import if entry.domain in ("", "ai.onnx"))
    if found != opset:
        raise NotExportable(f"torch's converter left opset {found} where {opset} was asked for")


def reason(error: BaseException) -> str:
    """The first line of an exception's innermost cause, at most 200 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:200]
