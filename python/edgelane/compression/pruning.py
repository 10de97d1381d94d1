"""Magnitude pruning in every pattern: choose the layers, put a mask on each (or cut whole channels)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from edgelane.compression import channels
from edgelane.compression.layers import Inputs, weight_layers
from edgelane.compression.masks import Mask, Schedule, add_mask, mask_of, masked_layers, remove_mask
from edgelane.compression.patterns import Pattern, check_sparsity, pattern_named, why_not
from edgelane.compression.record import set_record
from edgelane.errors import EdgelaneError


@dataclass(frozen=True)
class Choice:
    """What pruning does with one layer: `reason` is empty when it is pruned, else it says why the layer stays dense."""

    name: str
    reason: str
    cannot: bool = False  # the pattern does not fit the layer, as opposed to: the layer is meant to stay dense


def choose_layers(
    model: nn.Module, pattern: str, *, example_inputs: Inputs, skip: Sequence[str] = (), include: Sequence[str] = ()
) -> list[Choice]:
    """Which layers `prune_model` would prune, in order of execution, and why the others stay dense.

    The stem (first convolution), the final layer and depthwise convolutions stay dense unless `include` names them;
    `skip` names more.
    A name stands for that layer and for everything below it ("layer1" means all of it). Layers that `example_inputs` do
    not reach (auxiliary heads) are left alone. Raises EdgelaneError for a name that is no layer.
    """
    layers = weight_layers(model, example_inputs)
    rule = pattern_named(pattern)
    for argument, names in (("skip", skip), ("include", include)):
        for name in names:
            if not any(_covers(name, layer.name) for layer in layers):
                raise EdgelaneError(
                    f"{argument}: the model runs no convolution or linear layer named {name!r}; "
                    f"it has {', '.join(layer.name for layer in layers[:4])}, ..."
                )
    stem = next((layer.name for layer in layers if layer.op.startswith("conv")), None)
    choices = []
    for layer in layers:
        asked = any(_covers(name, layer.name) for name in include)
        reason, cannot = "", False
        if any(_covers(name, layer.name) for name in skip):
            reason = "skipped by name"
        elif layer.op not in ("conv2d", "linear"):
            reason, cannot = f"{layer.op} has no sparse kernel", True
        elif parametrize.is_parametrized(layer.module) and mask_of(layer.module) is None:
            reason, cannot = "its weight has another parametrization", True
        elif layer.name == stem and not asked:
            reason = "stem"
        elif layer is layers[-1] and not asked:
            reason = "final layer"
        elif layer.is_depthwise and not asked:
            reason = "depthwise"
        elif rule.kind != "channel":
            problem = why_not(tuple(layer.module.weight.shape), layer.groups, rule)
            reason, cannot = problem or "", problem is not None
        choices.append(Choice(layer.name, reason, cannot))
    return choices


def prune_model(
    model: nn.Module,
    sparsity: float,
    pattern: str = "4x4",
    *,
    example_inputs: Inputs,
    schedule: Schedule | None = None,
    skip: Sequence[str] = (),
    include: Sequence[str] = (),
) -> nn.Module:
    """Remove the weights of smallest L1 norm, in blocks of `pattern`, the same share from each layer. Returns a pruned
    copy.

    sparsity: the share of blocks to remove, 0 <= sparsity < 1; for "channel" the share of filters (the kept count is a
        multiple of 8), for "2:4" always 0.5.
    pattern: "unstructured", "4x1", "1x4", "4x4" (output channels x input channels), "2:4" or "channel".
    example_inputs: what the model takes, such as `torch.zeros(1, 3, 224, 224)`; it finds the order of the layers.
    schedule: starts from `schedule.initial` and lets `Pruner.step()` or `PruningCallback` raise the sparsity during
        training. Without it the masks are final at once. Not for "channel", which changes the shapes of the layers.
    skip, include: names of layers (or of modules that hold them) that stay dense, or that are pruned although stem,
        final or depthwise.

    The zeros survive optimiser steps, state_dict, deepcopy and AMP; `finalize` writes them into plain modules. Make the
    optimiser from the model that comes back. Layers that cannot take the pattern are named in a warning.
    Raises EdgelaneError for a sparsity out of range, an unknown pattern or name, and a model in which no layer takes
    the pattern.
    """
    rule = pattern_named(pattern)
    check_sparsity(sparsity, rule)
    choices = choose_layers(model, pattern, example_inputs=example_inputs, skip=skip, include=include)
    unfit = [choice for choice in choices if choice.cannot]
    names = [choice.name for choice in choices if not choice.reason]
    if not names:
        reasons = "; ".join(f"{choice.name}: {choice.reason}" for choice in choices[:4])
        raise EdgelaneError(f"no layer of the model can be pruned in pattern {pattern} ({reasons})")
    if unfit:
        listed = "; ".join(f"{choice.name}: {choice.reason}" for choice in unfit)
        warnings.warn(f"{len(unfit)} layers cannot take pattern {pattern} and stay dense: {listed}", stacklevel=2)
    pruned = copy.deepcopy(model)
    if rule.kind == "channel":
        if schedule is not None:
            raise EdgelaneError(
                "pattern channel changes the shapes of layers, so it takes no schedule: prune, then fine-tune"
            )
        for _, module, _ in list(masked_layers(pruned)):
            remove_mask(module)
        kept = {choice.name for choice in choices if choice.reason and choice.reason != "depthwise"}
        channels.cut(pruned, sparsity, example_inputs, keep=kept)
    else:
        add_masks(pruned, names, rule, sparsity, schedule)
    shapes = {"shapes": channels.weight_shapes(pruned)} if rule.kind == "channel" else {}
    set_record(pruned, pruning={"pattern": pattern, "sparsity": float(sparsity), "layers": names, **shapes})
    return pruned


def add_masks(
    model: nn.Module, names: Sequence[str], pattern: Pattern, sparsity: float, schedule: Schedule | None
) -> None:
    """Mask the named layers, at the final sparsity or at the start of `schedule`."""
    for name in names:
        module = model.get_submodule(name)
        remove_mask(module)
        mask = Mask(module.weight.shape, pattern, sparsity, schedule)  # type: ignore[union-attr, arg-type]
        mask.tighten(module.weight, sparsity if schedule is None else schedule.sparsity_at(0, sparsity))  # type: ignore[arg-type]
        add_mask(module, mask)


def _covers(name: str, layer: str) -> bool:
    return layer == name or layer.startswith(f"{name}.")
