"""Fixtures of the data tests: made data sets, the real ones where they are, and no network."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from data_makers import Maker

from edgelane.data.catalog import data_folders


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def real_data():
    """A function that gives the folder of a real data set, or skips the test and says where it was looked for."""

    def find(name: str) -> Path:
        for place in data_folders():
            if (place / name).is_dir():
                return place / name
        pytest.skip(f"no real data: {name} is in none of {', '.join(map(str, data_folders()))}")

    return find


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path / "set")
