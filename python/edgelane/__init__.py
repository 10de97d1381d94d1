"""Pruned and int8 driving-perception networks that really run faster on the computer in the vehicle.

Importing this module needs numpy only; each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgelane._version import __version__
from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from edgelane.bench import benchmark
    from edgelane.compression import finalize, prune_model, quantize_model
    from edgelane.export.compiler import compile
    from edgelane.runtime import ProfileRow, Session, StepRow, TensorSpec

__all__ = [
    "EdgelaneError",
    "ProfileRow",
    "Session",
    "StepRow",
    "TensorSpec",
    "__version__",
    "benchmark",
    "compile",
    "finalize",
    "prune_model",
    "quantize_model",
]

_MODULES = {
    "Session": "edgelane.runtime",
    "TensorSpec": "edgelane.runtime",
    "ProfileRow": "edgelane.runtime",
    "StepRow": "edgelane.runtime",
    "compile": "edgelane.export.compiler",
    "prune_model": "edgelane.compression",
    "quantize_model": "edgelane.compression",
    "finalize": "edgelane.compression",
    "benchmark": "edgelane.bench",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'edgelane' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
