"""Which weights go together: the sparsity patterns, and the mask that keeps the largest of them.

A weight is `[oc, ic / groups, kh, kw]` (convolution) or `[oc, ic]` (linear). A block is `block_oc` consecutive output
channels by `block_ic` consecutive input channels at one tap, as `export/FORMAT.md` defines it, so a mask made here is a
bitmap of the `.lane` file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edgelane.errors import EdgelaneError


@dataclass(frozen=True)
class Pattern:
    """How weights are grouped before the smallest groups are removed.

    `kind` is "block" (whole blocks go), "n:m" (2 of every 4 along the input channels go) or "channel" (whole filters
    go).
    """

    name: str
    kind: str
    block_oc: int
    block_ic: int


PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        Pattern("unstructured", "block", 1, 1),
        Pattern("4x1", "block", 4, 1),
        Pattern("1x4", "block", 1, 4),
        Pattern("4x4", "block", 4, 4),
        Pattern("2:4", "n:m", 1, 4),
        Pattern("channel", "channel", 8, 1),
    )
}


def pattern_named(name: str) -> Pattern:
    """The pattern of that name. Raises EdgelaneError, which lists the names, for any other."""
    try:
        return PATTERNS[name]
    except (KeyError, TypeError):
        raise EdgelaneError(f"unknown sparsity pattern {name!r}; expected one of {', '.join(PATTERNS)}") from None


def check_sparsity(sparsity: float, pattern: Pattern) -> None:
    """Raise EdgelaneError unless `sparsity` is a share of weights that `pattern` can remove."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)) or not 0.0 <= sparsity < 1.0:
        raise EdgelaneError(
            f"sparsity is the share of weights to remove: expected a number from 0 to below 1, got {sparsity!r}"
        )
    if pattern.kind == "n:m" and sparsity != 0.5:
        raise EdgelaneError(f"pattern 2:4 removes exactly half of the weights: expected sparsity 0.5, got {sparsity}")


def why_not(weight_shape: tuple[int, ...], groups: int, pattern: Pattern) -> str | None:
    """Why a layer cannot take `pattern`, or None when it can."""
    oc, ic = weight_shape[0] // groups, weight_shape[1]
    if pattern.kind == "n:m" and ic % 4:
        return f"{ic} input channels are not a multiple of 4"
    if oc < pattern.block_oc:
        return f"{oc} output channels{' per group' if groups > 1 else ''} are fewer than the block's {pattern.block_oc}"
    if ic < pattern.block_ic:
        return f"{ic} input channels{' per group' if groups > 1 else ''} are fewer than the block's {pattern.block_ic}"
    if groups > 1 and oc % pattern.block_oc:
        return f"{oc} output channels per group are not a multiple of the block's {pattern.block_oc}"
    return None


def keep_mask(weight: Tensor, sparsity: float, pattern: Pattern) -> Tensor:
    """The bool mask, shaped as `weight`, of the weights that stay when at least the share `sparsity` of its blocks
    goes.

    Blocks with the smallest L1 norm go first (a block cut by the tensor's edge counts by its mean); equal ones go in
    storage order, so the result is deterministic. Removed weights that are already zero are the first to go, which
    makes repeated calls with a rising sparsity nest. At least one block stays. Under 2:4, a sparsity below a half thins
    that share of the groups of four, cheapest first.
    """
    if sparsity <= 0.0:
        return torch.ones_like(weight, dtype=torch.bool)
    magnitude = weight.detach().abs().to(torch.float32)
    if pattern.kind == "n:m":
        return _two_of_four(magnitude, sparsity)
    blocks = _blocks(magnitude, pattern)
    elements = _blocks(torch.ones_like(magnitude), pattern)
    score = blocks.sum((2, 4)) / elements.sum((2, 4))
    keep = _all_but_smallest(score, sparsity)
    spread = keep[:, :, None, :, None].expand(-1, -1, pattern.block_oc, -1, pattern.block_ic)
    return _unblocks(spread, weight.shape)


def _blocks(values: Tensor, pattern: Pattern) -> Tensor:
    """`[oc, ic, ...taps]` -> `[taps, oc blocks, block_oc, ic blocks, block_ic]`, zero-padded at the edges."""
    oc, ic = values.shape[:2]
    flat = values.reshape(oc, ic, -1).permute(2, 0, 1)
    padded = functional.pad(flat, (0, -ic % pattern.block_ic, 0, -oc % pattern.block_oc))
    taps, padded_oc, padded_ic = padded.shape
    return padded.reshape(
        taps, padded_oc // pattern.block_oc, pattern.block_oc, padded_ic // pattern.block_ic, pattern.block_ic
    )


def _unblocks(blocks: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_blocks`."""
    taps, oc_blocks, block_oc, ic_blocks, block_ic = blocks.shape
    flat = blocks.reshape(taps, oc_blocks * block_oc, ic_blocks * block_ic)[:, : shape[0], : shape[1]]
    return flat.permute(1, 2, 0).reshape(shape).contiguous()


def _all_but_smallest(score: Tensor, sparsity: float) -> Tensor:
    """False for the `sparsity` share (rounded up, never all) of the smallest scores."""
    count = min(math.ceil(sparsity * score.numel() - 1e-9), score.numel() - 1)
    order = torch.argsort(score.flatten(), stable=True)
    keep = torch.ones(score.numel(), dtype=torch.bool, device=score.device)
    keep[order[:count]] = False
    return keep.reshape(score.shape)


def _two_of_four(magnitude: Tensor, sparsity: float) -> Tensor:
    """Two of each four consecutive input channels at a tap go, in the share `2 * sparsity` of the groups that lose
    least by it.
    """
    oc, ic = magnitude.shape[:2]
    groups = magnitude.reshape(oc, ic // 4, 4, -1).movedim(2, -1)  # [oc, ic / 4, taps, 4]
    smallest = torch.argsort(groups, dim=-1, stable=True)[..., :2]
    loss = groups.gather(-1, smallest).sum(-1)
    count = min(math.ceil(2 * sparsity * loss.numel() - 1e-9), loss.numel())
    thinned = torch.zeros(loss.numel(), dtype=torch.bool, device=loss.device)
    thinned[torch.argsort(loss.flatten(), stable=True)[:count]] = True
    keep = torch.ones_like(groups, dtype=torch.bool).scatter(-1, smallest, False)
    keep |= ~thinned.reshape(loss.shape)[..., None]
    return keep.movedim(-1, 2).reshape(magnitude.shape).contiguous()
