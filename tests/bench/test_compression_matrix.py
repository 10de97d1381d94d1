"""The compression benchmark's harness: what is done and again, figures over seeds, expectations, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.compression import matrix
from benchmarks.compression.book import Book, missing
from benchmarks.compression.deployed import level_of_equal_time
from benchmarks.compression.matrix import BUDGET, DENSE, INT8, REFERENCE, REFUSED, SETTINGS, UNIFORM, Unit
from benchmarks.compression.render import section
from benchmarks.compression.summary import MET, MISSED, TIED, UNKNOWN, Spread, expectations, figures
from benchmarks.compression.timing import representatives
from benchmarks.compression.units import CHANNEL_LEVELS, DONE, FAILED, REFUSAL, lane_of
from benchmarks.compression.work import Crew, next_unit
from benchmarks.compression.workloads import WORKLOADS

from edgelane.compression.recipe_file import recipe_of
from edgelane.errors import EdgelaneError
from edgelane.training import TrainingConfig

WORKLOAD = WORKLOADS[0]


def unit(key: str, seed: int = 0, workload: matrix.Workload = WORKLOAD) -> Unit:
    return Unit(workload, seed, matrix.setting_named(key))


def test_the_whole_matrix() -> None:
    """Five workloads, three seeds, every pattern at 80 and 90 %, and the needs of each unit before it."""
    everything = list(matrix.units(WORKLOADS, matrix.SEEDS))
    assert len(everything) == 5 * 3 * 15
    assert {workload.network for workload in WORKLOADS} == {"resnet18", "mobilenet_v2", "fpn_resnet18"}
    assert sum(one.setting.pattern is not None and one.setting.key != REFUSED for one in everything) == 5 * 3 * 12
    for place, one in enumerate(everything):
        assert all(everything.index(need) < place for need in one.needs())


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.key)
def test_every_recipe_is_one(workload: matrix.Workload) -> None:
    for one in matrix.units([workload], [0]):
        if one.setting.key == DENSE:
            TrainingConfig(**workload.dense)
            continue
        measured = one.setting.measured
        content = matrix.recipe(
            one,
            sparsity=0.5 if measured and one.setting.key != BUDGET else None,
            latency_ms=2.0 if one.setting.key == BUDGET else None,
        )
        recipe = recipe_of(content)
        assert (recipe.quantize is not None) == one.setting.int8
        assert recipe.seed == 0
        if one.setting.pattern is not None:
            assert recipe.train.distill is not None
            assert recipe.train.epochs == (0 if one.setting.key == REFUSED else workload.recipe["train"]["epochs"])
    assert recipe_of(matrix.recipe(unit(REFUSED))).budget.max_drop == 1.0


def test_a_choice_names_what_there_is() -> None:
    everything = list(matrix.units(WORKLOADS, [0, 1]))
    found = matrix.chosen(everything, "scenes-resnet18/4x4-80,segmentation/int8")
    assert [(one.key, one.seed) for one in found] == [
        ("scenes-resnet18/4x4-80-int8", 0),
        ("scenes-resnet18/4x4-80-int8", 1),
        ("scenes-segmentation/int8", 0),
        ("scenes-segmentation/int8", 1),
    ]
    with pytest.raises(EdgelaneError, match=r"no unit has resnet19.*scenes-segmentation;.*4x4-80-int8"):
        matrix.chosen(everything, "resnet19")


def finish(book: Book, one: Unit, outcome: str = DONE) -> None:
    lane = lane_of(book.root, one)
    lane.parent.mkdir(parents=True, exist_ok=True)
    lane.write_bytes(b"")
    book.record(one, {"outcome": outcome, "seconds": 2.0, "cpu_seconds": 1.5})


def test_what_is_done_again(tmp_path: Path) -> None:
    target, root = tmp_path / "found.json", tmp_path / "networks"
    book = Book(target, root, "command")
    wanted = [unit(UNIFORM)]
    assert missing(book, wanted) == [unit(DENSE), unit(INT8), unit(BUDGET), unit(UNIFORM)]
    for key in (DENSE, INT8, BUDGET):
        finish(book, unit(key))
    again = Book(target, root, "command")
    assert missing(again, wanted) == [unit(UNIFORM)]
    assert again.content["seconds"] == {"seconds": 6.0, "cpu_seconds": 4.5}

    finish(again, unit(BUDGET), FAILED)
    assert missing(again, wanted) == [unit(BUDGET), unit(UNIFORM)]
    finish(again, unit(BUDGET))
    lane_of(root, unit(INT8)).unlink()  # the solver's network was made from it
    assert missing(again, wanted) == [unit(INT8), unit(BUDGET), unit(UNIFORM)]
    again.record(unit(REFUSED), {"outcome": REFUSAL})
    assert missing(again, [unit(REFUSED)]) == []


def test_results_of_other_settings_are_forgotten(tmp_path: Path) -> None:
    book = Book(tmp_path / "found.json", tmp_path / "networks", "command")
    finish(book, unit(DENSE))
    finish(book, unit(DENSE, 1))
    longer = replace(WORKLOAD, dense={**WORKLOAD.dense, "epochs": 99})
    assert not book.done(unit(DENSE, workload=longer))
    book.drop_stale([unit(DENSE), unit(DENSE, 1, longer)])
    assert list(book.content["workloads"][WORKLOAD.key]["units"]["0"]) == [DENSE]
    assert book.content["workloads"][WORKLOAD.key]["units"]["1"] == {}

    other = replace(WORKLOAD, title="Other", recipe={**WORKLOAD.recipe, "quantize": {"calibration": "entropy"}})
    assert unit(DENSE, workload=other).digest("one") == unit(DENSE).digest("one")
    assert unit("4x1-80", workload=other).digest("one") == unit("4x1-80").digest("one")
    assert unit(REFERENCE, workload=other).digest("one") != unit(REFERENCE).digest("one")

    content = json.loads((tmp_path / "found.json").read_text())
    (tmp_path / "found.json").write_text(json.dumps({**content, "machine_slug": "another-8-cores"}))
    assert Book(tmp_path / "found.json", tmp_path / "networks", "command").content["workloads"] == {}


def test_only_measured_settings_depend_on_the_machine() -> None:
    assert unit(REFERENCE).digest("one") == unit(REFERENCE).digest("other") != unit(REFERENCE, 1).digest("one")
    assert unit(BUDGET).digest("one") != unit(BUDGET).digest("other")
    assert unit(UNIFORM).digest("one") != unit(UNIFORM).digest("other")


def test_who_does_what_next() -> None:
    """A worker stays with its data, then takes data that nobody has, then helps; never before the needs are done."""
    dense, other = unit(DENSE), unit(DENSE, 1)
    waiting = [unit(key, seed) for seed in (0, 1) for key in (DENSE, INT8, BUDGET)]
    assert next_unit(waiting, waiting, [], None) == dense
    running = waiting[1:]
    assert next_unit(running, waiting, [dense.group], None) == other
    assert next_unit(running, waiting, [dense.group, other.group], dense.group) == other
    ready = [one for one in running if one.setting.key != DENSE]
    assert next_unit(ready, [dense, *ready], [], dense.group) == unit(INT8, 1)
    assert next_unit(ready, ready, [], dense.group) == unit(INT8)
    assert next_unit([unit(BUDGET)], [unit(BUDGET), unit(INT8)], [], None) is None


def test_what_fails_takes_along_what_needs_it(tmp_path: Path) -> None:
    """Through a real worker: the data are not there."""
    workload = replace(WORKLOAD, data=str(tmp_path / "nowhere"))
    todo = [unit(key, workload=workload) for key in (DENSE, INT8, BUDGET)]
    found: list[tuple[Unit, dict[str, Any]]] = []
    Crew(todo, 2, tmp_path, lambda one, result: found.append((one, result))).run()
    assert [one for one, _ in found] == todo
    assert [result["outcome"] for _, result in found] == [FAILED] * 3
    assert "nowhere" in found[0][1]["reason"]
    assert found[0][1]["cpu_seconds"] >= 0
    assert found[2][1]["reason"] == "it needs dense fp32, which failed"


def test_equal_time_is_found_by_halving() -> None:
    """Time falls with the level: 1.30 at 0.10, then 0.0125 less at each step, so that it is 1 after 24 of them."""
    asked: list[float] = []

    def ratio(level: float) -> float:
        asked.append(level)
        return 1.3 - 0.0125 * CHANNEL_LEVELS.index(level)

    level, measured = level_of_equal_time(ratio, CHANNEL_LEVELS)
    assert level == CHANNEL_LEVELS[24]
    assert measured[level] == pytest.approx(1.0)
    assert len(asked) == len(set(asked)) <= 6


def test_networks_of_equal_shape_share_a_time() -> None:
    plans = {"0": {"plan": {"a": 0.5}}, "1": {"plan": {"a": 0.6}}, "2": {"plan": {"a": 0.5}}}
    assert representatives(plans) == {"0": "0", "1": "1", "2": "0"}


def results(solver: float, uniform: float, pruned: float) -> dict[str, Any]:
    """Three seeds; each scores a hundredth more than the one before."""
    units: dict[str, Any] = {}
    for seed in range(3):
        units[str(seed)] = {
            key: {"outcome": DONE, "score": score + 0.01 * seed, "loss": 1 - score, "bytes": 2_000_000, "macs": 500}
            for key, score in ((DENSE, 0.9), (INT8, 0.9), (REFERENCE, pruned), (BUDGET, solver), (UNIFORM, uniform))
        }
        units[str(seed)][DENSE] |= {"counts": {"train": 7, "val": 1, "test": 2}, "macs": 2000}
    units["0"][REFUSED] = {"outcome": REFUSAL, "ladder": [{"drop": 31.26}, {"drop": 40.0}], "reason": "no"}
    times = {DENSE: 4.0, INT8: 2.0, REFERENCE: 0.8, BUDGET: 1.0, UNIFORM: 0.99}
    rows = {key: {str(seed): {"p50_ms": value, "min_ms": value} for seed in range(3)} for key, value in times.items()}
    facts = {"title": "Net, signs", "network": "net", "data": "signs", "width": 1.0, "image_size": [64, 64]}
    recipe = {"train": {"epochs": 8, "learning_rate": 0.001}}
    timing = {"rows": rows, "other_processes_cores": 0.02}
    return {**facts, "dense": {"epochs": 14}, "recipe": recipe, "units": units, "timing": timing}


def test_figures_over_seeds() -> None:
    found = figures(results(solver=0.88, uniform=0.87, pruned=0.885), REFERENCE)
    assert found["score"] == Spread(
        pytest.approx(89.5), pytest.approx(1.0), pytest.approx(88.5), pytest.approx(90.5), 3
    )
    assert found["drop"].mean == pytest.approx(1.5)
    assert found["drop"].deviation == pytest.approx(0.0, abs=1e-9)
    assert Spread.of([2.0]) == Spread(2.0, None, 2.0, 2.0, 1)
    assert Spread.of([]) is None


@pytest.mark.parametrize(
    ("solver", "uniform", "pruned", "verdicts"),
    [
        (0.88, 0.87, 0.895, [MET, MET, MET, MET]),
        (0.87, 0.87, 0.885, [MISSED, MET, TIED, MET]),
        (0.86, 0.87, 0.9, [MET, MET, MISSED, MET]),
    ],
)
def test_expectations(solver: float, uniform: float, pruned: float, verdicts: list[str]) -> None:
    rows = expectations(results(solver, uniform, pruned))
    assert [row["verdict"] for row in rows] == verdicts
    assert rows[3]["measured"] == "1 of 1 refused; the closest variant lost 31.3 points, 1 allowed"


def test_more_accurate_but_slower_beats_nobody() -> None:
    found = results(0.88, 0.87, 0.9)
    for row in found["timing"]["rows"][BUDGET].values():
        row["min_ms"] = 1.1
    rows = expectations(found)
    assert [row["verdict"] for row in rows] == [MET, MET, MISSED, MET]
    for row in found["timing"]["rows"][BUDGET].values():
        row["p50_ms"] = 1.04
    assert expectations(found)[1] == {
        "what": "the solver's network takes 50% of the dense int8 one's time",
        "measured": "52.0% (by seed 52.0% to 52.0%)",
        "verdict": MISSED,
    }
    assert "+1.00 points" in rows[2]["measured"]
    assert "1.111 of its time; test loss 0.1200 against 0.1300" in rows[2]["measured"]


def test_nothing_measured_is_nothing_met() -> None:
    assert {row["verdict"] for row in expectations({"units": {}})} == {UNKNOWN}
    passed = {"units": {"0": {REFUSED: {"outcome": DONE}}}}
    assert expectations(passed)[3] == {
        "what": "the gate refuses the recipe made to fail",
        "measured": "0 of 1 refused",
        "verdict": MISSED,
    }


def test_page() -> None:
    machine = {
        "cpu": "A",
        "usable_cores": 2,
        "os": "Linux",
        "isas": ["avx2"],
        "date": "today",
        "versions": {"edgelane": "1"},
    }
    workload = results(0.88, 0.87, 0.895)
    workload["units"]["1"]["4x4-90-int8"] = {"outcome": FAILED, "reason": "no disk"}
    page = section(
        {
            "command": "make bench-compression",
            "machine": machine,
            "machine_slug": "a-2-cores",
            "seconds": {"seconds": 9000.0, "cpu_seconds": 7200.0},
            "settings": {setting.key: setting.title for setting in SETTINGS},
            "workloads": {"w": workload},
        },
        "compression.json",
    )
    assert "2.00 hours of CPU time" in page
    assert (
        "| 80 % 4x4 int8 | 90.50 ± 1.00 (89.50 to 91.50) | +0.50 ± 0.00 | 0.800 | 5.00x | 2.50x | 25% | 2.00 |" in page
    )
    assert "| dense fp32 | 91.00 ± 1.00 (90.00 to 92.00) |  | 4.000 | 1.00x | 0.50x | 100% | 2.00 |" in page
    assert "| Net, signs | 80 % 4x4 int8 within 1 point of dense fp32 | −0.50 points" in page
    assert "- seed 1, 90 % 4x4 int8: failed: no disk" in page
