"""The child of `edgelane.bench.processes.Worker`: one engine with one model, timed on command.

Commands and answers are JSON lines on stdin and stdout. What an engine prints goes to stderr, so that it cannot
disturb them.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgelane.bench.compare import random_feeds
from edgelane.bench.peers import Call, Loader, loader
from edgelane.errors import EdgelaneError
from edgelane.runtime import Session, TensorSpec

RUNS_FOR_THE_PEAK = 3
SPIN_PROBE = 20_000


class Served:
    """What the commands act on. Every public method is a command; its result must be JSON."""

    def __init__(self) -> None:
        self._loader: Loader
        self._call: Call
        self._feeds: dict[str, Any] = {}

    def pin(self, cores: list[int]) -> None:
        """Run on these cores alone, with every thread that is made from now on."""
        os.sched_setaffinity(0, cores)

    def load(
        self, kind: str, path: str, threads: int, inputs: list[list[Any]], warm: str, warm_inputs: list[list[Any]]
    ) -> dict[str, Any]:
        """Load the model and run it; tell how long the load took, and the peak of resident memory above what the
        process had before.

        The engine has loaded and run the tiny network `warm` before, so that neither its libraries' pages nor its
        one-time set-up count as the model's.
        """
        tiny = loader(kind, warm, threads).load(_random(warm_inputs))
        tiny()
        del tiny
        self._loader = loader(kind, path, threads)
        self._feeds = _random(inputs)
        gc.collect()
        _forget_peak()
        before = _resident_kib("VmRSS")
        start = time.perf_counter()
        self._call = self._loader.load(self._feeds)
        seconds = time.perf_counter() - start
        for _ in range(RUNS_FOR_THE_PEAK):
            self._call()
        return {
            "load_ms": seconds * 1e3,
            "peak_kib": _resident_kib("VmHWM") - before,
            "before_kib": before,
            "version": self._loader.version,
            "settings": self._loader.settings,
        }

    def reload(self) -> float:
        """Milliseconds of one more load of the same file, which is dropped."""
        start = time.perf_counter()
        call = self._loader.load(self._feeds)
        elapsed = (time.perf_counter() - start) * 1e3
        del call
        return elapsed

    def turn(self, calls: int) -> list[float]:
        """Milliseconds of `calls` runs, after one that is not counted."""
        self._call()
        return _timed(self._call, calls)

    def cpu_seconds(self) -> float:
        """CPU time of this process so far."""
        return time.process_time()

    def outputs(self, path: str) -> None:
        """Write the model's outputs for its random input to an .npz file."""
        np.savez(path, *[np.array(value) for value in self._call()])

    def profile(self) -> list[dict[str, Any]]:
        """Every step of the compiled model with its kernel, MACs and time."""
        session = Session(self._loader.path, threads=self._loader.threads)
        return [asdict(row) for row in session.profile(self._feeds)]

    def jitter(self, seconds: float) -> dict[str, list[float]]:
        """Milliseconds of runs and of empty loops of the same length, in turn: what the loop shows is the machine's."""
        wanted = float(np.percentile(_timed(self._call, 30), 50))
        probe = min(_timed(lambda: _spin(SPIN_PROBE), 30))
        count = max(1, round(SPIN_PROBE * wanted / probe))
        runs: list[float] = []
        spins: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            runs += _timed(self._call, 1)
            spins += _timed(lambda: _spin(count), 1)
        return {"runs_ms": runs, "spins_ms": spins}


def _spin(count: int) -> None:
    for _ in range(count):
        pass


def _timed(run: Callable[[], object], calls: int) -> list[float]:
    samples = []
    clock = time.perf_counter_ns
    for _ in range(calls):
        start = clock()
        run()
        samples.append((clock() - start) / 1e6)
    return samples


def _random(inputs: list[list[Any]]) -> dict[str, Any]:
    return random_feeds([TensorSpec(name, tuple(shape), np.dtype(dtype)) for name, shape, dtype in inputs])


def _resident_kib(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise EdgelaneError(f"/proc/self/status has no {field}: the peak of memory cannot be measured here")
    return int(match.group(1))


def _forget_peak() -> None:
    """Let VmHWM start again from what is resident now (Linux, proc(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def serve() -> None:
    """Answer commands until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    served = Served()
    gc.disable()  # a collection in the middle of a call is Python's latency, not the engine's
    for line in sys.stdin:
        command: Mapping[str, Any] = json.loads(line)
        try:
            answer = {"value": getattr(served, command["do"])(**command["with"])}
        except (EdgelaneError, OSError) as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
