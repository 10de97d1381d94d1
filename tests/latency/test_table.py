from __future__ import annotations

import json

import pytest
from tests.latency import laws

from edgelane._version import __version__
from edgelane.errors import EdgelaneError
from edgelane.latency import LatencyModel
from edgelane.latency.model import find_table
from edgelane.latency.table import Table, cache_folder, table_path, tables


def test_saving_and_reading_changes_nothing_but_the_last_digits(tmp_path):
    table = laws.table()
    table.save(tmp_path / "t.json")
    found = Table.read(tmp_path / "t.json")
    assert len(found.samples) == len(table.samples)
    for a, b in zip(found.samples, table.samples, strict=True):
        assert (a.shape, a.kernel, a.macs, a.network) == (b.shape, b.kernel, b.macs, b.network)
        assert a.time_us == pytest.approx(b.time_us, abs=6e-4)
    assert (found.cpu, found.isa, found.spread) == ("a law", "avx512", 0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "expected a calibration of format 1, found 99; run `edgelane calibrate` again"),
        ({"samples": [[1, 2]]}, "is damaged"),
        ({"samples": [[{"op": "conv2d", "speed": 3}, "k", 1, 1.0, 1, 1]]}, "expected the shape of a step"),
    ],
)
def test_damaged_tables(tmp_path, change, message):
    table = laws.table()
    table.save(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(EdgelaneError, match=message):
        LatencyModel.read(tmp_path / "t.json")


def test_not_a_table(tmp_path):
    (tmp_path / "t.json").write_text("[1]")
    with pytest.raises(EdgelaneError, match="found 'list'"):
        Table.read(tmp_path / "t.json")


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGELANE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "edgelane"
    monkeypatch.setenv("EDGELANE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_table_is_found_by_threads_and_kernel_set(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELANE_CACHE", str(tmp_path))
    assert tables() == []
    with pytest.raises(EdgelaneError, match=r"for 2 threads and avx2: run `edgelane calibrate --threads 2 --isa avx2`"):
        find_table(2, "avx2")
    laws.table().save(table_path(2, "avx2"))
    assert find_table(2, "avx2") == str(table_path(2, "avx2"))
    assert LatencyModel.load(2, "avx2").table.cpu == "a law"
    assert tables() == [table_path(2, "avx2")]
    assert table_path(2, "avx2").name.endswith(f"-avx2-2t-{__version__}.json")
    with pytest.raises(EdgelaneError, match="for 1 thread and avx2"):
        LatencyModel.load(1, "avx2")
