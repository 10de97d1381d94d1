"""The results so far, in one JSON file that is whole at any time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.compression.matrix import SETTINGS, Unit, Workload
from benchmarks.compression.units import FAILED, REFUSAL, lane_of
from edgelane.bench.machine import environment, machine_slug
from edgelane.files import read_json, write_json


class Book:
    """`root`: where the networks lie. A unit that is written here is done while its settings and its file are there."""

    def __init__(self, target: Path, root: Path, command: str) -> None:
        self.target, self.root = target, root
        self.machine = machine_slug()
        self.content: dict[str, Any] = read_json(target) if target.is_file() else {}
        if self.content.get("machine_slug") != self.machine:  # times of two machines do not go into one table
            self.content = {"workloads": {}}
        self.content |= {"command": command, "machine": environment(), "machine_slug": self.machine}
        self.content["settings"] = {setting.key: setting.title for setting in SETTINGS}
        self._lock = threading.Lock()

    def drop_stale(self, matrix: Iterable[Unit]) -> None:
        """Forget the results whose settings are no longer those of `matrix`."""
        current = {(unit.workload.key, str(unit.seed), unit.setting.key): unit for unit in matrix}
        for key, entry in self.content["workloads"].items():
            for seed, by_setting in entry["units"].items():
                for setting, result in list(by_setting.items()):
                    unit = current.get((key, seed, setting))
                    if unit is None or result["digest"] != unit.digest(self.machine):
                        del by_setting[setting]
        names = {unit.workload.key for unit in current.values()}
        self.content["workloads"] = {key: entry for key, entry in self.content["workloads"].items() if key in names}

    def workload(self, workload: Workload) -> dict[str, Any]:
        """All results of one workload: "units" by seed and setting, and "timing" where it has been timed."""
        entry: dict[str, Any] = self.content["workloads"].setdefault(workload.key, {"units": {}})
        entry |= {key: value for key, value in asdict(workload).items() if key != "key"}
        return entry

    def result(self, unit: Unit) -> dict[str, Any] | None:
        """What is written of the unit."""
        found: dict[str, Any] | None = (
            self.workload(unit.workload)["units"].get(str(unit.seed), {}).get(unit.setting.key)
        )
        return found

    def done(self, unit: Unit) -> bool:
        """Whether the unit, and all that it needs, need not be done again."""
        result = self.result(unit)
        if result is None or result["outcome"] == FAILED or result["digest"] != unit.digest(self.machine):
            return False
        kept = result["outcome"] == REFUSAL or lane_of(self.root, unit).is_file()
        return kept and all(self.done(need) for need in unit.needs())

    def record(self, unit: Unit, result: dict[str, Any]) -> None:
        """Write the unit's result down."""
        with self._lock:
            by_seed = self.workload(unit.workload)["units"].setdefault(str(unit.seed), {})
            by_seed[unit.setting.key] = {**result, "digest": unit.digest(self.machine)}
            self.save()

    def save(self) -> None:
        """Write everything down, whole or not at all."""
        self.content["seconds"] = self.seconds()
        write_json(self.target, self.content)

    def seconds(self) -> dict[str, float]:
        """Of all units together: wall time as if one had followed the other, and CPU time."""
        results = [
            result
            for workload in self.content["workloads"].values()
            for by_setting in workload["units"].values()
            for result in by_setting.values()
        ]
        return {key: round(sum(result.get(key, 0.0) for result in results), 1) for key in ("seconds", "cpu_seconds")}


def missing(book: Book, chosen: Sequence[Unit]) -> list[Unit]:
    """What of `chosen` is to be done, and what it needs, in an order in which it can be."""
    todo: dict[Unit, None] = {}

    def add(unit: Unit) -> None:
        if not book.done(unit):
            for need in unit.needs():
                add(need)
            todo[unit] = None

    for unit in chosen:
        add(unit)
    return list(todo)
