"""Finds the sparsity pattern that weights follow, from their zeros alone, and the smallest way to store them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelane.export.compiler.graph import Array
from edgelane.export.compiler.lane_file import split_blocks

BLOCKS = {"unstructured": (1, 1), "4x1": (4, 1), "1x4": (1, 4), "4x4": (4, 4)}  # name: (block_oc, block_ic)
# int8 rounding alone makes some weights zero. Above this share of nonzeros, zeros are not called a pattern.
DENSE_ABOVE = 0.75


@dataclass(frozen=True)
class WeightStats:
    """What the zeros of one weight tensor say."""

    pattern: str  # "dense", "channel", "2:4" or a key of BLOCKS
    density: float  # nonzero elements / elements
    block_density: dict[str, float]  # share of blocks with a nonzero element, by key of BLOCKS
    block: tuple[int, int] | None  # the block-sparse encoding that is smallest, None where dense is


def examine(weights: Array) -> WeightStats:
    """Find the pattern of `weights` [oc][ic]([kh][kw]) and the smallest encoding."""
    nonzero = weights != 0
    present = {name: split_blocks(nonzero, *block).any(axis=(3, 4)) for name, block in BLOCKS.items()}
    densities = {name: float(mask.mean()) for name, mask in present.items()}
    sizes: dict[tuple[int, int] | None, int] = {None: weights.size * weights.itemsize}
    for name, mask in present.items():
        block_oc, block_ic = BLOCKS[name]
        sizes[(block_oc, block_ic)] = -(-mask.size // 64) * 8 + int(mask.sum()) * block_oc * block_ic * weights.itemsize
    smallest = min(sizes, key=lambda block: sizes[block])
    return WeightStats(_pattern(nonzero, densities), densities["unstructured"], densities, smallest)


def _pattern(nonzero: Array, density: dict[str, float]) -> str:
    if density["unstructured"] > DENSE_ABOVE:
        return "dense"
    filters = nonzero.reshape(nonzero.shape[0], -1)
    kept = filters.any(axis=1)
    if not kept.all() and kept.any() and filters[kept].mean() > DENSE_ABOVE:
        return "channel"
    if density["unstructured"] > 0.3 and nonzero.shape[1] % 4 == 0:
        in_fours = nonzero.reshape(nonzero.shape[0], nonzero.shape[1] // 4, 4, -1).sum(axis=2)
        if in_fours.max() <= 2:
            return "2:4"
    if density["unstructured"] == 0 or all(_together(density, "4x4", fine) for fine in ("4x1", "1x4", "unstructured")):
        return "4x4"
    candidates = [name for name in ("4x1", "1x4") if _together(density, name)]
    return min(candidates, key=lambda name: density[name]) if candidates else "unstructured"


def _together(density: dict[str, float], coarse: str, fine: str = "unstructured") -> bool:
    """Whether the fine blocks of a coarse block come and go together, rather than each by itself.

    If they do, the coarse blocks are as rare as the fine ones; if each fine block is present by chance, a coarse block
    of n is present with probability 1 - (1 - d)^n. The middle between the two tells them apart.
    """
    ratio = int(np.prod(BLOCKS[coarse])) // int(np.prod(BLOCKS[fine]))
    by_chance = 1 - (1 - density[fine]) ** ratio
    return density[coarse] < (density[fine] + by_chance) / 2
