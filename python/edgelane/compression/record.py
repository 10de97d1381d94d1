"""What was done to a model, kept with it: the `compression` entry of a checkpoint, from which `rebuild` makes the same
modules again.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import fx, nn

_KEY = "edgelane_compression"


def record_of(model: nn.Module) -> dict[str, Any]:
    """The model's compression so far, as plain values: "pruning" and "quantization", each only where it was done."""
    return copy.deepcopy(model.meta.get(_KEY, {}) if isinstance(model, fx.GraphModule) else getattr(model, _KEY, {}))


def set_record(model: nn.Module, **entries: dict[str, Any]) -> None:
    """Add `entries` to the model's compression record. deepcopy keeps it, state_dict does not."""
    record = {**record_of(model), **entries}
    if isinstance(model, fx.GraphModule):
        model.meta[_KEY] = record  # deepcopy of a GraphModule keeps `meta` and drops plain attributes
    else:
        setattr(model, _KEY, record)
