"""Who does what next: units side by side in processes that stay, those of one group in the same process."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from benchmarks.compression.matrix import Unit
from benchmarks.compression.units import FAILED, do

Record = Callable[[Unit, dict[str, Any]], object]


def next_unit(
    waiting: Sequence[Unit], undone: Collection[Unit], busy: Collection[tuple[str, int]], last: tuple[str, int] | None
) -> Unit | None:
    """The unit of `waiting` for a worker that was on the group `last`; None where nothing can be done at present.

    Whose needs are among the `undone` must wait. A worker stays with its group, whose data and modules it has at hand;
    then it takes a group on which nobody is `busy`; then it helps others.
    """
    ready = [unit for unit in waiting if not any(need in undone for need in unit.needs())]
    for fits in (
        lambda unit: unit.group == last,
        lambda unit: unit.group not in busy,
        lambda unit: True,
    ):
        for unit in ready:
            if fits(unit):
                return unit
    return None


class Crew:
    """`jobs` workers, each a thread that drives one process. `record` is called with each result, one at a time."""

    def __init__(self, todo: Sequence[Unit], jobs: int, root: Path, record: Record) -> None:
        self._waiting = list(todo)
        self._running: dict[Unit, int] = {}
        self._failed: set[Unit] = set()
        self._changed = threading.Condition()
        self._jobs, self._root, self._record = jobs, root, record
        self._stopped = False

    def run(self) -> None:
        """Do all units. What depends on one that failed is recorded as failed. Ctrl-C ends the units that run."""
        threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(self._jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:  # the workers got it as well
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()
            raise

    def _work(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        log = self._root / f"worker-{number}.log"
        pool = ProcessPoolExecutor(1, mp_context=context, initializer=start_worker, initargs=(log,))
        last: tuple[str, int] | None = None
        try:
            while (unit := self._take(number, last)) is not None:
                last = unit.group
                try:
                    result = pool.submit(do_in_worker, unit, self._root).result()
                except BrokenProcessPool:
                    result = {"outcome": FAILED, "reason": f"its process died; {log} may say why"}
                    pool = ProcessPoolExecutor(1, mp_context=context, initializer=start_worker, initargs=(log,))
                except Exception as error:  # a fault of one unit must not end the others
                    result = {"outcome": FAILED, "reason": f"{type(error).__name__}: {error}"}
                self._finish(unit, result)
        finally:
            pool.shutdown()

    def _take(self, number: int, last: tuple[str, int] | None) -> Unit | None:
        with self._changed:
            while self._waiting and not self._stopped:
                self._drop_hopeless()
                others = {unit.group for unit, worker in self._running.items() if worker != number}
                unit = next_unit(self._waiting, {*self._waiting, *self._running}, others, last)
                if unit is not None:
                    self._waiting.remove(unit)
                    self._running[unit] = number
                    return unit
                if self._waiting:
                    self._changed.wait()
            return None

    def _drop_hopeless(self) -> None:
        """Record as failed what needs something that failed."""
        while True:
            lost = [(unit, need) for unit in self._waiting for need in unit.needs() if need in self._failed]
            if not lost:
                return
            unit, need = lost[0]
            self._waiting.remove(unit)
            self._failed.add(unit)
            self._record(unit, {"outcome": FAILED, "reason": f"it needs {need.setting.title}, which failed"})

    def _finish(self, unit: Unit, result: dict[str, Any]) -> None:
        with self._changed:
            del self._running[unit]
            if result["outcome"] == FAILED:
                self._failed.add(unit)
            if not self._stopped:
                self._record(unit, result)
            self._changed.notify_all()


def start_worker(log: Path) -> None:
    """One thread for everything; what libraries print goes to `log`."""
    import torch

    torch.set_num_threads(1)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(stream, number)


def do_in_worker(unit: Unit, root: Path) -> dict[str, Any]:
    """`do`, its steps on the worker's log with the CPU time at which they began."""
    since = time.process_time()

    def say(line: str) -> None:
        print(f"{time.process_time() - since:6.1f} s of CPU  {line}", flush=True)

    say(unit.name)
    return do(unit, root, say)
