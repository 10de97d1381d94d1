"""`make bench-compression`: what each way of compression costs in accuracy and saves in time, with mean and spread.

    python -m benchmarks.compression [--only scenes-resnet18/4x4] [--seeds 0] [--jobs 2] [--list] [--time-only]

Every network is trained, compressed, compiled and judged by its deployed file; then those of a workload are timed in
turns. Each result is written to benchmarks/results/compression.json when it is there, so that a run can be ended at any
time and goes on where it stood: what was done with these settings is not done again while its files lie in
build/compression. Afterwards benchmarks/RESULTS.md is written anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compression.book import Book, missing
from benchmarks.compression.matrix import BUDGET, SEEDS, SETTINGS, Unit, Workload, chosen, units
from benchmarks.compression.summary import expectations, summary
from benchmarks.compression.timing import measure
from benchmarks.compression.units import DONE, FAILED
from benchmarks.compression.work import Crew
from benchmarks.compression.workloads import WORKLOADS
from benchmarks.models.make import ROOT
from benchmarks.models.render import render
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder

Say = Callable[[str], object]
MAKE_ARGUMENTS = ["--jobs", "2"]  # what the Makefile gives


def main() -> int:
    """Do what is asked for and not done yet; 1 where a unit failed."""
    arguments = _arguments()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    wanted = chosen(units(WORKLOADS, arguments.seeds), arguments.only)
    workloads = list(dict.fromkeys(unit.workload for unit in wanted))
    target = arguments.results or ROOT / "benchmarks" / "results" / "compression.json"
    root = arguments.folder
    book = Book(target, root, _command())
    book.drop_stale(units(WORKLOADS, SEEDS))
    todo = missing(book, wanted)
    if arguments.list:
        for unit in wanted:
            print(f"{'to do' if unit in todo else 'done':5s}  {unit.key} seed {unit.seed}")
        return 0
    make_folder(root)
    say(f"{len(todo)} units to do, {len(set(wanted) - set(todo))} of {len(wanted)} asked for are done")
    if not arguments.time_only:
        if any(unit.setting.key == BUDGET for unit in todo):
            _calibrate(book, say)
        _do(book, todo, arguments.jobs, say)
    for workload in workloads:
        _time(book, workload, arguments, say)
    if not arguments.results:
        render(target.parent, ROOT / "benchmarks" / "RESULTS.md")
    for workload in workloads:
        for row in expectations(book.workload(workload)):
            say(f"{workload.title}: {row['what']}: {row['measured']}: {row['verdict']}")
    failed = [unit for unit in wanted if (book.result(unit) or {"outcome": FAILED})["outcome"] == FAILED]
    say(f"{len(failed)} of {len(wanted)} units failed; wrote {target}")
    return 1 if failed else 0


def _calibrate(book: Book, say: Say) -> None:
    """The latency model of this CPU, which the solver asks: minutes, once."""
    from edgelane.latency import LatencyModel, calibrate

    try:
        LatencyModel.load()
    except EdgelaneError:
        say("calibrating the latency model of this CPU: edgelane calibrate")
        started = time.monotonic()
        calibrate()
        book.content["calibration_seconds"] = round(time.monotonic() - started, 1)


def _do(book: Book, todo: Sequence[Unit], jobs: int, say: Say) -> None:
    left = len(todo)

    def record(unit: Unit, result: dict[str, Any]) -> None:
        nonlocal left
        left -= 1
        book.record(unit, result)
        score = f"{100 * result['score']:.2f} points" if "score" in result else result.get("reason", "")
        say(f"{unit.name}: {result['outcome']}, {score}, {result.get('cpu_seconds', 0):.0f} s of CPU; {left} to go")

    began = time.monotonic()
    Crew(todo, jobs, book.root, record).run()
    runs = book.content.setdefault("runs", [])
    runs.append({"units": len(todo), "jobs": jobs, "minutes": round((time.monotonic() - began) / 60, 2)})
    book.save()


def _time(book: Book, workload: Workload, arguments: argparse.Namespace, say: Say) -> None:
    """Time the workload's networks where there are some and not just these have been timed."""
    results = {unit: book.result(unit) or {} for unit in units([workload], SEEDS) if book.done(unit)}
    entry = book.workload(workload)
    of = [f"{unit.setting.key} {unit.seed} {result['date']}" for unit, result in results.items()]
    if not any(result["outcome"] == DONE for result in results.values()):
        return
    if arguments.time_only or entry.get("timing", {}).get("of") != of:
        say(f"{workload.title}: timing")
        entry["timing"] = {**measure(results, book.root, arguments.seconds), "of": of}
    entry["summary"] = summary(entry, [setting.key for setting in SETTINGS])
    entry["expectations"] = expectations(entry)
    book.save()


def _command() -> str:
    words = sys.argv[1:]
    if words == MAKE_ARGUMENTS:
        return "make bench-compression"
    return " ".join(["python -m benchmarks.compression", *words])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression")
    parser.add_argument("--only", default="", help="only units with one of these in workload/setting, with commas")
    parser.add_argument("--seeds", type=_seeds, default=list(SEEDS), help="with commas; 0,1,2")
    parser.add_argument("--jobs", type=int, default=1, help="units side by side, each on one thread")
    parser.add_argument("--seconds", type=float, default=45.0, help="of timing each workload")
    parser.add_argument("--time-only", action="store_true", help="do no unit, time what there is")
    parser.add_argument("--list", action="store_true", help="print the units and do nothing else")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "compression", help="where the networks lie")
    parser.add_argument("--results", type=Path, help="another file for the results; RESULTS.md stays as it is")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        raise EdgelaneError(f"--jobs: expected 1 or more, found {arguments.jobs}")
    return arguments


def _seeds(text: str) -> list[int]:
    found = [int(word) for word in text.split(",") if word]
    unknown = [seed for seed in found if seed not in SEEDS]
    if unknown or not found:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(map(str, SEEDS))}, found {text}")
    return found


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before the workers start
    try:
        sys.exit(main())
    except EdgelaneError as error:
        sys.exit(f"bench-compression: {error}")
    except KeyboardInterrupt:
        sys.exit("bench-compression: stopped; the same command goes on from here")
