"""The pattern is found from the zeros alone, and the smaller encoding is kept."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_cases import Array, rng

from edgelane.export.compiler.lane_file import decode_blocks, encode_blocks
from edgelane.export.compiler.patterns import BLOCKS, examine


def pruned(pattern: str, density: float, shape: tuple[int, ...] = (64, 64, 3, 3), seed: int = 0) -> Array:
    """Random weights of which blocks of `pattern` are kept with probability `density`."""
    g = rng(seed)
    block_oc, block_ic = BLOCKS[pattern]
    taps = shape[2:]
    kept = g.random((-(-shape[0] // block_oc), -(-shape[1] // block_ic), *taps)) < density
    mask = kept.repeat(block_oc, axis=0).repeat(block_ic, axis=1)[: shape[0], : shape[1]]
    return (g.normal(size=shape) * mask).astype(np.float32)


@pytest.mark.parametrize("density", [0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("pattern", BLOCKS)
@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (128, 64, 1, 1), (100, 512)], ids=str)
def test_pattern_is_found(shape: tuple[int, ...], pattern: str, density: float) -> None:
    assert examine(pruned(pattern, density, shape)).pattern == pattern


@pytest.mark.parametrize("pattern", BLOCKS)
def test_pattern_is_found_in_int8(pattern: str) -> None:
    """Small weights of a kept block round to zero; the block is still the pattern."""
    weights = pruned(pattern, 0.15)
    integers = np.clip(np.rint(weights / 0.4), -127, 127).astype(np.int8)
    assert (integers == 0).mean() > (weights == 0).mean() + 0.02
    assert examine(integers).pattern == pattern


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (6, 6, 1, 1), (13, 7, 3, 3), (5, 3)], ids=str)
def test_shapes_that_no_block_divides(shape: tuple[int, ...]) -> None:
    dense = examine(rng().normal(size=shape).astype(np.float32))
    assert (dense.pattern, dense.density, dense.block) == ("dense", 1.0, None)


def test_two_of_four() -> None:
    g = rng()
    weights = g.normal(size=(32, 64, 3, 3)).astype(np.float32)
    order = g.random((32, 16, 4, 3, 3)).argsort(axis=2)
    weights[(order >= 2).reshape(weights.shape)] = 0
    stats = examine(weights)
    assert (stats.pattern, stats.density) == ("2:4", 0.5)


def test_whole_filters() -> None:
    weights = rng().normal(size=(64, 32, 3, 3)).astype(np.float32)
    weights[rng().permutation(64)[:40]] = 0
    stats = examine(weights)
    assert stats.pattern == "channel"
    assert stats.density == pytest.approx(24 / 64)


def test_all_zero() -> None:
    stats = examine(np.zeros((8, 8, 3, 3), np.float32))
    assert (stats.density, stats.block) == (0.0, (4, 4))


def test_a_few_zeros_are_no_pattern() -> None:
    weights = rng().normal(size=(64, 64, 3, 3)).astype(np.float32)
    weights[rng().random(weights.shape) < 0.2] = 0
    assert examine(weights).pattern == "dense"


@pytest.mark.parametrize("pattern", BLOCKS)
def test_smallest_encoding_is_chosen(pattern: str) -> None:
    for density in (0.02, 0.1, 0.4, 0.9, 1.0):
        weights = pruned(pattern, density)
        sizes = {block: len(encode_blocks(weights, *block)[0]) for block in BLOCKS.values()}
        smallest = min(sizes, key=lambda block: sizes[block])
        expected = smallest if sizes[smallest] < weights.nbytes else None
        assert examine(weights).block == expected
        if density < 0.8:
            assert expected == BLOCKS[pattern]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("block", [*BLOCKS.values(), (3, 5), (64, 64), (2, 1)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (4, 4, 3, 3), (5, 7, 2, 3), (8, 3), (3, 13, 5, 1)], ids=str)
def test_blocks_survive_encoding(shape: tuple[int, ...], block: tuple[int, int], dtype: str) -> None:
    weights = (rng().integers(-9, 10, shape) * (rng(1).random(shape) < 0.3)).astype(dtype)
    encoded, nonzero = encode_blocks(weights, *block)
    np.testing.assert_array_equal(decode_blocks(encoded, shape, np.dtype(dtype), block, nonzero), weights)


def test_block_order_and_padding_by_hand() -> None:
    """FORMAT.md: output-channel block, then tap, then input-channel block; output channel outermost within a block."""
    weights = np.zeros((3, 3, 1, 2), np.int8)
    weights[0, 0, 0, 0] = 1  # block row 0, tap 0, block column 0: bit 0
    weights[1, 2, 0, 1] = 2  # block row 0, tap 1, block column 1: bit 3
    weights[2, 1, 0, 0] = 3  # block row 1, tap 0, block column 0: bit 4
    encoded, nonzero = encode_blocks(weights, 2, 2)
    assert nonzero == 3
    assert encoded[:8] == bytes([0b00011001, 0, 0, 0, 0, 0, 0, 0])
    assert list(encoded[8:]) == [1, 0, 0, 0, 0, 0, 2, 0, 0, 3, 0, 0]
