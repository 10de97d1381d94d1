from __future__ import annotations

import pytest

pytest.importorskip("scipy")


@pytest.fixture(scope="session")
def law_model():
    """A model fitted to the table of `laws.py`."""
    from tests.latency import laws

    from edgelane.latency import LatencyModel

    return LatencyModel(laws.table())
