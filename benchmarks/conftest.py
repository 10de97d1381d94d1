from __future__ import annotations

from typing import Any

import pytest


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """The same description of the machine as in every other result of edgelane."""
    from edgelane.bench import environment

    machine_info["edgelane"] = environment()
