"""Which weights go together: the sparsity patterns, and the mask that keeps the most important of them.

A weight is `[oc, ic / groups, kh, kw]` (convolution) or `[oc, ic]` (linear). A block is `block_oc` consecutive output
channels by `block_ic` consecutive input channels at one tap, as `export/FORMAT.md` defines it, so a mask made here is a
bitmap of the `.lane` file.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edgelane.errors import EdgelaneError


@dataclass(frozen=True)
class Pattern:
    """How weights are grouped before the least important groups are removed.

    `kind` is "block" (whole blocks go), "n:m" (of every `block_ic` weights along the input channels, `kept` stay) or
    "channel" (whole filters go).
    """

    name: str
    kind: str
    block_oc: int
    block_ic: int
    kept: int = 0

    @property
    def share(self) -> float:
        """The share of weights that an N:M pattern removes: 1 - N / M. 1 for other patterns, which remove any share."""
        return 1.0 - self.kept / self.block_ic if self.kind == "n:m" else 1.0


MAX_GROUP = 16  # the largest M of N:M

PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern
    for pattern in (
        Pattern("unstructured", "block", 1, 1),
        Pattern("4x1", "block", 4, 1),
        Pattern("1x4", "block", 1, 4),
        Pattern("4x4", "block", 4, 4),
        Pattern("2:4", "n:m", 1, 4, 2),
        Pattern("channel", "channel", 8, 1),
    )
}


def pattern_named(name: str) -> Pattern:
    """The pattern of that name, N:M for any 1 <= N < M <= 16 among them. Raises EdgelaneError, which lists the names,
    for any other.
    """
    if isinstance(name, str):
        if name in PATTERNS:
            return PATTERNS[name]
        found = re.fullmatch(r"([1-9]\d?):([1-9]\d?)", name)
        if found:
            kept, group = int(found[1]), int(found[2])
            if kept < group <= MAX_GROUP:
                return Pattern(name, "n:m", 1, group, kept)
    raise EdgelaneError(
        f"unknown sparsity pattern {name!r}; expected one of {', '.join(PATTERNS)}, "
        f"or N:M with 1 <= N < M <= {MAX_GROUP}"
    )


def check_sparsity(sparsity: float, pattern: Pattern) -> None:
    """Raise EdgelaneError unless `sparsity` is a share of weights that `pattern` can remove."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)) or not 0.0 <= sparsity < 1.0:
        raise EdgelaneError(
            f"sparsity is the share of weights to remove: expected a number from 0 to below 1, got {sparsity!r}"
        )
    if pattern.kind == "n:m" and not math.isclose(sparsity, pattern.share, abs_tol=5e-4):
        raise EdgelaneError(
            f"pattern {pattern.name} removes {pattern.block_ic - pattern.kept} of every {pattern.block_ic} weights: "
            f"expected sparsity {pattern.share:.4g}, got {sparsity}"
        )


def why_not(weight_shape: tuple[int, ...], groups: int, pattern: Pattern) -> str | None:
    """Why a layer cannot take `pattern`, or None when it can."""
    oc, ic = weight_shape[0] // groups, weight_shape[1]
    if pattern.kind == "n:m" and ic % pattern.block_ic:
        return f"{ic} input channels are not a multiple of {pattern.block_ic}"
    if oc < pattern.block_oc:
        return f"{oc} output channels{' per group' if groups > 1 else ''} are fewer than the block's {pattern.block_oc}"
    if ic < pattern.block_ic:
        return f"{ic} input channels{' per group' if groups > 1 else ''} are fewer than the block's {pattern.block_ic}"
    if groups > 1 and oc % pattern.block_oc:
        return f"{oc} output channels per group are not a multiple of the block's {pattern.block_oc}"
    return None


def keep_mask(scores: Tensor, sparsity: float, pattern: Pattern) -> Tensor:
    """The bool mask, shaped as `scores`, of the weights that stay when at least the share `sparsity` of its blocks
    goes.

    scores: of each weight, the higher the more important, such as its magnitude.
    Blocks with the lowest mean score go first; equal ones go in storage order, so the result is deterministic. Where
    removed weights score lowest, as they do by magnitude, repeated calls with a rising sparsity nest. At least one
    block stays. Under N:M, a sparsity below 1 - N / M thins that share of the groups of M, those that lose least first.
    """
    if sparsity <= 0.0:
        return torch.ones_like(scores, dtype=torch.bool)
    scores = scores.detach().to(torch.float32)
    if pattern.kind == "n:m":
        return _n_of_m(scores, sparsity, pattern)
    units, _ = unit_scores(scores, pattern)
    return spread(_all_but_smallest(units, sparsity), scores.shape, pattern)


def unit_scores(scores: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
    """The mean score of each unit that goes or stays as one, and the number of weights in each.

    A unit is a block, [taps, oc blocks, ic blocks]; a single weight under N:M, [taps, oc, ic]; a filter under
    "channel", [oc]. A block cut by the tensor's edge counts by what it holds.
    """
    scores = scores.detach().to(torch.float32)
    if pattern.kind == "channel":
        filters = scores.reshape(scores.shape[0], -1)
        return filters.mean(1), torch.full((filters.shape[0],), filters.shape[1], device=scores.device)
    if pattern.kind == "n:m":
        pattern = PATTERNS["unstructured"]
    sizes = _blocks(torch.ones_like(scores), pattern).sum((2, 4))
    return _blocks(scores, pattern).sum((2, 4)) / sizes, sizes.to(torch.int64)


def spread(units: Tensor, shape: torch.Size, pattern: Pattern) -> Tensor:
    """Values of units, as `unit_scores` arranges them, at each weight of a tensor of `shape`; not for "channel"."""
    block_oc, block_ic = (1, 1) if pattern.kind == "n:m" else (pattern.block_oc, pattern.block_ic)
    return _unblocks(units[:, :, None, :, None].expand(-1, -1, block_oc, -1, block_ic), shape)


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


def _n_of_m(scores: Tensor, sparsity: float, pattern: Pattern) -> Tensor:
    """All but `kept` of each `block_ic` consecutive input channels at a tap go, in the share `sparsity / (1 - N / M)`
    of the groups that lose least by it.
    """
    oc, ic = scores.shape[:2]
    size = pattern.block_ic
    groups = scores.reshape(oc, ic // size, size, -1).movedim(2, -1)  # [oc, ic / M, taps, M]
    smallest = torch.argsort(groups, dim=-1, stable=True)[..., : size - pattern.kept]
    loss = groups.gather(-1, smallest).sum(-1)
    count = min(math.ceil(sparsity / pattern.share * loss.numel() - 1e-9), loss.numel())
    thinned = torch.zeros(loss.numel(), dtype=torch.bool, device=loss.device)
    thinned[torch.argsort(loss.flatten(), stable=True)[:count]] = True
    keep = torch.ones_like(groups, dtype=torch.bool).scatter(-1, smallest, False)
    keep |= ~thinned.reshape(loss.shape)[..., None]
    return keep.movedim(-1, 2).reshape(scores.shape).contiguous()
