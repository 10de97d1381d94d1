"""`make zoo`: every model of the zoo by both of torch's exporters, compiled and compared with ONNX Runtime.

    python -m benchmarks.zoo [--models resnet18,swin_t] [--exporters dynamo] [--opsets 17] [--redo failed] [--time]

Each variant runs in a process of its own and is written to benchmarks/results/zoo-<cpu>.json when it is done, so that a
run can be ended at any time and goes on where it stood: a variant that was done with these sources is not done again.
Afterwards benchmarks/RESULTS.md is written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.models.make import ROOT
from benchmarks.models.render import render
from benchmarks.zoo.catalog import Entry, entries, select
from benchmarks.zoo.outcomes import AGREES, NOT_EXPORTABLE, OPSETS, key
from benchmarks.zoo.processes import Limits, context, run
from edgelane.bench.machine import environment, machine_slug, version
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder, read_json, write_json

SOURCES = ("csrc", "export", "python/edgelane/runtime", "python/edgelane/export")
TIMED = ("torchscript", 17)  # the variant that is timed; dynamo's where TorchScript cannot write it
TIMED_OTHERWISE = ("dynamo", 18)


def main() -> int:
    """Run what is asked for and not done yet."""
    arguments = _arguments()
    if arguments.list:
        print("\n".join(f"{entry.name} ({entry.source})" for entry in entries()))
        return 0
    target = arguments.results or ROOT / "benchmarks" / "results" / f"zoo-{machine_slug()}.json"
    zoo = Zoo(target, Limits(arguments.limit_seconds, arguments.limit_gib), arguments.redo)
    chosen = select(arguments.models)
    if not arguments.only_time:
        zoo.check(chosen, arguments.exporters, arguments.opsets, arguments.jobs)
    if arguments.time or arguments.only_time:
        zoo.time(chosen, arguments.seconds)
    if not arguments.results:
        render(target.parent, ROOT / "benchmarks" / "RESULTS.md")
    print(zoo.summary())
    return 0


class Zoo:
    """The results so far, and the work that adds to them."""

    def __init__(self, target: Path, limits: Limits, redo: str) -> None:
        self.target, self.limits, self.redo = target, limits, redo
        self.results: dict[str, Any] = read_json(target) if target.is_file() else {"models": {}}
        self.code = source_hash()
        self.context = context()
        self.lock = threading.Lock()
        self.scratch = ROOT / "build" / "zoo"
        make_folder(self.scratch)

    def check(self, chosen: list[Entry], exporters: list[str], opsets: list[int], jobs: int) -> None:
        """Every variant of the chosen models that is not done."""
        tasks = [
            (entry, exporter, opset)
            for entry in chosen
            for exporter in exporters
            for opset in OPSETS[exporter]
            if (not opsets or opset in opsets) and self.due(self.variants(entry).get(key(exporter, opset)))
        ]
        with ThreadPoolExecutor(jobs) as pool:
            places = [f"{number}/{len(tasks)}" for number in range(1, len(tasks) + 1)]
            list(pool.map(lambda task, place: self.one(*task, place), tasks, places))

    def one(self, entry: Entry, exporter: str, opset: int, place: str) -> None:
        """Check one variant and write the result down."""
        start = time.monotonic()
        result = run(self.context, "check", (entry, exporter, opset), self.limits, self.scratch)
        result |= {"code": self.code, "seconds": round(time.monotonic() - start, 1)}
        with self.lock:
            self.variants(entry)[key(exporter, opset)] = result
            self.save()
        text = result.get("reason") or f"{result['error']:.1e}" if not isinstance(result.get("error"), str) else ""
        print(f"{place} {entry.name} {key(exporter, opset)}: {result['outcome']} {text[:160]}", flush=True)

    def time(self, chosen: list[Entry], seconds: float) -> None:
        """Time one variant of every chosen model, one after the other."""
        for entry in chosen:
            model = self.model(entry)
            if entry.complete or not self.due(model.get("timing")):
                continue
            first = model["variants"].get(key(*TIMED), {}).get("outcome")
            exporter, opset = TIMED_OTHERWISE if first == NOT_EXPORTABLE else TIMED
            result = run(self.context, "measure", (entry, exporter, opset, seconds), self.limits, self.scratch)
            model["timing"] = {**result, "code": self.code}
            self.save()
            ratio = f"{result['onnxruntime_ms'] / result['edgelane_ms']:.2f}x" if "edgelane_ms" in result else ""
            print(f"{entry.name} timed: {result['outcome']} {ratio} {result.get('reason', '')[:160]}", flush=True)

    def due(self, result: dict[str, Any] | None) -> bool:
        """Whether a variant with this result is to be done (again)."""
        if result is None or self.redo == "all":
            return True
        changed: bool = result["code"] != self.code
        # What torch cannot write does not depend on edgelane.
        if result["outcome"] == NOT_EXPORTABLE:
            return False
        return changed and (self.redo == "changed" or result["outcome"] != AGREES)

    def model(self, entry: Entry) -> dict[str, Any]:
        """The results of one model."""
        empty = {"source": entry.source, "variants": {}}
        result: dict[str, Any] = self.results["models"].setdefault(entry.name, empty)
        return result

    def variants(self, entry: Entry) -> dict[str, Any]:
        """The results of a model's variants, by their keys."""
        result: dict[str, Any] = self.model(entry)["variants"]
        return result

    def save(self) -> None:
        """Write everything down, whole or not at all."""
        machine: dict[str, Any] = environment()
        machine["versions"]["timm"] = version("timm")
        self.results |= {"command": "make zoo", "machine": machine, "machine_slug": machine_slug()}
        write_json(self.target, self.results)

    def summary(self) -> str:
        """How many variants had which outcome."""
        outcomes: dict[str, int] = {}
        for model in self.results["models"].values():
            for result in model["variants"].values():
                outcomes[result["outcome"]] = outcomes.get(result["outcome"], 0) + 1
        return f"{len(self.results['models'])} models; variants: " + ", ".join(
            f"{count} {outcome}" for outcome, count in sorted(outcomes.items())
        )


def source_hash() -> str:
    """A short hash of everything that decides what a compiled model computes."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".cpp", ".hpp", ".inc", ".cmake") and path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo")
    parser.add_argument("--models", type=_names, default=[], help="names, separated by commas; all of them")
    parser.add_argument("--exporters", type=_names, default=list(OPSETS), help="torchscript, dynamo; both")
    parser.add_argument("--opsets", type=lambda text: [int(name) for name in _names(text)], default=[], help="all")
    parser.add_argument(
        "--redo",
        choices=("changed", "failed", "all"),
        default="changed",
        help="what is done again after the sources have changed: everything, what did not agree, or all in any case",
    )
    parser.add_argument("--jobs", type=int, default=1, help="variants at the same time")
    parser.add_argument("--time", action="store_true", help="time one variant of each model as well, on one thread")
    parser.add_argument("--only-time", action="store_true", help="do nothing else")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing each model")
    parser.add_argument("--limit-seconds", type=float, default=600.0, help="for each variant")
    parser.add_argument("--limit-gib", type=float, default=10.0, help="of memory for each variant")
    parser.add_argument("--results", type=Path, help="another file for the results; RESULTS.md stays as it is")
    parser.add_argument("--list", action="store_true", help="print the models and do nothing else")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.exporters if name not in OPSETS]
    if unknown:
        raise EdgelaneError(f"unknown exporter {', '.join(unknown)}; choose from {', '.join(OPSETS)}")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgelaneError as error:
        sys.exit(f"zoo: {error}")
