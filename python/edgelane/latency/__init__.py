"""How long a network will take on this CPU, before it is trained: measured once, predicted for any plan.

`calibrate` times layers in random networks and keeps the table; `LatencyModel` predicts from it; `network` finds the
layers of a torch model; `solve` chooses patterns and sparsities under a budget; `plan_table` makes rows to print.
Needs scipy and onnx; nothing is imported before it is used, so that `edgelane.latency.table` needs numpy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgelane.latency.measure import calibrate, noise
    from edgelane.latency.model import LatencyModel, LayerPlan, Prediction, StepPrediction
    from edgelane.latency.plan import PlanRow, PlanTable, plan_table
    from edgelane.latency.shapes import LayerShape
    from edgelane.latency.solver import solve, stored_bytes
    from edgelane.latency.tracing import Network, network

__all__ = [
    "LatencyModel",
    "LayerPlan",
    "LayerShape",
    "Network",
    "PlanRow",
    "PlanTable",
    "Prediction",
    "StepPrediction",
    "calibrate",
    "network",
    "noise",
    "plan_table",
    "solve",
    "stored_bytes",
]

_MODULES = {
    **dict.fromkeys(("calibrate", "noise"), "measure"),
    **dict.fromkeys(("LatencyModel", "LayerPlan", "Prediction", "StepPrediction"), "model"),
    **dict.fromkeys(("Network", "network"), "tracing"),
    **dict.fromkeys(("PlanRow", "PlanTable", "plan_table"), "plan"),
    "LayerShape": "shapes",
    **dict.fromkeys(("solve", "stored_bytes"), "solver"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'edgelane.latency' has no attribute {name!r}")
    value = getattr(import_module(f"edgelane.latency.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
