from __future__ import annotations

import gc
import time

import pytest

from edgelane.bench import benchmark
from edgelane.bench import timing as timing_module
from edgelane.errors import EdgelaneError


def busy(milliseconds: float):
    def run() -> None:
        end = time.perf_counter_ns() + int(milliseconds * 1e6)
        while time.perf_counter_ns() < end:
            pass

    return run


def test_speedups_are_ratios_of_medians_of_one_run():
    result = benchmark({"slow": busy(2.0), "fast": busy(0.5)}, seconds=0.4, warmup_seconds=0.0)
    slow, fast = result.rows
    assert (slow.name, fast.name, result.baseline) == ("slow", "fast", "slow")
    assert slow.speedup == 1.0
    assert fast.speedup == pytest.approx(slow.p50_ms / fast.p50_ms)
    assert 2.0 <= slow.min_ms <= slow.p50_ms <= slow.p90_ms <= slow.p99_ms
    assert slow.count == len(result.samples_ms["slow"]) == fast.count


def test_every_round_calls_every_runner_in_changing_order():
    calls: list[str] = []
    runners = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    result = benchmark(runners, seconds=1e-9, warmup_seconds=0.0, seed=3)
    timed = calls[3 * timing_module.WARMUP_CALLS :]
    per_turn = timing_module.CALLS_PER_TURN + 1
    turns = timed[::per_turn]
    assert timed == [name for name in turns for _ in range(per_turn)], "a turn is not interrupted"
    rounds = [tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert len(rounds) == timing_module.MINIMUM_ROUNDS
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1
    assert all(row.count == timing_module.MINIMUM_ROUNDS * timing_module.CALLS_PER_TURN for row in result.rows)


def test_runs_for_the_time_asked_and_reports_progress():
    seen: list[float] = []
    start = time.perf_counter()
    benchmark({"a": busy(1.0)}, seconds=0.3, warmup_seconds=0.0, progress=seen.append)
    assert 0.3 <= time.perf_counter() - start < 3.0
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_the_environment_says_machine_versions_and_load():
    facts = benchmark({"a": busy(0.1)}, seconds=0.05, warmup_seconds=0.0).environment
    for key in (
        "cpu",
        "isas",
        "cores",
        "governor",
        "python",
        "versions",
        "date",
        "load_average_before",
        "load_average_after",
    ):
        assert key in facts
    versions = facts["versions"]
    assert isinstance(versions, dict)
    assert {"edgelane", "onnxruntime", "openvino", "torch"} <= versions.keys()


def test_a_loaded_machine_is_a_warning(monkeypatch):
    monkeypatch.setattr(timing_module.Load, "foreign_cores", lambda self: 0.8)
    result = benchmark({"a": busy(0.01)}, seconds=0.05, warmup_seconds=0.0)
    assert any("0.80 cores busy" in warning for warning in result.warnings)


def test_few_samples_are_a_warning():
    result = benchmark({"a": busy(1.0)}, seconds=1e-9, warmup_seconds=0.0)
    assert any("p99" in warning for warning in result.warnings)


def test_a_failing_runner_leaves_garbage_collection_as_it_was():
    calls = 0

    def fails() -> None:
        nonlocal calls
        calls += 1
        if calls > timing_module.WARMUP_CALLS:
            raise ValueError("engine died")

    with pytest.raises(ValueError, match="engine died"):
        benchmark({"a": fails}, seconds=0.01, warmup_seconds=0.0)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runners": {}}, "at least one runner"),
        ({"runners": {"a": int}, "seconds": 0}, "must be positive, found 0"),
        ({"runners": {"a": int}, "seconds": float("nan")}, "must be positive"),
        ({"runners": {"a": int}, "baseline": "b"}, "unknown baseline 'b'; the runners are a"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(EdgelaneError, match=message):
        benchmark(**arguments)


def test_the_dictionary_is_json_and_complete():
    import json

    result = benchmark({"a": busy(0.01), "b": busy(0.01)}, seconds=0.02, warmup_seconds=0.0, baseline="b")
    loaded = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert loaded["baseline"] == "b"
    assert [row["name"] for row in loaded["rows"]] == ["a", "b"]
    assert set(loaded["rows"][0]) == {"name", "count", "min_ms", "mean_ms", "p50_ms", "p90_ms", "p99_ms", "speedup"}
    assert len(loaded["samples_ms"]["a"]) == loaded["rows"][0]["count"]
    assert result.row("a").name == "a"
    with pytest.raises(KeyError):
        result.row("c")
