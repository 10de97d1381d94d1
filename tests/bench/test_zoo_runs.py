"""The zoo's harness: limits, what is done again, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.zoo import processes
from benchmarks.zoo.__main__ import Zoo, source_hash
from benchmarks.zoo.catalog import select
from benchmarks.zoo.outcomes import AGREES, DISAGREES, FAILED, NOT_EXPORTABLE, REFUSED
from benchmarks.zoo.render import section

LIMITS = processes.Limits(300.0, 8.0)


@pytest.fixture(scope="module")
def context() -> Any:
    return processes.context()


def test_one_variant_and_where_it_was_ended(tmp_path: Path) -> None:
    target = tmp_path / "zoo.json"
    zoo = Zoo(target, LIMITS, "changed")
    zoo.check(select(["tinynet_e"]), ["torchscript"], [13], jobs=1)
    (result,) = json.loads(target.read_text())["models"]["tinynet_e"]["variants"].values()
    assert result["outcome"] == AGREES
    assert 0 < result["error"] < 1e-4
    assert result["code"] == source_hash()
    again = Zoo(target, LIMITS, "changed")
    assert not again.due(again.variants(select(["tinynet_e"])[0])["torchscript-13"])
    assert "1 agrees" in again.summary()


@pytest.mark.parametrize(
    ("outcome", "code", "redo", "due"),
    [
        (AGREES, "now", "changed", False),
        (AGREES, "old", "changed", True),
        (AGREES, "old", "failed", False),
        (REFUSED, "now", "failed", False),
        (REFUSED, "old", "failed", True),
        (DISAGREES, "old", "failed", True),
        (NOT_EXPORTABLE, "old", "changed", False),
        (AGREES, "now", "all", True),
    ],
)
def test_what_is_done_again(outcome: str, code: str, redo: str, due: bool, tmp_path: Path) -> None:
    zoo = Zoo(tmp_path / "zoo.json", LIMITS, redo)
    zoo.code = "now"
    assert zoo.due({"outcome": outcome, "code": code}) is due
    assert zoo.due(None)


def test_limits(context: Any, tmp_path: Path) -> None:
    """Too long, too large, and a crash are outcomes of their variant."""
    (entry,) = select(["resnet18"])
    task = (entry, "torchscript", 17)
    result = processes.run(context, "check", task, processes.Limits(0.2, 8.0), tmp_path)
    assert result == {"outcome": FAILED, "reason": "it took more than 0 s"}
    result = processes.run(context, "check", task, processes.Limits(300.0, 0.02), tmp_path)
    assert result["outcome"] == FAILED
    assert not list(tmp_path.iterdir())


def test_page() -> None:
    variants = {
        "torchscript-11": {"outcome": NOT_EXPORTABLE, "reason": "torch says no"},
        "torchscript-13": {"outcome": AGREES, "error": 2e-6, "steps": 20, "macs": 5_000_000, "size": 64},
        "torchscript-17": {"outcome": DISAGREES, "error": 0.5, "steps": 20, "macs": 5_000_000, "size": 64},
        "dynamo-18": {"outcome": REFUSED, "reason": "1 unsupported node: a | b"},
    }
    timing = {"size": 224, "steps": 21, "macs": 60_000_000, "edgelane_ms": 2.0, "onnxruntime_ms": 3.0}
    machine = {
        "cpu": "A",
        "usable_cores": 2,
        "os": "Linux",
        "isas": ["avx2"],
        "date": "today",
        "versions": {"timm": "1"},
    }
    results = {
        "command": "make zoo",
        "machine": machine,
        "machine_slug": "a-2-cores",
        "models": {"net": {"source": "timm", "variants": variants, "timing": timing}},
    }
    page = section(results, "zoo-a.json")
    assert "| net | timm | .+-? | ???-? | 5.0e-01 | 224 | 21 | 60 | 2.00 | 3.00 | 1.50x |" in page
    assert "- net, torchscript-17: disagrees: error 0.5" in page
    assert "- net, dynamo-18: refused: 1 unsupported node: a / b" in page
    assert "- torch says no: net" in page
