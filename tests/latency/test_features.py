from __future__ import annotations

import numpy as np
import pytest
from tests.latency.laws import conv, linear

from edgelane.latency.builder import Builder
from edgelane.latency.features import Work, block_density, block_oc_of, features, vectors_of


def test_the_block_of_a_kernel_stands_in_its_name():
    names = ("conv2d_f32_8x1_avx512", "conv2d_f32_staged1x1_avx2", "conv2d_s8_4x4_neon_i8mm", "winograd_f32_8x3_avx512")
    assert [block_oc_of(name) for name in names] == [8, 1, 4, 8]
    assert block_oc_of("max_pool_f32_16_avx512") == 1


@pytest.mark.parametrize(
    ("pattern", "sparsity", "block", "expected"),
    [
        ("unstructured", 0.5, (1, 1), 0.5),
        ("unstructured", 0.5, (4, 1), 1 - 0.5**4),
        ("unstructured", 0.5, (1, 4), 1 - 0.5**4),  # int8: four input channels are one word
        ("unstructured", 0.9, (4, 4), 1 - 0.9**16),
        ("4x1", 0.8, (4, 1), 0.2),
        ("4x1", 0.8, (8, 1), 1 - 0.8**2),
        ("1x4", 0.8, (1, 4), 0.2),
        ("1x4", 0.8, (4, 1), 1 - 0.8**4),
        ("4x4", 0.8, (4, 4), 0.2),
        ("2:4", 0.5, (1, 1), 0.5),
        ("2:4", 0.5, (1, 4), 1.0),  # two of four are left: no word is empty
        ("1:4", 0.75, (4, 1), 1 - 0.75**4),
        ("2:4", 0.25, (1, 1), 0.75),  # half of the groups are thinned
        ("4x4", 0.0, (8, 4), 1.0),
        ("dense", 0.0, (1, 1), 1.0),
    ],
)
def test_block_density_of_zeros_at_random(pattern, sparsity, block, expected):
    assert block_density(pattern, sparsity, *block, conv(64, 64, 14)) == pytest.approx(expected)


@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "1x4", "4x4"])
@pytest.mark.parametrize("block", [(1, 1), (4, 1), (8, 1), (1, 4), (4, 4), (8, 4)])
def test_block_density_agrees_with_counting(pattern, block):
    builder = Builder(np.random.default_rng(0), "float32", (1, 3, 8, 8))
    weights = builder.weights((128, 128, 3, 3), pattern, 0.15) != 0
    oc, ic = block
    counted = weights.reshape(128 // oc, oc, 128 // ic, ic, 9).any(axis=(1, 3)).mean()
    assert block_density(pattern, 0.85, oc, ic, conv(128, 128, 14, 3)) == pytest.approx(counted, abs=0.02)


def test_vectors_of_a_map_include_the_gaps_between_its_rows():
    # Rows of 7 pixels follow each other every 8: 6 * 8 + 7 = 55 positions.
    assert vectors_of(conv(8, 8, 7, 3), 16) == 4
    assert vectors_of(conv(8, 8, 7, 3), 8) == 7
    # Of a stride of 2 the output counts: 4 rows every 5, 3 * 5 + 4 = 19.
    assert vectors_of(conv(8, 8, 8, 3, stride=2), 16) == 2


@pytest.mark.parametrize("kernel", ["conv2d_f32_4x1_avx512", "conv2d_s8_8x4_avx512_vnni"])
def test_no_feature_falls_with_the_density(kernel):
    shape = conv(96, 160, 14, 3)
    rows = [features(Work(shape, 4, density), kernel, 16) for density in (0.05, 0.2, 0.7, 1.0)]
    assert (np.diff(rows, axis=0) >= 0).all()
    assert (np.diff(rows, axis=0) > 0).any()


def test_layers_without_sparse_kernels_do_not_depend_on_the_density():
    assert (features(Work(linear(64, 32), 1, 0.1), "linear", 16) == features(Work(linear(64, 32)), "linear", 16)).all()
