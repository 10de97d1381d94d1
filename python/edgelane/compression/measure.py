"""How long networks take as they are deployed: exported, compiled and timed in turn, on this machine, one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

SECONDS = 2.0  # of timing, for all networks together
PROFILES = 3  # the least time of each step counts


@dataclass(frozen=True)
class Timing:
    """One deployed network: `p50_ms` of a run, `bytes` of its `.lane` file, and by layer of the torch network the
    microseconds that its step takes. `warnings`: what makes the times doubtful.
    """

    p50_ms: float
    min_ms: float
    bytes: int
    layers_us: dict[str, float]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Without the layers and the warnings."""
        return {"p50_ms": self.p50_ms, "min_ms": self.min_ms, "bytes": self.bytes}


def measure(models: Mapping[str, nn.Module], example: Tensor, seconds: float = SECONDS) -> dict[str, Timing]:
    """Time each of `models` on noise of the shape of `example`, taking turns for `seconds` in all.

    Raises EdgelaneError when one cannot be exported or compiled.
    """
    from edgelane.bench import benchmark
    from edgelane.bench.timing import disturbances
    from edgelane.runtime import Session

    noise = np.random.default_rng(0).standard_normal(tuple(example.shape), dtype=np.float32)
    sessions: dict[str, Session] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, model) in enumerate(models.items()):
            lane = deploy(model, example, Path(folder) / f"{number}.lane")
            sizes[name] = lane.stat().st_size
            sessions[name] = Session(lane)
    feeds = {name: {session.inputs[0].name: noise} for name, session in sessions.items()}
    calls = {name: (lambda s=session, f=feeds[name]: s.run(f)) for name, session in sessions.items()}
    timed = benchmark(calls, seconds)
    result = {}
    for name, session in sessions.items():
        layers: dict[str, float] = {}
        for _ in range(PROFILES):
            for row in session.profile(feeds[name]):
                layer = row.step.rpartition("/")[0]
                layers[layer] = min(row.time_us, layers.get(layer, float("inf")))
        whole = timed.row(name)
        doubts = disturbances(timed.environment)
        result[name] = Timing(whole.p50_ms, whole.min_ms, sizes[name], layers, doubts)
    return result


def deploy(model: nn.Module, example: Tensor, lane: Path) -> Path:
    """Export and compile `model` for inputs of the shape of `example`. What it computes is not compared with torch:
    `edgelane export` does that for what is deployed, and an untrained network's values mean nothing.
    """
    import onnx

    from edgelane.export.compiler import compile as compile_onnx
    from edgelane.export.onnx import onnx_model

    path = lane.with_suffix(".onnx")
    onnx.save(onnx_model(model, example), path)
    compile_onnx(path, lane, golden="none")
    return lane
