"""The part of benchmarks/RESULTS.md about compression, from its file of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.compression.matrix import DENSE, INT8, REFUSED
from benchmarks.compression.summary import Spread, expectations, figures, points
from benchmarks.compression.units import FAILED
from benchmarks.models.table import table

NOTE = """\
Score: accuracy, or for segmentation mean IoU, in hundredths, of the deployed `.lane` file on the test split, which each
seed draws anew where the pictures are rendered. Mean over the seeds ± standard deviation; in brackets lowest and
highest. Drop: against the dense float32 network of the same seed. Milliseconds: p50 on one thread, batch 1, all
networks of a workload in turns; times fewer of the same run. Every compressed network was fine-tuned for the same
number of epochs with distillation from the dense one. MACs: the share of the dense network's that stay.

"""


def section(results: Mapping[str, Any], name: str) -> str:
    """All tables."""
    machine = results["machine"]
    versions = ", ".join(f"{key} {value}" for key, value in machine["versions"].items() if value)
    spent = results["seconds"]
    head = (
        f"## Compression, {results['machine_slug']}\n\n{machine['cpu']}, {machine['usable_cores']} cores, "
        f"{machine['os']}, best kernel set {machine['isas'][-1]}; {machine['date']}; `{results['command']}`. "
        f"{spent['cpu_seconds'] / 3600:.2f} hours of CPU time for all networks. {versions}. "
        f"All figures, recipes and commands: [results/{name}](results/{name}).\n"
    )
    parts = [head, NOTE + _expectations(results)]
    parts += [_workload(workload, results["settings"]) for workload in results["workloads"].values()]
    return "\n".join(parts)


def _expectations(results: Mapping[str, Any]) -> str:
    rows = [
        [workload["title"], row["what"], row["measured"], f"**{row['verdict']}**"]
        for workload in results["workloads"].values()
        for row in expectations(workload)
    ]
    return "### What was expected\n\n" + table(["workload", "expected", "measured", ""], rows)


def _workload(workload: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    reference = {key: figures(workload, key)["p50_ms"] for key in (DENSE, INT8)}
    rows = []
    for setting, title in titles.items():
        found = figures(workload, setting)
        if setting == REFUSED or found["score"] is None:
            continue
        p50 = found["p50_ms"]
        rows.append(
            [
                title,
                _spread(found["score"], "{:.2f}"),
                _drop(found["drop"]) if setting != DENSE else "",
                _time(p50),
                *(
                    f"{base.mean / p50.mean:.2f}x" if base is not None and p50 is not None else ""
                    for base in reference.values()
                ),
                f"{found['macs'].mean:.0%}" if found["macs"] else "",
                f"{found['bytes'].mean / 1e6:.2f}",
            ]
        )
    columns = ["setting", "score", "points lost", "p50 ms", "× dense fp32", "× dense int8", "MACs", "MB"]
    lines = [f"### {workload['title']}\n", _about(workload), table(columns, rows)]
    return "\n".join([*lines, *_failures(workload, titles)])


def _about(workload: Mapping[str, Any]) -> str:
    counts = [
        results[DENSE]["counts"] for results in workload["units"].values() if results.get(DENSE, {}).get("counts")
    ]
    items = "; ".join(f"{count['train']}/{count['val']}/{count['test']}" for count in counts)
    size = "x".join(map(str, workload["image_size"]))
    train = workload["recipe"]["train"]
    text = (
        f"{workload['network']}, width {workload['width']:g}, {size}, on {workload['data']}: items for training, "
        f"validation and test by seed: {items}. Dense: {workload['dense']['epochs']} epochs; fine-tuning: "
        f"{train['epochs']} epochs, learning rate {train['learning_rate']:g}."
    )
    timing = workload.get("timing")
    if timing is not None and timing["other_processes_cores"] is not None:
        text += f" While timing, other processes kept {timing['other_processes_cores']:.2f} cores busy."
    return text + "\n"


def _failures(workload: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    return [
        f"- seed {seed}, {titles[setting]}: failed: {result['reason']}"
        for seed, results in workload["units"].items()
        for setting, result in results.items()
        if result["outcome"] == FAILED
    ]


def _spread(spread: Spread, form: str) -> str:
    text = form.format(spread.mean)
    if spread.deviation is None:
        return text
    return f"{text} ± {form.format(spread.deviation)} ({form.format(spread.lowest)} to {form.format(spread.highest)})"


def _drop(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return points(spread.mean) + ("" if spread.deviation is None else f" ± {spread.deviation:.2f}")


def _time(spread: Spread | None) -> str:
    if spread is None:
        return ""
    text = f"{spread.mean:.3f}"
    return text if spread.highest == spread.lowest else f"{text} ({spread.lowest:.3f} to {spread.highest:.3f})"
