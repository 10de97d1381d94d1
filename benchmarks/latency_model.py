"""Predicted against measured latency of whole networks: `python -m benchmarks.latency_model`.

Every network is predicted from this CPU's calibration (`edgelane calibrate`) and the torch model alone, then pruned at
its random weights, quantised, compiled and timed. Writes benchmarks/results/latency-<cpu>.json and
benchmarks/RESULTS.md anew; with --only or --results only the figures.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.models.table import table
from edgelane.bench import machine
from edgelane.files import write_json

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = 0.15  # share by which a prediction may miss
ROUNDS, RUNS = 12, 3
SETTINGS = (
    ("dense", 0.0, "float32"),
    ("dense", 0.0, "int8"),
    ("4x4", 0.8, "int8"),
    ("4x1", 0.9, "float32"),
    ("unstructured", 0.8, "float32"),
)
NOTE = """\
Predicted before any weight is touched, from a calibration of this CPU and the torch model; measured on the pruned
(random weights), quantised and compiled network. All settings of a network take turns: one call that is not counted,
then three; measured is the shortest run, beside it the median of the rounds' shortest. Of one thread it is CPU time,
which on an idle machine is the time that passes, and on a busy one leaves out what other processes took in between; the
last column is the shortest time that passed. The stem, the last layer and depthwise layers stay dense.

"""


@dataclass(frozen=True)
class Case:
    """A network at an image size; the goal is judged on those that are `judged`."""

    name: str
    build: Callable[[], Any]
    size: int
    judged: bool = False


def cases() -> list[Case]:
    """Large and small inputs; torchvision's networks with random weights."""
    import torchvision
    from torch import nn

    models = torchvision.models

    class Masks(nn.Module):
        """The logits of a torchvision segmentation network, without its dict."""

        def __init__(self) -> None:
            super().__init__()
            self.net = models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)

        def forward(self, x: Any) -> Any:
            return self.net(x)["out"]

    return [
        Case("ResNet-50", models.resnet50, 224, True),
        Case("MobileNetV2", models.mobilenet_v2, 224, True),
        Case("ResNet-18", models.resnet18, 224),
        Case("ResNet-18", models.resnet18, 96),
        Case("ResNet-18", models.resnet18, 64),
        Case("MobileNetV2", models.mobilenet_v2, 96),
        Case("LR-ASPP MobileNetV3", Masks, 224),
        Case("LR-ASPP MobileNetV3", Masks, 96),
    ]


def run_case(case: Case, latency: Any, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Predict and time one network under every setting."""
    import torch

    from edgelane.compression import choose_layers
    from edgelane.latency import LayerPlan, network

    torch.manual_seed(0)
    model = case.build().eval()
    example = torch.randn(1, 3, case.size, case.size)
    began = time.perf_counter()
    layers = network(model, example)
    traced_s = time.perf_counter() - began
    rows, sessions = [], []
    with tempfile.TemporaryDirectory() as folder:
        for pattern, sparsity, dtype in SETTINGS:
            say(f"{case.name} {case.size}: {pattern} {sparsity:.0%} {dtype}")
            chosen = {name: LayerPlan(dtype=dtype) for name in layers.layers}
            if pattern != "dense":
                for choice in choose_layers(model, pattern, example_inputs=example):
                    if not choice.reason:
                        chosen[choice.name] = LayerPlan(pattern, sparsity, dtype)
            prediction = latency.predict(layers, chosen)
            rows.append(
                {
                    "network": case.name,
                    "size": case.size,
                    "pattern": pattern,
                    "sparsity": sparsity,
                    "dtype": dtype,
                    "judged": case.judged,
                    "predicted_us": round(prediction.total_us, 2),
                    "estimated_us": round(sum(row.time_us for row in prediction.rows if row.estimated), 2),
                    "traced_s": round(traced_s, 2),
                }
            )
            sessions.append(_session(model, example, pattern, sparsity, dtype, Path(folder), latency))
    times = _time(sessions, example.numpy(), time.thread_time if latency.table.threads == 1 else time.perf_counter)
    for row, (shortest, median, passed) in zip(rows, times, strict=True):
        row |= {"measured_us": round(shortest, 2), "median_us": round(median, 2), "passed_us": round(passed, 2)}
        row["error"] = round(row["predicted_us"] / shortest - 1, 4)
        row["error_of_median"] = round(row["predicted_us"] / median - 1, 4)
    return rows


def _session(model: Any, example: Any, pattern: str, sparsity: float, dtype: str, folder: Path, latency: Any) -> Any:
    """The network as `edgelane compress`, `export` and `compile` make it."""
    import torch

    from edgelane.compression import prune_model, quantize_model
    from edgelane.export.onnx import onnx_model
    from edgelane.latency.shapes import compile_proto
    from edgelane.runtime import Session

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that stay dense
        ready = model if pattern == "dense" else prune_model(model, sparsity, pattern, example_inputs=example)
        if dtype == "int8":
            ready = quantize_model(ready, [torch.randn(example.shape)], method="minmax")
        _, content = compile_proto(onnx_model(ready, example))
    path = folder / "model.lane"
    path.write_bytes(content)
    return Session(path, threads=latency.table.threads, isa=latency.table.isa)


def _time(sessions: list[Any], image: Any, clock: Callable[[], float]) -> list[tuple[float, float, float]]:
    """Microseconds of each session: the shortest run by `clock`, the median over rounds of the round's shortest, and
    the shortest time that passed.
    """
    rounds: list[list[float]] = [[] for _ in sessions]
    passed = [float("inf")] * len(sessions)
    for _ in range(ROUNDS):
        for index, session in enumerate(sessions):
            feeds = {session.inputs[0].name: image}
            session.run(feeds)
            times = []
            for _ in range(RUNS):
                outside, began = time.perf_counter(), clock()
                session.run(feeds)
                times.append((clock() - began) * 1e6)
                passed[index] = min(passed[index], (time.perf_counter() - outside) * 1e6)
            rounds[index].append(min(times))
    return [(min(times), statistics.median(times), least) for times, least in zip(rounds, passed, strict=True)]


def section(results: Mapping[str, Any], name: str) -> str:
    """This machine's part of benchmarks/RESULTS.md."""
    found, base = results["machine"], results["calibration"]
    rows = [
        [
            f"{row['network']}, {row['size']}x{row['size']}",
            "dense" if row["pattern"] == "dense" else f"{row['sparsity']:.0%} {row['pattern']}",
            "fp32" if row["dtype"] == "float32" else "int8",
            f"{row['predicted_us'] / 1000:.3f}",
            f"{row['measured_us'] / 1000:.3f}",
            f"**{row['error']:+.1%}**" if row["judged"] else f"{row['error']:+.1%}",
            f"{row['median_us'] / 1000:.3f}",
            f"{row['error_of_median']:+.1%}",
            f"{row['passed_us'] / 1000:.3f}",
        ]
        for row in results["rows"]
    ]
    columns = ["network", "zeros", "dtype", "predicted ms", "measured ms", "error", "median ms", "error of median"]
    columns += ["passed ms"]
    judged = [abs(row["error"]) for row in results["rows"] if row["judged"]]
    every = [abs(row["error"]) for row in results["rows"]]
    verdict = "met" if max(judged, default=1.0) <= ALLOWED else "missed"
    busy = results["other_processes_cores"]
    quiet = "" if busy is None or busy <= 0.15 else f" **Not an idle machine:** other processes kept {busy} cores busy."
    return "\n".join(
        [
            f"## Predicted latency, {results['machine_slug']}\n",
            f"{found['cpu']}, {found['usable_cores']} cores, {found['os']}; {base['isa']}, {base['threads']} "
            f"thread(s); {found['date']}; `{results['command']}`. Calibrated {base['date']} in "
            f"{base['seconds']:.0f} s (`edgelane calibrate`), other processes on {base['foreign_cores']} "
            f"cores.{quiet} All figures: "
            f"[results/{name}](results/{name}).\n",
            f"Goal, within {ALLOWED:.0%} on ResNet-50 and MobileNetV2 at 224x224: **{verdict}**, worst "
            f"{max(judged, default=0):.1%}. All networks: mean {statistics.mean(every):.1%}, worst {max(every):.1%}.\n",
            NOTE + table(columns, rows),
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="a kernel set that was calibrated")
    parser.add_argument("--table", type=Path, help="a calibration, instead of the one in the cache folder")
    parser.add_argument("--results", type=Path, help="another file for the figures; RESULTS.md stays as it is")
    given = parser.parse_args(arguments)

    from edgelane.latency import LatencyModel

    latency = LatencyModel.read(given.table) if given.table else LatencyModel.load(given.threads, given.isa)
    load = machine.Load()
    rows = []
    for case in cases():
        if given.only.lower() in case.name.lower():
            rows += run_case(case, latency, lambda text: print(text, file=sys.stderr))
    if not rows:
        parser.error(f"no network is called {given.only!r}")
    header = ("cpu", "isa", "threads", "version", "date", "seconds", "spread", "foreign_cores")
    words = ["python", "-m", "benchmarks.latency_model", *(sys.argv[1:] if arguments is None else arguments)]
    results = {
        "machine_slug": machine.machine_slug(),
        "machine": machine.environment(),
        "command": shlex.join(words),
        "calibration": {key: getattr(latency.table, key) for key in header},
        "other_processes_cores": load.foreign_cores(),
        "rows": rows,
    }
    folder = ROOT / "benchmarks" / "results"
    target = given.results or folder / f"latency-{machine.machine_slug()}.json"
    if not given.only or given.results:
        write_json(target, results)
    if not given.only and not given.results:
        from benchmarks.models.render import render

        render(folder, ROOT / "benchmarks" / "RESULTS.md")
    print(section(results, target.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
