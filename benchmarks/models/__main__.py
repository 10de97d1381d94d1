"""`make bench-peers`: edgelane against what users would run instead, one run, one table.

    python -m benchmarks.models [--trained runs/demo] [--seconds 24] [--only resnet18]

Makes the networks (kept in build/peers), measures, judges, and writes benchmarks/results/<cpu>.json and
benchmarks/RESULTS.md. With --only, which is for trying, the figures go to build/peers/trial.json alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.kernels.program import PROGRAM, Filter, break_even_table, run
from benchmarks.models.evaluate import evaluate
from benchmarks.models.groups import groups, models, trained_group
from benchmarks.models.make import ROOT, make
from benchmarks.models.measure import measure, measure_jitter, measure_scaling
from benchmarks.models.render import render, section
from edgelane.bench.machine import cpu_flags, environment, machine_slug
from edgelane.errors import EdgelaneError
from edgelane.files import make_folder, write_json

TWO_THREADS_SHARE = 0.4  # of the time on one thread, which is what is judged
SCALING_SECONDS, JITTER_SECONDS = 15.0, 40.0


def main() -> int:
    """Run the whole benchmark."""
    arguments = _arguments()
    folder = arguments.folder
    make_folder(folder)
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    wanted = [model for model in models() if arguments.only in model.name]
    make(wanted, folder, say)
    chosen = [group for group in groups(folder) if arguments.only in group.key]
    trained = None if arguments.only else trained_group(arguments.trained, folder)
    about_trained = (
        "" if trained else f"**Trained network: not measured,** {relative(arguments.trained)} holds no model.onnx."
    )
    if trained:
        chosen.append(trained)
    else:
        say(about_trained)

    measuring = time.monotonic()
    results: dict[str, Any] = {
        "command": "make bench-peers"
        if not arguments.only
        else " ".join(["python -m benchmarks.models", *sys.argv[1:]]),
        "machine": environment(),
        "machine_slug": machine_slug(),
        "cpu_flags": sorted(cpu_flags()),
        "settings": {"seconds": arguments.seconds, "statistic": "ratio of minima"},
        "trained": about_trained,
        "groups": {},
    }
    results["ceilings"] = run("ceilings", program=arguments.program)["ceilings"]
    for group in chosen:
        for threads, seconds in ((1, arguments.seconds), (2, arguments.seconds * TWO_THREADS_SHARE)):
            if threads > len(os.sched_getaffinity(0)):
                continue
            say(f"{group.title}, {threads} thread{'s' * (threads > 1)}")
            results["groups"].setdefault(group.key, {})[str(threads)] = measure(group, threads, seconds, folder)
    if not arguments.only:
        scaled = folder / "resnet50-4x4-90-int8.lane"
        say("two threads over one")
        results["scaling"] = measure_scaling(scaled, SCALING_SECONDS, folder)
        say("jitter")
        core = max(os.sched_getaffinity(0))
        results["jitter"] = measure_jitter(folder / "resnet18-4x4-90-int8.lane", JITTER_SECONDS, core, folder)
        say("break-even sparsity")
        rows = run("break-even", Filter("resnet50", "float32"), arguments.program)["break_even"]
        results["break_even"] = {"title": "ResNet-50, fp32", "rows": rows, **break_even_table(rows)}
    results["measuring_minutes"] = round((time.monotonic() - measuring) / 60, 2)
    results["goals"] = evaluate(results)
    if arguments.only:
        write_json(folder / "trial.json", results)
        print(section(results, "trial.json"))
        return 0
    target = ROOT / "benchmarks" / "results" / f"{results['machine_slug']}.json"
    write_json(target, results)
    render(target.parent, ROOT / "benchmarks" / "RESULTS.md")
    print(section(results, target.name))
    say(f"wrote {target} and benchmarks/RESULTS.md")
    return 0


def relative(path: Path) -> Path:
    """As seen from the repository, so that no file of results names a folder of one machine."""
    return Path(os.path.relpath(path, ROOT))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "peers", help="where the networks are kept")
    parser.add_argument(
        "--trained", type=Path, default=ROOT / "runs" / "demo", help="a run folder with a pruned int8 network"
    )
    parser.add_argument("--seconds", type=float, default=24.0, help="of measuring each group on one thread")
    parser.add_argument("--program", type=Path, default=PROGRAM, help="the C++ harness")
    parser.add_argument("--only", default="", help="only groups whose name contains this; a trial, nothing is kept")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgelaneError as error:
        sys.exit(f"bench-peers: {error}")
