"""How a sparsity of the whole network is shared out among its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression.choice import prunable_layers
from edgelane.compression.importance import Loss, scores
from edgelane.compression.layers import Inputs
from edgelane.compression.masks import layers_by_weight
from edgelane.compression.patterns import Pattern, check_sparsity, pattern_named, unit_scores
from edgelane.errors import EdgelaneError

ALLOCATIONS = ("uniform", "global", "erk")


def allocate(
    model: nn.Module,
    sparsity: float,
    pattern: str = "4x4",
    *,
    example_inputs: Inputs,
    allocation: str = "uniform",
    importance: str = "l1",
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
    skip: Sequence[str] = (),
    include: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, float]:
    """The sparsity of each layer that `prune_model` would prune, so that the share `sparsity` of their weights goes.

    allocation: "uniform" removes the same share everywhere. "global" compares all blocks of all layers by their scores,
        see `global_shares`. "erk" keeps more of small layers, see `erk`. N:M has one share, whatever the allocation.
        Under "channel" a share is one of filters, and coupled layers take their mean when they are cut.
    importance, batches, loss, seed: the scores of "global", as in `prune_model`.
    Raises EdgelaneError as `prune_model` does.
    """
    rule = pattern_named(pattern)
    check_sparsity(sparsity, rule)
    names = prunable_layers(model, pattern, example_inputs=example_inputs, skip=skip, include=include)
    found = None
    if allocation == "global" and rule.kind != "n:m":
        found = scores(model, names, importance, batches=batches, loss=loss, seed=seed)
    return share_out(model, names, sparsity, rule, allocation, importance, found)


def share_out(
    model: nn.Module,
    names: Sequence[str],
    sparsity: float,
    pattern: Pattern,
    allocation: str,
    importance: str,
    found: Mapping[str, Tensor] | None,
) -> dict[str, float]:
    """`allocate` for layers that are chosen and scored (`found`, which only "global" reads). A weight that layers share
    counts once.
    """
    if allocation not in ALLOCATIONS:
        raise EdgelaneError(f"unknown allocation {allocation!r}; expected one of {', '.join(ALLOCATIONS)}")
    if allocation == "uniform" or pattern.kind == "n:m":
        return dict.fromkeys(names, pattern.share if pattern.kind == "n:m" else float(sparsity))
    shared = layers_by_weight(model, names)
    if allocation == "erk":
        shares = erk({first: tuple(layers[0].weight.shape) for first, layers in shared}, sparsity)  # type: ignore[union-attr, arg-type]
    else:
        assert found is not None
        shares = global_shares({first: found[first] for first, _ in shared}, sparsity, pattern, importance)
    first_of = {id(layer): first for first, layers in shared for layer in layers}
    return {name: shares[first_of[id(model.get_submodule(name))]] for name in names}


def erk(shapes: Mapping[str, tuple[int, ...]], sparsity: float) -> dict[str, float]:
    """The Erdos-Renyi-Kernel rule (Evci, Gale, Menick, Castro and Elsen 2020, "Rigging the lottery").

    The density of a layer of shape [oc, ic, kh, kw] is proportional to (oc + ic + kh + kw) / (oc * ic * kh * kw). A
    layer whose density would exceed 1 stays dense, and the others share the rest in the same way.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    wanted = (1.0 - sparsity) * sum(sizes.values())
    dense: set[str] = set()
    while True:
        free = [name for name in shapes if name not in dense]
        left = wanted - sum(sizes[name] for name in dense)
        factor = left / sum(raw[name] * sizes[name] for name in free) if free else 0.0
        over = {name for name in free if factor * raw[name] > 1.0}
        if not over:
            break
        dense |= over
    return {name: 0.0 if name in dense else min(1.0, max(0.0, 1.0 - factor * raw[name])) for name in shapes}


def global_shares(
    found: Mapping[str, Tensor], sparsity: float, pattern: Pattern, importance: str = "l1"
) -> dict[str, float]:
    """The share of each layer that lies below one threshold over the normalised scores of all blocks.

    found: the score of each weight, by layer. The score of a block is the mean over its weights. Magnitudes are divided
        by their layer's root mean square, since layers differ in scale; the scores that follow from gradients are
        changes of the loss and compare as they stand.
    The fewest blocks go that hold the share `sparsity` of the weights; the best block of each layer stays.
    """
    names = list(found)
    values, sizes, owner = [], [], []
    removable = 0
    for index, name in enumerate(names):
        score, size = (part.flatten() for part in unit_scores(found[name], pattern))
        if importance in ("l1", "l2"):
            rms = score.clamp(min=0.0).double().square().mean().sqrt()  # below 0 stands what a mask removed before
            score = (score / rms).to(torch.float32) if float(rms) > 0.0 else score
        score = score.clone()
        best = int(score.argmax())
        removable += int(size.sum()) - int(size[best])
        score[best] = torch.inf
        values.append(score.cpu())
        sizes.append(size.cpu())
        owner.append(torch.full((score.numel(),), index))
    all_sizes, all_owners = torch.cat(sizes), torch.cat(owner)
    order = torch.argsort(torch.cat(values), stable=True)
    wanted = min(sparsity * int(all_sizes.sum()), removable) - 1e-6
    count = int((torch.cumsum(all_sizes[order], 0) < wanted).sum()) + 1 if wanted > 0 else 0
    gone = torch.bincount(all_owners[order[:count]], minlength=len(names)).tolist()
    return {name: gone[index] / values[index].numel() for index, name in enumerate(names)}
