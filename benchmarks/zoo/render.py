"""The zoo's part of benchmarks/RESULTS.md from one file of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.models.table import table
from benchmarks.zoo.outcomes import AGREES, NOT_EXPORTABLE, OPSETS, key

Results = Mapping[str, Any]
NOTE = """\
Random weights (benchmarks/zoo/build.py says how they are made to compute something), fixed shapes, float32, one thread.
Each letter is one ONNX file that was compiled and run: **+** agrees with ONNX Runtime to 1e-4 of the largest output,
**.** torch itself cannot write the model at this opset (dynamo often leaves 18 where less is asked for), **-** edgelane
fails, **?** not run yet. Error: the largest of all variants and outputs. Milliseconds are the shortest runs of both
engines, in turns. Detectors: backbone and heads up to the raw outputs, as `edgelane.export.detection` cuts them; those
called complete are torchvision's whole models, which resize the image and select boxes, compiled with the `--outputs`
that the compiler names.

"""


def section(results: Results, name: str) -> str:
    """All tables of one machine."""
    machine = results["machine"]
    versions = ", ".join(f"{key} {value}" for key, value in machine["versions"].items() if value)
    outcomes = Counter(
        variant["outcome"] for model in results["models"].values() for variant in model["variants"].values()
    )
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    return "\n".join(
        [
            f"## Model zoo, {results['machine_slug']}\n",
            f"{machine['cpu']}, {machine['usable_cores']} cores, {machine['os']}, "
            f"best kernel set {machine['isas'][-1]}; {machine['date']}; `{results['command']}`. "
            f"{versions}. All figures: [results/{name}](results/{name}).\n",
            f"{len(results['models'])} models; variants: {counts}.\n",
            NOTE + _models(results),
            _reasons(results),
        ]
    )


def _models(results: Results) -> str:
    columns = ["model", "from", *(f"{exporter} {', '.join(map(str, opsets))}" for exporter, opsets in OPSETS.items())]
    columns += ["error", "input", "steps", "MMAC", "edgelane ms", "ONNX Runtime ms", "ratio"]
    rows = []
    for name, model in results["models"].items():
        variants, timing = model["variants"], model.get("timing", {})
        errors = [variant["error"] for variant in variants.values() if isinstance(variant.get("error"), float)]
        first: Mapping[str, Any] = (
            timing if "steps" in timing else next((variant for variant in variants.values() if "steps" in variant), {})
        )
        own, reference = timing.get("edgelane_ms"), timing.get("onnxruntime_ms")
        rows.append(
            [
                name,
                model["source"],
                *(
                    "".join(_letter(variants.get(key(exporter, opset))) for opset in OPSETS[exporter])
                    for exporter in OPSETS
                ),
                f"{max(errors):.1e}" if errors else "",
                str(first["size"]) if first else "",
                str(first.get("steps", "")),
                f"{first['macs'] / 1e6:.0f}" if "macs" in first else "",
                f"{own:.2f}" if own else "",
                f"{reference:.2f}" if reference else "",
                f"{reference / own:.2f}x" if own and reference else "",
            ]
        )
    return table(columns, rows)


def _letter(variant: Mapping[str, Any] | None) -> str:
    if variant is None:
        return "?"
    return {AGREES: "+", NOT_EXPORTABLE: "."}.get(variant["outcome"], "-")


def _reasons(results: Results) -> str:
    """What fails, one line for each model and reason; then torch's own reasons with the models that have them."""
    failures: dict[tuple[str, str], list[str]] = {}
    refusals: dict[str, set[str]] = {}
    for name, model in results["models"].items():
        for variant, result in model["variants"].items():
            if result["outcome"] == NOT_EXPORTABLE:
                refusals.setdefault(_plain(result["reason"]), set()).add(name)
            elif result["outcome"] != AGREES:
                text = result.get("reason") or f"error {result['error']}"
                failures.setdefault((name, f"{result['outcome']}: {_plain(text)}"), []).append(variant)
    lines = ["### What fails\n"] if failures else ["No variant fails.\n"]
    lines += [f"- {name}, {', '.join(variants)}: {text}" for (name, text), variants in failures.items()]
    if refusals:
        lines.append(("\n" if failures else "") + "### What torch cannot write\n")
        lines += [f"- {text}: {', '.join(sorted(models))}" for text, models in sorted(refusals.items())]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("<", "(").replace(">", ")")[:200]
