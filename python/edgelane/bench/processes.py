"""Engines in processes of their own that are timed in turn.

In one process engines share an environment and a heap. A child for each one can be given its own instruction sets
(`ONEDNN_MAX_CPU_ISA`), and its peak of memory is its own. Turns still alternate: only one child works at a time, and
the others wait for their next command.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from edgelane.errors import EdgelaneError

PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])


class Worker:
    """A child process; `ask` sends it a command of `edgelane.bench.worker.Served` and waits for the answer."""

    def __init__(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        paths = [PACKAGE_FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgelane.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
            encoding="utf-8",
        )

    @property
    def process_id(self) -> int:
        """The child's."""
        return self._process.pid

    def ask(self, command: str, **arguments: Any) -> Any:
        """The command's result. Raises EdgelaneError with the child's own words where it fails."""
        self.tell(command, **arguments)
        return self.answer()

    def tell(self, command: str, **arguments: Any) -> None:
        """Send a command; `answer` must follow."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, "with": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._gone() from error

    def answer(self) -> Any:
        """The result of the command that was sent last."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        answer = json.loads(line)
        if "error" in answer:
            raise EdgelaneError(f"{self.name}: {answer['error']}")
        return answer["value"]

    def close(self) -> None:
        """End the child and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gone(self) -> EdgelaneError:
        status = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return EdgelaneError(f"{self.name} ended with status {status}: {words[-1] if words else 'it said nothing'}")


class Turns(Protocol):
    """What can be timed in turns: a Worker."""

    def ask(self, command: str, **arguments: Any) -> Any:
        """The command's result."""


def take_turns(
    workers: Mapping[str, Turns],
    seconds: float,
    *,
    calls: int = 3,
    minimum_rounds: int = 8,
    seed: int = 0,
    progress: Callable[[float], object] | None = None,
) -> dict[str, list[list[float]]]:
    """Milliseconds by worker, round and call: every round asks every worker for a turn of `calls` runs, in a new random
    order, until `seconds` are over and at least `minimum_rounds` are done.
    """
    rounds: dict[str, list[list[float]]] = {name: [] for name in workers}
    order, names = random.Random(seed), list(workers)
    start = time.perf_counter()
    count = 0
    while count < minimum_rounds or time.perf_counter() - start < seconds:
        order.shuffle(names)
        for name in names:
            rounds[name].append(workers[name].ask("turn", calls=calls))
        count += 1
        if progress is not None:
            progress(min(1.0, (time.perf_counter() - start) / seconds))
    return rounds
