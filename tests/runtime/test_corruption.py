"""Thousands of damaged files, half of them with the right checksum: each is refused in one line, or loads and runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lane_models import classifier

from edgelane.export.compiler.lane_file import to_bytes

COUNT = 1000


@pytest.mark.parametrize("first", range(0, 4 * COUNT, COUNT))
def test_no_damage_crashes_the_runtime(tmp_path, first):
    model, damaged = tmp_path / "model.lane", tmp_path / "damaged.lane"
    model.write_bytes(to_bytes(classifier()))
    script = Path(__file__).with_name("corrupt.py")
    command = [sys.executable, str(script), str(model), str(damaged), str(first), str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit status {done.returncode} at {damaged}: {done.stderr[-2000:]}"
    counts = json.loads(done.stdout)
    assert counts["refused"] + counts["ran"] == COUNT
    # Without the right checksum all but damage that changed nothing is refused; with it, weights may be others.
    assert counts["refused"] > COUNT // 2 * 0.9
    assert counts["ran"] > COUNT // 50
