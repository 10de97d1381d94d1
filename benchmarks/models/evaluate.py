"""From measurements to the goal table: which figure each goal is judged on, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.models import goals
from benchmarks.models.goals import Goal, Speed
from benchmarks.models.groups import TRAINED
from benchmarks.models.measure import OWN
from benchmarks.models.networks import PERCEPTION
from benchmarks.models.statistics import geometric_mean, ratio_within_rounds

Results = Mapping[str, Any]
WITH_AMX = "openvino with AMX"
RUNNERS = {
    goals.OPENVINO: ("openvino",),
    goals.ONNXRUNTIME: ("onnxruntime",),
    goals.BETTER: ("openvino", "onnxruntime"),
}


def evaluate(results: Results) -> list[dict[str, Any]]:
    """One row for each goal, in the order of the table: the goal, the figures, and the verdict."""
    rows = [_speed(results, speed) for speed in goals.SPEED]
    rows += [_perception(results, goals.PERCEPTION_F32, "f32"), _perception(results, goals.PERCEPTION_INT8, "int8")]
    rows += [_threads(results), _jitter(results), _load(results), _memory(results), _file(results)]
    for goal in (goals.BREAK_EVEN_4X1, goals.BREAK_EVEN_UNSTRUCTURED):
        value = (results.get("break_even") or {}).get("network", {}).get(goal.key.removeprefix("break-even "))
        rows.append(_row(goal, value))
    return rows


def _row(goal: Goal, value: float | None, **beside: Any) -> dict[str, Any]:
    return {
        "key": goal.key,
        "workload": goal.workload,
        "reference": goal.reference,
        "value": value,
        "shown": goal.show(value),
        "at_least": goal.show(goal.at_least),
        "stretch": goal.show(goal.stretch),
        "verdict": goal.verdict(value),
        **beside,
    }


def _group(results: Results, key: str, threads: int = 1) -> Results | None:
    found: Results | None = results["groups"].get(key, {}).get(str(threads))
    return found


def wrong(group: Results, name: str) -> bool:
    """Whether a runner is missing, or its outputs are not what the network computes: its time then counts for
    nothing.
    """
    error: float = group["relative_error"].get(name, float("inf"))
    return not error <= group["tolerance"]


def fastest(group: Results, runners: tuple[str, ...]) -> str:
    """The fastest of some runners of a group."""
    return min(runners, key=lambda name: group["rows"][name]["min_ms"])


def of_ceiling(results: Results, group: Results, name: str) -> float | None:
    """Executed multiply-adds in the shortest run, as a share of what the machine can do in that time."""
    peaks = results.get("ceilings")
    row = group["rows"][name]
    if peaks is None or not row.get("macs"):
        return None
    peak = peaks["int8_macs_per_s" if group["int8"] else "f32_macs_per_s"] * group["threads"]
    return float(row["macs"] / (row["min_ms"] / 1e3) / peak)


def compare(group: Results, reference: str, own: str) -> dict[str, Any]:
    """Both runners' figures; the ratio of minima is the one that counts."""
    theirs, ours = group["rows"][reference], group["rows"][own]
    return {
        "own_ms": ours["min_ms"],
        "reference_ms": theirs["min_ms"],
        "ratio": theirs["min_ms"] / ours["min_ms"],
        "ratio_within_rounds": ratio_within_rounds(
            [[value] for value in theirs["round_min_ms"]], [[value] for value in ours["round_min_ms"]]
        ),
        "reference_runner": reference,
    }


def _speed(results: Results, speed: Speed) -> dict[str, Any]:
    group = _group(results, speed.group)
    own = OWN + speed.model
    if group is None or wrong(group, own):
        return _row(speed.goal, None)
    figures = compare(group, fastest(group, RUNNERS[speed.goal.reference]), own)
    if WITH_AMX in group["rows"]:
        figures["ratio_with_amx"] = compare(group, WITH_AMX, own)["ratio"]
    return _row(speed.goal, figures["ratio"], **figures, of_ceiling=of_ceiling(results, group, own))


def _perception(results: Results, goal: Goal, dtype: str) -> dict[str, Any]:
    found = []
    for network in PERCEPTION:
        group = _group(results, f"{network}-{dtype}")
        if group is None or wrong(group, OWN + "dense"):
            return _row(goal, None)
        figures = compare(group, fastest(group, RUNNERS[goals.BETTER]), OWN + "dense")
        if WITH_AMX in group["rows"]:
            best = fastest(group, ("onnxruntime", WITH_AMX))
            figures["ratio_with_amx"] = compare(group, best, OWN + "dense")["ratio"]
        found.append({"network": network, **figures})
    beside: dict[str, Any] = {
        "ratio_within_rounds": geometric_mean([one["ratio_within_rounds"] for one in found]),
        "networks": found,
    }
    if all("ratio_with_amx" in one for one in found):
        beside["ratio_with_amx"] = geometric_mean([one["ratio_with_amx"] for one in found])
    return _row(goal, geometric_mean([one["ratio"] for one in found]), **beside)


def _threads(results: Results) -> dict[str, Any]:
    found = results.get("scaling")
    if found is None:
        return _row(goals.THREADS, None)
    return _row(goals.THREADS, found["ratio"], **found)


def _jitter(results: Results) -> dict[str, Any]:
    found = results.get("jitter")
    if found is None:
        return _row(goals.JITTER, None)
    return _row(goals.JITTER, found["excess"], own_ratio=found["run_ratio"], reference_ratio=found["spin_ratio"])


def headlines(results: Results) -> list[tuple[str, Results, Results]]:
    """(title, edgelane's row, ONNX Runtime's row) of each group: the pair that load time and memory are judged on."""
    found = []
    for key, by_threads in results["groups"].items():
        if key != TRAINED and "1" in by_threads:
            group = by_threads["1"]
            own = [name for name in group["rows"] if name.startswith(OWN)][-1]
            found.append(
                (f"{group['title']}, {own.removeprefix(OWN)}", group["rows"][own], group["rows"]["onnxruntime"])
            )
    return found


def _geometric(results: Results, goal: Goal, ratio: Callable[[Results, Results], float]) -> dict[str, Any]:
    values = [ratio(own, reference) for _, own, reference in headlines(results)]
    if not values:
        return _row(goal, None)
    worst = min(values) if goal.bound == "lower" else max(values)
    return _row(goal, geometric_mean(values), worst=worst, networks_counted=len(values))


def _load(results: Results) -> dict[str, Any]:
    return _geometric(results, goals.LOAD, lambda own, reference: reference["load_ms"] / own["load_ms"])


def _memory(results: Results) -> dict[str, Any]:
    return _geometric(results, goals.MEMORY, lambda own, reference: own["peak_mib"] / reference["peak_mib"])


def _file(results: Results) -> dict[str, Any]:
    own, reference = _group(results, "resnet50-int8"), _group(results, "resnet50-f32")
    if own is None or reference is None:
        return _row(goals.FILE, None)
    ours = own["rows"][OWN + "4x4-90"]["file_bytes"]
    theirs = reference["rows"]["onnxruntime"]["file_bytes"]
    return _row(goals.FILE, ours / theirs, own_bytes=ours, reference_bytes=theirs)
