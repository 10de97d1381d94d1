"""Pruning in every pattern: choose the layers, share out the sparsity, put a mask on each (or cut whole channels)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from edgelane.compression import channels
from edgelane.compression.allocation import share_out
from edgelane.compression.choice import Choice, choose_layers, prunable_layers
from edgelane.compression.importance import BY_GRADIENT, Loss, check_importance, scores
from edgelane.compression.layers import Inputs, weight_layers
from edgelane.compression.masks import Mask, add_mask, layers_by_weight, masked_layers, remove_mask, stored_weight
from edgelane.compression.patterns import Pattern, check_sparsity, keep_mask, pattern_named
from edgelane.compression.permutation import permute_channels
from edgelane.compression.record import set_record
from edgelane.compression.schedules import Gradual, Iterative, RigL, Schedule
from edgelane.errors import EdgelaneError

__all__ = ["Choice", "choose_layers", "prune_model"]


def prune_model(
    model: nn.Module,
    sparsity: float | Mapping[str, float],
    pattern: str | Mapping[str, str] = "4x4",
    *,
    example_inputs: Inputs,
    importance: str = "l1",
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
    allocation: str = "uniform",
    schedule: Schedule | None = None,
    skip: Sequence[str] = (),
    include: Sequence[str] = (),
    permute: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Remove the least important weights, in blocks of `pattern`. Returns a pruned copy.

    sparsity: the share of blocks to remove, 0 <= sparsity < 1; for "channel" the share of filters (the kept count is a
        multiple of 8), for N:M always 1 - N / M. Or a mapping of layers to their shares, in place of `allocation`;
        layers that it does not name stay dense, those that it names are pruned although they are stem, final or
        depthwise.
    pattern: "unstructured", "4x1", "1x4", "4x4" (output channels x input channels), N:M such as "2:4", or "channel".
        Or, beside a mapping of sparsities, the pattern of each of its layers; not "channel".
    example_inputs: what the model takes, such as `torch.zeros(1, 3, 224, 224)`; it finds the order of the layers.
    importance: "l1", "l2", "taylor", "movement" or "random", see `edgelane.compression.importance`. "taylor" and
        "movement" need `batches` of (inputs, targets) and `loss(outputs, targets)`, or a schedule, under which they
        follow the gradients of the training.
    allocation: "uniform", "global" or "erk", see `edgelane.compression.allocate`.
    schedule: `Gradual`, `Iterative` or `RigL`; `Pruner` or `PruningCallback` moves the masks along it during training.
        Without one the masks are final at once. Not for "channel", which changes the shapes of the layers.
    skip, include: names of layers (or of modules that hold them) that stay dense, or that are pruned although stem,
        final or depthwise.
    permute: for N:M, first reorder channels so that the masks keep more of the weights' magnitude, see `permutation`.
    seed: of "random".

    The zeros survive optimiser steps, state_dict, deepcopy, AMP, DDP and averaging of weights; `finalize` writes them
    into plain modules. Make the optimiser from the model that comes back. Layers that cannot take the pattern are named
    in a warning. Raises EdgelaneError for a sparsity out of range, an unknown pattern, importance, allocation or name,
    and a model in which no layer takes the pattern.
    """
    check_importance(importance)
    names, rules = _layers(model, sparsity, pattern, example_inputs, skip, include)
    rule = next(iter(rules.values()))
    channel = rule.kind == "channel"
    if channel and schedule is not None:
        raise EdgelaneError(
            "pattern channel changes the shapes of layers, so it takes no schedule: prune, then fine-tune"
        )
    if channel and importance == "movement":
        raise EdgelaneError("pattern channel takes the importance l1, l2, taylor or random, got movement")
    if permute and not all(rule.kind == "n:m" for rule in rules.values()):
        raise EdgelaneError(f"permute is for N:M patterns: expected one such as 2:4, got {_named(rules.values())}")
    pruned = copy.deepcopy(model)
    if permute:
        permute_channels(pruned, rules, example_inputs)
    scored = names if not channel else [layer.name for layer in weight_layers(pruned, example_inputs)]
    waiting = schedule is not None and batches is None and importance in BY_GRADIENT and not isinstance(schedule, RigL)
    kind = "l1" if waiting else importance  # before there are gradients
    found = scores(pruned, scored, kind, batches=batches, loss=loss, seed=seed)
    if isinstance(sparsity, Mapping):
        allocation = "given"
        shares = {name: rules[name].share if rules[name].kind == "n:m" else float(sparsity[name]) for name in names}
        sizes = {name: found[name].numel() for name in names}
        overall = sum(share * sizes[name] for name, share in shares.items()) / sum(sizes.values())
        include = [*include, *names]
    else:
        shares = share_out(pruned, names, sparsity, rule, allocation, kind, found)
        overall = float(sparsity)
    if channel:
        choices = choose_layers(model, "channel", example_inputs=example_inputs, skip=skip, include=include)
        kept = {choice.name for choice in choices if choice.reason and choice.reason != "depthwise"}
        for _, module, _ in list(masked_layers(pruned)):
            remove_mask(module)
        channels.cut(pruned, shares, found, example_inputs, keep=kept)
    else:
        moves = allocation == "global" and rule.kind != "n:m" and isinstance(schedule, (Gradual, Iterative))
        add_masks(pruned, shares, rules, found, importance, schedule, overall if moves else None, seed)
    # Masks of earlier calls on other layers are part of the record.
    masks = {name: mask for name, _, mask in masked_layers(pruned)}
    patterns = {name: mask.pattern for name, mask in masks.items()} or rules
    record = {
        "pattern": _named(patterns.values()),
        "sparsity": overall,
        "layers": list(patterns),
        "patterns": {name: rule.name for name, rule in patterns.items()},
        "shares": {name: shares[name] if name in shares else masks[name].sparsity for name in patterns},
        "importance": importance,
        "allocation": allocation,
        "permuted": permute,
    }
    set_record(pruned, pruning={**record, **({"shapes": channels.weight_shapes(pruned)} if channel else {})})
    return pruned


def add_masks(
    model: nn.Module,
    shares: Mapping[str, float],
    rules: Mapping[str, Pattern],
    found: Mapping[str, Tensor],
    importance: str,
    schedule: Schedule | None,
    overall: float | None,
    seed: int,
) -> None:
    """Mask the layers that `shares` names, by the scores `found`, at the final sparsity or at the start of `schedule`.

    overall: the sparsity of all layers together, where the schedule is to share it out anew at each of its steps.
    """
    start = shares
    if schedule is not None and overall is not None:
        total = schedule.sparsity_at(0, overall)
        start = share_out(model, list(shares), total, next(iter(rules.values())), "global", importance, found)
    elif schedule is not None:
        start = {name: schedule.sparsity_at(0, share) for name, share in shares.items()}
    for first, layers in layers_by_weight(model, list(shares)):
        share = shares[first] if overall is None else overall
        mask = Mask(
            found[first].shape,
            rules[first],
            share,
            schedule,
            importance,
            "uniform" if overall is None else "global",
            seed,
        )
        mask.mask.copy_(keep_mask(found[first], start[first], rules[first]))
        for layer in layers:
            add_mask(layer, mask)
        if not mask.may_return:
            stored_weight(layers[0]).data.masked_fill_(~mask.mask, 0.0)


def _layers(
    model: nn.Module,
    sparsity: float | Mapping[str, float],
    pattern: str | Mapping[str, str],
    example_inputs: Inputs,
    skip: Sequence[str],
    include: Sequence[str],
) -> tuple[list[str], dict[str, Pattern]]:
    """The layers to prune, in order of execution, and the pattern of each."""
    if not isinstance(sparsity, Mapping):
        if isinstance(pattern, Mapping):
            raise EdgelaneError("patterns by layer need sparsities by layer: expected a mapping of the same layers")
        rule = pattern_named(pattern)
        check_sparsity(sparsity, rule)
        names = prunable_layers(model, pattern, example_inputs=example_inputs, skip=skip, include=include, stacklevel=4)
        return names, dict.fromkeys(names, rule)
    asked = {name: share for name, share in sparsity.items() if share != 0.0}
    missing = [name for name in asked if isinstance(pattern, Mapping) and name not in pattern]
    if missing or not asked:
        raise EdgelaneError(
            f"no pattern for {missing[0]}" if missing else "sparsity names no layer with a share above 0"
        )
    by_layer = {name: pattern_named(pattern[name] if isinstance(pattern, Mapping) else pattern) for name in asked}
    if len({rule.kind == "channel" for rule in by_layer.values()}) > 1:
        raise EdgelaneError("pattern channel cannot stand beside others: cut channels first, then prune the result")
    for name, rule in by_layer.items():
        check_sparsity(asked[name], rule)
    choices = {
        rule.name: {
            choice.name: choice.reason
            for choice in choose_layers(model, rule.name, example_inputs=example_inputs, skip=skip, include=list(asked))
        }
        for rule in by_layer.values()
    }
    for name, rule in by_layer.items():
        reason = choices[rule.name].get(name, "it is a module that holds layers: name each of them")
        if reason:
            raise EdgelaneError(f"{name} cannot be pruned in pattern {rule.name}: {reason}")
    order = next(iter(choices.values()))
    names = [name for name in order if name in asked]
    return names, {name: by_layer[name] for name in names}


def _named(patterns: Iterable[Pattern]) -> str:
    names = {pattern.name for pattern in patterns}
    return names.pop() if len(names) == 1 else "mixed"
