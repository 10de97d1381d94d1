"""`Session.run` on single layers, for comparing two builds: the layers of each network in layers.txt with the most
multiply-adds, dense and with 90 % of the weights zero in the pattern that pruning is meant for.

The benchmark's time is that of `Session.run`, input copy and Python included; what a kernel reaches of the machine's
ceilings is measured by `python -m benchmarks.kernels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgelane
from benchmarks.kernels.layers import Layer, compile_layer, convolutions
from benchmarks.kernels.make_layers import NETWORKS

LAYERS_OF_A_NETWORK = 6
PATTERNS = {"float32": ("unstructured", "4x1"), "int8": ("1x4", "4x4")}


def cases() -> list[Any]:
    """Layer, pattern and dtype; layers that pruning leaves dense are timed dense only."""
    found = []
    for network in NETWORKS:
        layers = [layer for layer in convolutions() if layer.network == network]
        for layer in sorted(layers, key=lambda layer: -layer.macs)[:LAYERS_OF_A_NETWORK]:
            for dtype, patterns in PATTERNS.items():
                for pattern in ("dense", *(patterns if layer.prunable else ())):
                    found.append(pytest.param(layer, pattern, dtype, id=f"{network} {layer} {pattern} {dtype}"))
    return found


@pytest.mark.benchmark(max_time=0.3, min_rounds=20, warmup=True, warmup_iterations=5, disable_gc=True)
@pytest.mark.parametrize(("layer", "pattern", "dtype"), cases())
def test_layer(benchmark: Any, layer: Layer, pattern: str, dtype: str, tmp_path: Path) -> None:
    session = edgelane.Session(compile_layer(layer, pattern, dtype, tmp_path))
    generator = np.random.default_rng(0)
    (spec,) = session.inputs
    x = (
        generator.integers(-128, 128, spec.shape).astype(np.int8)
        if dtype == "int8"
        else generator.standard_normal(spec.shape).astype(np.float32)
    )
    benchmark.group = f"{layer} {dtype}"
    benchmark(session.run, {spec.name: x})

    (step,) = (row for row in session.profile({spec.name: x}, repeats=30) if row.op == "conv2d")
    assert step.dense_macs > 0
    benchmark.extra_info.update(
        isa=session.isa,
        threads=session.threads,
        kernel=step.kernel,
        format=step.format,
        density=step.density,
        macs=step.macs,
        dense_macs=step.dense_macs,
        kernel_us=step.time_us,
        gmac_per_s=step.macs / step.time_us / 1e3,
        dense_equivalent_gmac_per_s=step.dense_macs / step.time_us / 1e3,
        weight_gb_per_s=session.packed_bytes / step.time_us / 1e3,
    )
