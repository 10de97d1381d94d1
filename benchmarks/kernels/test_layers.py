"""Every kernel family of convolutions on the layers of ResNet-50 and MobileNetV2: dense and 90 % sparse in each
pattern.

The benchmark's time is that of `Session.run`, input copy included; `kernel_us` in extra_info is that of the
convolution alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgelane
from benchmarks.kernels.layers import BLOCKS, Layer, compile_layer

RESNET50 = [
    Layer(3, 64, 7, 224, stride=2),
    Layer(64, 64, 3, 56),
    Layer(64, 256, 1, 56),
    Layer(256, 64, 1, 56),
    Layer(128, 128, 3, 56, stride=2),
    Layer(128, 128, 3, 28),
    Layer(512, 128, 1, 28),
    Layer(256, 256, 3, 14),
    Layer(256, 1024, 1, 14),
    Layer(1024, 256, 1, 14),
    Layer(512, 512, 3, 7),
    Layer(512, 2048, 1, 7),
    Layer(2048, 512, 1, 7),
]
MOBILENETV2 = [
    Layer(16, 96, 1, 112),
    Layer(24, 144, 1, 56),
    Layer(144, 24, 1, 56),
    Layer(192, 64, 1, 14),
    Layer(64, 384, 1, 14),
    Layer(576, 96, 1, 14),
    Layer(160, 960, 1, 7),
    Layer(320, 1280, 1, 7),
    Layer(96, 96, 3, 112, stride=2, groups=96),
    Layer(144, 144, 3, 56, groups=144),
    Layer(384, 384, 3, 14, groups=384),
    Layer(960, 960, 3, 7, groups=960),
]


def cases() -> list[Any]:
    """Layer, pattern and dtype; the stem and depthwise layers stay dense in pruned networks, so they are timed dense
    only.
    """
    return [
        pytest.param(layer, pattern, dtype, id=f"{network} {layer} {pattern} {dtype}")
        for network, layers in (("resnet50", RESNET50), ("mobilenetv2", MOBILENETV2))
        for layer in layers
        for dtype in ("float32", "int8")
        for pattern in (BLOCKS if layer.groups == 1 and layer.ic > 3 else ("dense",))
    ]


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
