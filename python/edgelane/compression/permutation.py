"""Offline channel permutation for N:M sparsity: reorder channels so that the masks keep more of the weights' magnitude.

N:M keeps the N largest of every M consecutive input channels. Which channels stand together is free: when the layers
that make a channel, those that read it and everything between them are reordered alike, the network computes the same.
After Pool and Yu (2021, "Channel permutations for N:M sparsity"): starting from the order as it is, swap the two
channels that gain most, again and again. Layers that a residual add, a concatenation or a depthwise convolution couples
are reordered together, along torch-pruning's dependency graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression.channels import dependencies
from edgelane.compression.layers import Inputs, as_tuple, evaluating
from edgelane.compression.masks import masked_layers
from edgelane.compression.patterns import Pattern
from edgelane.errors import EdgelaneError

SWEEPS = 20  # rounds of swaps; each swaps every group of M channels at most once
SWEEP_ELEMENTS = 4e8  # of the search's largest table, which bounds the weights that it looks at: about a second a round
TOLERANCE = 1e-4  # of the largest output: reordered sums round otherwise

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass
class _Reader:
    """An N:M layer that reads the channels: the magnitude of its weights and where channel i of the group stands."""

    magnitude: Tensor  # [rows, ic]; a row is an output channel at a tap
    places: Tensor  # [channels]
    pattern: Pattern


@dataclass
class _Entry:
    """One dimension of a module that must be reordered, and the channel of the group at each of its places."""

    module: Any
    reads: bool
    places: Tensor
    channels: Tensor


def permute_channels(model: nn.Module, patterns: Mapping[str, Pattern], example_inputs: Inputs) -> dict[str, float]:
    """Reorder channels of `model` in place for the N:M pattern of each layer that `patterns` names.

    The outputs stay the same but for the rounding of sums, which is checked on random inputs group by group: a group
    that torch-pruning does not follow rightly (per-channel constants), one that is split (channel shuffles) and one
    that a grouped convolution reads stay as they were. The magnitude that the masks keep, summed over the layers, never
    falls; the result is the same every time.
    Returns the factor by which the kept magnitude grew, by the first layer that reads a group that was reordered.
    Raises EdgelaneError for a model that has masks, and where torch-pruning is missing or cannot follow the model.
    """
    if any(True for _ in masked_layers(model)):
        raise EdgelaneError("permute reorders channels of a model without masks: finalize it first")
    inputs = _random_like(as_tuple(example_inputs))
    names = {module: name for name, module in model.named_modules()}
    gains: dict[str, float] = {}
    with dependencies(model, tuple(value[:1] for value in inputs)) as graph:
        groups = list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
        with evaluating(model):
            before = _outputs(model, inputs)
            for group in groups:
                entries = _entries(graph, group)
                if entries is None:
                    continue
                channels = len(group[0].idxs)
                reading = [entry for entry in entries if entry.reads and names[entry.module] in patterns]
                readers = [_reader(entry, patterns[names[entry.module]], channels) for entry in reading]
                found = [reader for reader in readers if reader is not None]
                if not found:
                    continue
                order = search(found, channels)
                if torch.equal(order, torch.arange(channels)):
                    continue
                old, new = _kept(found, torch.arange(channels)), _kept(found, order)
                if new <= old or len(found) < len(readers):
                    continue
                _apply(entries, order)
                if _same(before, _outputs(model, inputs)):
                    gains[names[reading[0].module]] = new / old
                else:
                    _apply(entries, torch.argsort(order))
    return gains


def search(readers: list[_Reader], channels: int) -> Tensor:
    """The order of the group's channels, int64 [channels], that greedy swaps find: order[i] is the channel that comes
    to place i.
    """
    order = torch.arange(channels)
    rows = max(16, int(SWEEP_ELEMENTS / channels**2 / len(readers)))
    readers = [_Reader(_thin(reader.magnitude, rows), reader.places, reader.pattern) for reader in readers]
    tables = [torch.zeros(channels, channels) for _ in readers]
    stale = torch.ones(channels, dtype=torch.bool)
    for _ in range(SWEEPS):
        gain = torch.zeros(channels, channels)
        for reader, table in zip(readers, tables, strict=True):
            _refresh(table, reader, order, stale)
            # table[i, c]: what the group at place i keeps with channel c in that place, in order of channels.
            offered = table[:, order]  # [i, j]: with the channel that now stands at place j
            mine = offered.diagonal()
            gain += (offered + offered.T - mine[:, None] - mine[None, :]) * _apart(reader)
        stale = _swap_best(order, gain, readers)
        if not bool(stale.any()):
            break
    return order


def _swap_best(order: Tensor, gain: Tensor, readers: list[_Reader]) -> Tensor:
    """Swap the pairs that gain most, each group of M once, in `order`; the places whose groups changed."""
    channels = len(order)
    threshold = 1e-6 * max(float(reader.magnitude.sum()) for reader in readers)
    gain = gain.triu(1)
    best = torch.topk(gain.flatten(), min(gain.numel(), 64 * channels))
    groups = [(reader.places // reader.pattern.block_ic).tolist() for reader in readers]
    touched: list[set[int]] = [set() for _ in readers]
    for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        if value <= threshold:
            break
        i, j = divmod(index, channels)
        if any(group[i] in used or group[j] in used for group, used in zip(groups, touched, strict=True)):
            continue
        order[[i, j]] = order[[j, i]]
        for group, used in zip(groups, touched, strict=True):
            used.update((group[i], group[j]))
    return torch.tensor(
        [any(group[i] in used for group, used in zip(groups, touched, strict=True)) for i in range(channels)]
    )


def _refresh(table: Tensor, reader: _Reader, order: Tensor, stale: Tensor) -> None:
    """Recompute the rows of `table` whose groups changed.

    With the channel at one place taken out, a group keeps of each row its N largest; a channel that comes in adds what
    it has above the N-th of them.
    """
    kept, size = reader.pattern.kept, reader.pattern.block_ic
    values = _ordered(reader, order)
    coming = reader.magnitude[:, reader.places].T.contiguous()  # [channels, rows]
    for place in torch.nonzero(stale).flatten().tolist():
        position = int(reader.places[place])
        start = position // size * size
        others = torch.cat((values[:, start:position], values[:, position + 1 : start + size]), 1)
        largest = others.topk(kept, dim=1).values
        table[place] = largest.sum() + (coming - largest[:, -1]).clamp_(min=0.0).sum(1)


def _ordered(reader: _Reader, order: Tensor) -> Tensor:
    """The magnitudes [rows, ic] with the group's channels in `order`."""
    values = reader.magnitude.clone()
    values[:, reader.places] = reader.magnitude[:, reader.places[order]]
    return values


def _apart(reader: _Reader) -> Tensor:
    """1 where two places lie in different groups of M: a swap within a group changes nothing."""
    group = reader.places // reader.pattern.block_ic
    return (group[:, None] != group[None, :]).float()


def _kept(readers: list[_Reader], order: Tensor) -> float:
    """The magnitude that the masks of all readers keep."""
    total = 0.0
    for reader in readers:
        groups = _ordered(reader, order).reshape(-1, reader.pattern.block_ic)
        total += float(groups.topk(reader.pattern.kept, dim=1).values.double().sum())
    return total


def _thin(magnitude: Tensor, rows: int) -> Tensor:
    """At most `rows` evenly spaced rows."""
    if magnitude.shape[0] <= rows:
        return magnitude
    return magnitude[torch.linspace(0, magnitude.shape[0] - 1, rows).round().long()]


def _entries(graph: Any, group: Any) -> list[_Entry] | None:
    """What must be reordered with the group's channels; None where that is more than is known how to reorder."""
    found: dict[tuple[int, bool], _Entry] = {}
    for item in group:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):
            return None  # used without a module: which of its dimensions counts channels is a guess
        if type(module).__module__.startswith("torch_pruning"):
            if type(module).__name__ == "_OutputOp":
                return None  # an output of the network has its order
            continue
        reads = bool(graph.is_in_channel_pruning_fn(item.dep.handler)) and isinstance(module, (*_CONVS, nn.Linear))
        if isinstance(module, _CONVS) and module.groups > 1:
            if not module.groups == module.in_channels == module.out_channels:
                return None  # channels of a grouped convolution belong to their groups
            reads = False
        elif not isinstance(module, (*_CONVS, nn.Linear, *_NORMS)) and any(True for _ in module.parameters()):
            return None
        if not isinstance(module, (*_CONVS, nn.Linear, *_NORMS)):
            continue
        if any(root is None for root in item.root_idxs):
            return None
        entry = _Entry(module, reads, torch.tensor(item.idxs), torch.tensor(item.root_idxs))
        if len(set(torch.bincount(entry.channels, minlength=len(group[0].idxs)).tolist())) > 1:
            return None  # a part of the channels alone goes there, behind a split
        found.setdefault((id(module), reads), entry)
    return list(found.values())


def _reader(entry: _Entry, pattern: Pattern, channels: int) -> _Reader | None:
    """The entry as the search sees it; None where a channel takes several places (a linear layer behind a flatten)."""
    if len(entry.places) != channels or len(entry.channels.unique()) != channels:
        return None
    weight = entry.module.weight.detach().float().cpu()
    magnitude = weight.abs().movedim(1, -1).reshape(-1, weight.shape[1])
    places = torch.empty(channels, dtype=torch.long)
    places[entry.channels] = entry.places
    return _Reader(magnitude, places, pattern)


@torch.no_grad()
def _apply(entries: list[_Entry], order: Tensor) -> None:
    """Bring channel order[i] to place i, in every module of the group."""
    for entry in entries:
        by_channel: list[list[int]] = [[] for _ in range(len(order))]
        for place, channel in zip(entry.places.tolist(), entry.channels.tolist(), strict=True):
            by_channel[channel].append(place)
        target, source = [], []
        for channel, places in enumerate(by_channel):
            target += places
            source += by_channel[int(order[channel])][: len(places)]
        module = entry.module
        if entry.reads:
            module.weight[:, target] = module.weight[:, source]
            continue
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        for tensor in tensors:
            if tensor.dim() > 0:
                tensor[target] = tensor[source]


def _random_like(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(value.shape, generator=generator).to(value) if value.is_floating_point() else value
        for value in inputs
    )


def _outputs(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    return [value for value in torch.utils._pytree.tree_leaves(model(*inputs)) if isinstance(value, Tensor)]


def _same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(
        torch.allclose(old, new, rtol=0.0, atol=TOLERANCE * float(old.abs().max()) + 1e-12)
        for old, new in zip(before, after, strict=True)
        if old.numel()
    )
