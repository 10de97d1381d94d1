"""What a network can be trained for, and what data, training and runtime must agree on about it."""

from __future__ import annotations

from edgelane.errors import EdgelaneError

TRAINED_TASKS = ("classification", "segmentation")
IGNORED = 255  # the value of a mask's pixels that have no label: neither trained on nor judged


def check_trained(task: str, what: str) -> None:
    """Raise EdgelaneError that names `what` ("data") unless networks are trained for `task`."""
    if task not in TRAINED_TASKS:
        raise EdgelaneError(f"expected {what} for {' or '.join(TRAINED_TASKS)}, found {task}")
