"""Plans under a budget, on a machine whose times follow a law, and plans of every allocation and schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.latency import laws

from edgelane.checkpoint import Checkpoint
from edgelane.compression import compress, plan, plan_only
from edgelane.compression.evidence import over_budget
from edgelane.compression.measure import Timing
from edgelane.compression.plan import TOLERANCE
from edgelane.compression.recipe import Budget
from edgelane.errors import EdgelaneError
from edgelane.latency import LatencyModel, network


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Predicts by the law of `laws`, and really takes a quarter more. Returns what was measured, in microseconds."""
    model = LatencyModel(laws.table())
    measured: list[float] = []

    def untrained_us(job: Any, sparsity: dict[str, float]) -> float:
        steps = network(job.before, job.example)
        measured.append(1.25 * plan._predicted(job, model, steps, sparsity).predicted_us)
        return measured[-1]

    monkeypatch.setattr(LatencyModel, "load", lambda: model)
    monkeypatch.setattr(plan, "_untrained_us", untrained_us)
    monkeypatch.setattr(plan, "DAMAGE_IMAGES", 12)  # most of the time of a plan, with the levels that are tried
    monkeypatch.setattr(plan, "LEVELS", (0.0, 0.4, 0.6, 0.8, 0.9, 0.97))
    return measured


def _budget(budget_ms: float, **more: Any) -> dict[str, Any]:
    return {"prune.allocation": "latency", "budget.latency_ms": budget_ms, **more}


def test_a_plan_holds_its_budget_when_it_is_measured(run: Path, slow_machine: list[float]) -> None:
    dense = plan_only(run, settings=_budget(1e3)).predicted_us
    assert dense is not None
    wanted = 1.25 * dense * 0.6
    slow_machine.clear()
    found = plan_only(run, settings=_budget(wanted / 1e3))
    assert slow_machine[0] > wanted * (1 + TOLERANCE), "the prediction alone would have missed it"
    assert found.predicted_us is not None
    assert wanted * 0.9 < 1.25 * found.predicted_us <= wanted * (1 + TOLERANCE)
    assert len(set(found.sparsity.values())) > 2, "layers differ in what they save and disturb"
    assert set(found.damage) == set(found.sparsity)
    assert {row["name"] for row in found.rows} >= set(found.sparsity)
    assert all(row["predicted_us"] <= row["dense_us"] for row in found.rows)


def test_a_budget_that_the_dense_network_meets_prunes_nothing(
    run: Path, slow_machine: list[float], untimed: None
) -> None:
    report = compress(run, settings=_budget(1e3, quantize={}, **{"quantize.images": 8}))
    assert report["kind"] == "int8"
    assert not any(report["plan"]["sparsity"].values())
    report = compress(run, settings=_budget(1e3))
    assert (report["kind"], report["drop"]) == ("float", 0.0)
    unchanged = Checkpoint.load(run / "compressed.pt")
    assert all((value == unchanged.state_dict[key]).all() for key, value in unchanged.build().state_dict().items())


def test_a_result_that_exceeds_its_budget_says_so() -> None:
    timing = Timing(1.0, 1.0, 2_000_000, {})
    assert over_budget(Budget(latency_ms=0.99, size_mb=2.0), timing) == []
    assert over_budget(Budget(latency_ms=0.9, size_mb=1.5), timing) == [
        "it takes 1.000 ms, 0.9 were allowed",
        "its file has 2.00 MB, 1.5 were allowed",
    ]


def test_a_budget_that_nothing_meets_names_the_fastest(run: Path, slow_machine: list[float]) -> None:
    with pytest.raises(EdgelaneError, match="the fastest possible takes"):
        plan_only(run, settings=_budget(1e-3))


def test_a_budget_of_size_needs_no_time(run: Path, slow_machine: list[float]) -> None:
    found = plan_only(run, settings={"prune.allocation": "latency", "budget.size_mb": 0.5})
    assert slow_machine == []
    assert sum(row["bytes"] for row in found.rows) <= 0.5e6


def test_a_plan_of_channels_is_compared_with_the_whole_network(run: Path, slow_machine: list[float]) -> None:
    whole = plan_only(run, settings={"prune.sparsity": 0.5})
    found = plan_only(run, settings={"prune.sparsity": 0.5, "prune.pattern": "channel"})
    assert found.dense_us == whole.dense_us
    assert found.predicted_us is not None
    assert found.predicted_us < 0.8 * whole.dense_us
    rows, before = ({row["name"]: row for row in each.rows} for each in (found, whole))
    inner = rows["layer4.1.conv1"]
    assert (inner["pattern"], inner["sparsity"]) == ("channel", 0.5)
    assert inner["predicted_us"] < inner["dense_us"] == before["layer4.1.conv1"]["dense_us"]
    assert rows["fc"]["pattern"] == "dense"


def test_a_budget_needs_a_calibration_of_this_cpu(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELANE_CACHE", str(run / "empty"))
    with pytest.raises(EdgelaneError, match=r"no latency calibration of this CPU .*: run `edgelane calibrate` first"):
        plan_only(run, settings=_budget(1.0))
    assert "run `edgelane calibrate`" in plan_only(run, settings={"prune.sparsity": 0.5}).note


@pytest.mark.parametrize(
    "settings",
    [
        {"prune.schedule": "oneshot"},
        {"prune.schedule": "iterative", "prune.rounds": 2},
        {"prune.schedule": "iterative", "prune.rounds": 2, "prune.rewind": "learning_rate"},
        {"prune.schedule": "rigl"},
        {"prune.importance": "movement"},
        {"prune.importance": "taylor", "prune.allocation": "global", "prune.pattern": "unstructured"},
        {"prune.allocation": "erk"},
        {"prune.pattern": "2:4", "prune.sparsity": None},
        {"prune.pattern": "channel"},
    ],
    ids=lambda settings: ",".join(str(value) for value in settings.values()),
)
@pytest.mark.usefixtures("untimed")
def test_every_way_of_pruning_ends_where_its_plan_says(settings: dict[str, Any], run: Path) -> None:
    report = compress(run, settings={"prune.sparsity": 0.5, "train.epochs": 3, "train.batch_size": 32, **settings})
    left = {row["name"]: row["density"] for row in report["layers"]}
    planned = report["plan"]["sparsity"]
    if settings.get("prune.pattern") == "channel":
        assert report["totals"]["params"] < 0.75 * report["before_totals"]["params"]
        return
    for name, share in planned.items():
        grown = 0.1 if settings.get("prune.schedule") == "rigl" else 0.0  # what came last may still be zero
        assert 0.95 - share - grown <= left[name] <= 1.05 - share, name
    assert len(set(planned.values())) > 1 or report["recipe"]["prune"]["allocation"] == "uniform"
