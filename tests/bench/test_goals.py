"""The goal table: what a measured value means, and from which figures it is taken."""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytest.importorskip("onnx", reason="the benchmarks make ONNX files")
pytest.importorskip("torch", reason="the benchmarks make networks")

from benchmarks.models import goals
from benchmarks.models.evaluate import evaluate
from benchmarks.models.networks import PERCEPTION
from benchmarks.models.render import section

from edgelane.bench.processes import take_turns


@pytest.mark.parametrize(
    ("value", "verdict"), [(None, "not measured"), (0.949, "missed"), (0.95, "met"), (1.19, "met"), (1.2, "stretch")]
)
def test_a_lower_bound(value, verdict):
    goal = next(speed.goal for speed in goals.SPEED if speed.group == "resnet50-f32" and speed.model == "dense")
    assert goal.verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.2, "missed"), (0.1, "met"), (0.06, "met"), (0.05, "stretch")])
def test_an_upper_bound(value, verdict):
    assert goals.JITTER.verdict(value) == verdict


def test_a_goal_without_a_stretch_is_never_stretched():
    assert goals.BREAK_EVEN_4X1.verdict(0.0) == "met"
    assert goals.BREAK_EVEN_4X1.verdict(0.36) == "missed"


def test_values_in_the_goals_units():
    assert goals.FILE.show(1 / 21.04) == "1/21.0"
    assert goals.JITTER.show(0.07) == "+0.070"
    assert goals.BREAK_EVEN_4X1.show(0.35) == "35%"
    assert goals.BREAK_EVEN_4X1.show(0.2) == "≤ 20%"
    assert goals.THREADS.show(None) == "–"


def row(min_ms: float, **more: Any) -> dict[str, Any]:
    base = {
        "min_ms": min_ms,
        "round_min_ms": [min_ms, 2 * min_ms],
        "load_ms": 10.0,
        "peak_mib": 100.0,
        "file_bytes": 100,
    }
    return {**base, **more}


def group(rows: dict[str, dict[str, Any]], *, int8: bool, amx: bool = False) -> dict[str, Any]:
    rows = {"onnxruntime": row(12.0), "openvino": row(10.0), **({"openvino with AMX": row(5.0)} if amx else {}), **rows}
    errors = dict.fromkeys(rows, 0.0)
    return {
        "1": {
            "title": "a network",
            "int8": int8,
            "threads": 1,
            "rows": rows,
            "relative_error": errors,
            "tolerance": 0.05,
            "other_processes_cores": 0.3,
        }
    }


@pytest.fixture
def results() -> dict[str, Any]:
    machine = {
        "cpu": "a CPU",
        "usable_cores": 2,
        "memory_gib": 4.0,
        "os": "an OS",
        "isas": ["scalar"],
        "date": "today",
        "versions": {"onnx": "1"},
    }
    sparse = row(2.0, load_ms=5.0, peak_mib=30.0, file_bytes=4, macs=8e6, dense_macs=8e7)
    return {
        "command": "make bench-peers",
        "machine": machine,
        "machine_slug": "a-cpu",
        "measuring_minutes": 12.0,
        "trained": "Trained network: not measured.",
        "ceilings": {"f32_macs_per_s": 1e10, "int8_macs_per_s": 4e10},
        "groups": {
            "resnet50-f32": group({"edgelane dense": row(15.0), "edgelane 4x1-90": row(2.0, load_ms=20.0)}, int8=False),
            "resnet50-int8": group({"edgelane dense": row(9.0), "edgelane 4x4-90": sparse}, int8=True, amx=True),
            **{f"{name}-f32": group({"edgelane dense": row(6.0)}, int8=False) for name in PERCEPTION},
        },
        "scaling": {"file": "a", "reference_ms": 4.0, "own_ms": 2.1, "ratio": 4.0 / 2.1, "ratio_within_rounds": 1.9},
        "break_even": {"title": "a network", "layers": [], "network": {"4x1": 0.3, "unstructured": None}},
    }


def found(results: dict[str, Any], key: str) -> dict[str, Any]:
    return next(entry for entry in evaluate(results) if entry["key"] == key)


def test_a_speed_is_a_ratio_of_minima_against_the_goals_own_reference(results):
    fp32, int8 = found(results, "resnet50-f32/4x1-90"), found(results, "resnet50-int8/4x4-90")
    assert (fp32["value"], fp32["reference_ms"], fp32["verdict"]) == (6.0, 12.0, "met")
    assert (int8["value"], int8["reference_ms"], int8["verdict"]) == (5.0, 10.0, "stretch")
    assert int8["ratio_with_amx"] == 2.5, "what OpenVINO does as shipped stands beside it"
    assert int8["of_ceiling"] == pytest.approx(8e6 / 2e-3 / 4e10)
    assert found(results, "resnet50-f32/dense")["verdict"] == "missed"


def test_the_better_of_both_is_chosen_for_each_network(results):
    names = list(PERCEPTION)
    results["groups"][f"{names[0]}-f32"]["1"]["rows"]["onnxruntime"]["min_ms"] = 3.0
    entry = found(results, "perception-f32")
    assert [one["reference_runner"] for one in entry["networks"]] == ["onnxruntime", *["openvino"] * (len(names) - 1)]
    others = len(names) - 1
    assert entry["value"] == pytest.approx((3 / 6 * (10 / 6) ** others) ** (1 / len(names)))


def test_a_wrong_result_counts_for_nothing(results):
    results["groups"]["resnet50-int8"]["1"]["relative_error"]["edgelane 4x4-90"] = 0.06
    assert found(results, "resnet50-int8/4x4-90")["verdict"] == "not measured"
    results["groups"]["lane_and_drivable-f32"]["1"]["relative_error"]["edgelane dense"] = float("inf")
    assert found(results, "perception-f32")["verdict"] == "not measured"


def test_load_and_memory_are_judged_on_the_mean_and_show_the_worst(results):
    kept = {key: value for key, value in results["groups"].items() if key.startswith("resnet50")}
    results["groups"] = kept
    load, memory = found(results, "load"), found(results, "memory")
    assert load["value"] == pytest.approx((10 / 20 * 10 / 5) ** 0.5)
    assert load["worst"] == 0.5
    assert memory["value"] == pytest.approx((1.0 * 0.3) ** 0.5)
    assert memory["worst"] == 1.0


def test_the_rest_of_the_table(results):
    assert found(results, "threads")["verdict"] == "met"
    assert found(results, "file")["value"] == 0.04
    assert found(results, "break-even 4x1")["verdict"] == "met"
    assert found(results, "break-even unstructured")["verdict"] == "not measured"
    assert found(results, "mobilenet_v2-f32/4x1-85")["verdict"] == "not measured"
    assert len(evaluate(results)) == 18, "a goal that was not measured stays in the table"


def test_the_page_says_what_a_reader_must_know(results):
    results = copy.deepcopy(results)
    results["goals"] = evaluate(results)
    page = section(results, "a-cpu.json")
    cells = "OpenVINO | 2.00 | 10.00 | **5.00x** | 2.50x | 5.00x | 4.00x | 5.00x | stretch | 10% |"
    assert f"| ResNet-50, 90 % 4x4, int8 | {cells}" in page
    assert "ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI" in page
    assert "**Not an idle machine:** other processes kept up to 0.30 cores busy" in page
    assert "Trained network: not measured." in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in tables]
    assert len(set(widths[:20])) == 1, "rows of the goal table are as wide as its head"


class Scripted:
    """Answers turns, and notes who was asked."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def ask(self, command: str, **arguments: Any) -> Any:
        assert command == "turn"
        self.log.append(self.name)
        return [1.0] * arguments["calls"]


def test_turns_alternate_in_changing_order():
    log: list[str] = []
    rounds = take_turns({name: Scripted(name, log) for name in "abc"}, 1e-9, calls=2, minimum_rounds=12)
    assert {name: len(found) for name, found in rounds.items()} == dict.fromkeys("abc", 12)
    orders = [tuple(log[i : i + 3]) for i in range(0, len(log), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(set(orders)) > 1
