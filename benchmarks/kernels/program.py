"""The C++ harness edgelane_benchmarks: called, and its figures turned into the tables that people read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kernels.make_layers import LAYERS
from edgelane.errors import EdgelaneError

PROGRAM = Path(__file__).resolve().parents[2] / "build" / "cmake" / "edgelane_benchmarks"
Points = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Filter:
    """Which layers; an empty string stands for all."""

    network: str = ""
    dtype: str = ""
    pattern: str = ""

    def words(self) -> list[str]:
        """As the program's arguments."""
        chosen = {"--network": self.network, "--dtype": self.dtype, "--pattern": self.pattern}
        return [word for key, value in chosen.items() if value for word in (key, value)]


def run(
    mode: str,
    chosen: Filter | None = None,
    program: Path = PROGRAM,
    progress: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """The program's JSON for `mode`: "ceilings", "roofline" or "break-even"."""
    if not program.is_file():
        raise EdgelaneError(f"{program} is not built: `make bench-program` builds it")
    words = [str(program), mode]
    if mode != "ceilings":
        words += [str(LAYERS), *(chosen or Filter()).words()]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    last = ""
    with process:
        # Progress is one short line for each layer, the result is printed as it comes: neither may fill its pipe.
        import threading

        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(process.stdout.read()))  # type: ignore[union-attr]
        reader.start()
        for line in process.stderr:
            last = line.strip()
            if progress is not None:
                progress(last)
        reader.join()
    if process.returncode != 0:
        raise EdgelaneError(f"{program.name} ended with status {process.returncode}: {last}")
    result: dict[str, Any] = json.loads(said[0])
    return result


def break_even_sparsity(dense_us: float, points: Points) -> float | None:
    """The least sparsity from which on sparse is not slower than dense, linear between the points; None where the last
    point still is. Below the first point nothing was measured, so that is the lowest answer.
    """
    answer: float | None = None
    later: tuple[float, float] | None = None
    for point in sorted(points, key=lambda point: -point["sparsity"]):
        sparsity, us = point["sparsity"], point["us"]
        if us <= dense_us:
            answer = sparsity
        else:
            if later is not None:
                answer = sparsity + (later[0] - sparsity) * (us - dense_us) / (us - later[1])
            break
        later = sparsity, us
    return answer


def break_even_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the program's break-even rows of one network and dtype: each layer's break-even by pattern, and the network's,
    where every layer counts as often as the network uses it.
    """
    layers: dict[str, dict[str, Any]] = {}
    sums: dict[str, dict[float, float]] = {}
    dense: dict[str, float] = {}
    for row in rows:
        layer = layers.setdefault(row["layer"], {"layer": row["layer"], "count": row["uses"], "sparsity": {}})
        layer["sparsity"][row["pattern"]] = break_even_sparsity(row["dense_us"], row["points"])
        dense[row["pattern"]] = dense.get(row["pattern"], 0.0) + row["uses"] * row["dense_us"]
        total = sums.setdefault(row["pattern"], {})
        for point in row["points"]:
            total[point["sparsity"]] = total.get(point["sparsity"], 0.0) + row["uses"] * point["us"]
    network = {
        pattern: break_even_sparsity(dense[pattern], [{"sparsity": s, "us": us} for s, us in total.items()])
        for pattern, total in sums.items()
    }
    return {"layers": list(layers.values()), "network": network}


LEAST_SPARSITY = 0.2  # that main.cpp measures for the break-even: below it nothing is known


def percent(sparsity: float | None) -> str:
    """A break-even sparsity as tables show it."""
    if sparsity is None:
        return "never"
    return ("≤ " if sparsity <= LEAST_SPARSITY else "") + f"{sparsity:.0%}"
