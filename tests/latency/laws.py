"""A machine whose times are known: tables made from a formula instead of a clock."""

from __future__ import annotations

import itertools

import numpy as np

from edgelane.latency.features import Work, block_density, vectors_of
from edgelane.latency.shapes import LayerShape
from edgelane.latency.table import Sample, Table

LANES = 16
ADD_US = {1: 4e-4, 4: 1.5e-4, 8: 1.2e-4}  # of a multiply-add of a vector, by output channels of a block
NAMES = {
    "float32": {1: "conv2d_f32_1x1_avx512", 4: "conv2d_f32_4x1_avx512", 8: "conv2d_f32_8x1_avx512"},
    "int8": {1: "conv2d_s8_1x4_avx512_vnni", 4: "conv2d_s8_4x4_avx512_vnni", 8: "conv2d_s8_8x4_avx512_vnni"},
}


def conv(ic: int, oc: int, side: int, kernel: int = 1, stride: int = 1, dtype: str = "float32", **more) -> LayerShape:
    """A convolution on a square map of the input."""
    after = side // stride
    shapes = {"input": (1, ic, side, side), "output": (1, oc, after, after)}
    return LayerShape("conv2d", dtype, dtype, **shapes, kernel=(kernel, kernel), stride=(stride, stride), **more)


def linear(ic: int, oc: int, dtype: str = "float32") -> LayerShape:
    """A fully connected layer of one row."""
    return LayerShape("linear", dtype, dtype, (1, ic), (1, oc))


def true_us(work: Work) -> float:
    """The law of a strip convolution: 2 us, its multiply-adds, and 0.0005 us for each output vector."""
    s = work.shape
    deep = 4 if s.dtype == "int8" else 1
    rows = -(-(s.ic // s.groups) // deep) * s.taps
    vectors = vectors_of(s, LANES)
    channels = -(-s.oc // work.block_oc) * work.block_oc
    return 2.0 + channels * rows * work.density * vectors * ADD_US[work.block_oc] + 5e-4 * s.oc * vectors


def table(seed: int = 0) -> Table:
    """A calibration of that machine: every kernel at many shapes and densities, linear layers and adds."""
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []

    def add(shape: LayerShape, kernel: str, macs: float, time_us: float) -> None:
        footprint = int(10 ** rng.uniform(6, 8))
        samples.append(Sample(shape, kernel, round(macs), time_us, footprint, len(samples) // 40))

    for dtype, block in itertools.product(NAMES, ADD_US):
        for _ in range(90):
            ic, oc = (int(8 * 2 ** rng.uniform(0, 6)) // 8 * 8 for _ in range(2))
            shape = conv(ic, oc, int(2 ** rng.uniform(1, 5.5)) * 2, int(rng.choice((1, 3))), dtype=dtype)
            density = float(rng.uniform(0.03, 1.0))
            add(shape, NAMES[dtype][block], shape.macs * density, true_us(Work(shape, block, density)))
    for dtype in NAMES:
        for _ in range(30):
            shape = linear(*(int(2 ** rng.uniform(4, 10)) for _ in range(2)), dtype)
            add(shape, f"linear_{dtype}", shape.macs, 0.2 + 2e-5 * shape.weights)
            c, side = int(2 ** rng.uniform(3, 8)), int(2 ** rng.uniform(1, 6))
            whole = (1, c, side, side)
            add(LayerShape("binary", dtype, dtype, whole, whole, variant="add"), "b", 0, 0.1 + 1e-4 * c * side * side)
    return Table("a law", "avx512", 1, "0", "2026-01-01", 1.0, 0.02, 0.0, samples)


def expected_us(shape: LayerShape, pattern: str, sparsity: float) -> float:
    """The least time of the law's kernels for a layer in a pattern, which is what a model should predict."""
    deep = 4 if shape.dtype == "int8" else 1
    works = [Work(shape, block, block_density(pattern, sparsity, block, deep, shape)) for block in ADD_US]
    return min(true_us(work) for work in works)
