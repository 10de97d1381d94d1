"""Which layers are pruned, and why the others stay dense."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from edgelane.compression.layers import Inputs, WeightLayer, covers, weight_layers
from edgelane.compression.masks import mask_of, stored_weight
from edgelane.compression.patterns import pattern_named, why_not
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
    not reach (auxiliary heads) are left alone, and so are layers that share their weight with one that stays dense.
    Raises EdgelaneError for a name that is no layer.
    """
    layers = weight_layers(model, example_inputs)
    rule = pattern_named(pattern)
    for argument, names in (("skip", skip), ("include", include)):
        for name in names:
            if not any(covers(name, layer.name) for layer in layers):
                raise EdgelaneError(
                    f"{argument}: the model runs no convolution or linear layer named {name!r}; "
                    f"it has {', '.join(layer.name for layer in layers[:4])}, ..."
                )
    stem = next((layer.name for layer in layers if layer.op.startswith("conv")), None)
    choices = []
    for layer in layers:
        asked = any(covers(name, layer.name) for name in include)
        reason, cannot = "", False
        if any(covers(name, layer.name) for name in skip):
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
    return _agree_on_shared_weights(model, layers, choices)


def prunable_layers(
    model: nn.Module,
    pattern: str,
    *,
    example_inputs: Inputs,
    skip: Sequence[str] = (),
    include: Sequence[str] = (),
    stacklevel: int = 3,
) -> list[str]:
    """The names of the layers that `choose_layers` chooses; those that cannot take the pattern are named in a warning.

    stacklevel: of that warning; 3 names the caller's caller. Raises EdgelaneError when there are none.
    """
    choices = choose_layers(model, pattern, example_inputs=example_inputs, skip=skip, include=include)
    names = [choice.name for choice in choices if not choice.reason]
    if not names:
        reasons = "; ".join(f"{choice.name}: {choice.reason}" for choice in choices[:4])
        raise EdgelaneError(f"no layer of the model can be pruned in pattern {pattern} ({reasons})")
    unfit = [choice for choice in choices if choice.cannot]
    if unfit:
        listed = "; ".join(f"{choice.name}: {choice.reason}" for choice in unfit)
        warnings.warn(
            f"{len(unfit)} layers cannot take pattern {pattern} and stay dense: {listed}", stacklevel=stacklevel
        )
    return names


def _agree_on_shared_weights(model: nn.Module, layers: list[WeightLayer], choices: list[Choice]) -> list[Choice]:
    """A weight that several modules share is pruned in all of them or in none."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        weights: list[Any] = [stored_weight(module)] if parametrize.is_parametrized(module, "weight") else []
        for parameter in weights or module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    chosen = {choice.name for choice in choices if not choice.reason}
    agreed = []
    for layer, choice in zip(layers, choices, strict=True):
        dense = [name for name in owners[id(stored_weight(layer.module))] if name not in chosen]
        if choice.reason or not dense:
            agreed.append(choice)
        else:
            agreed.append(Choice(choice.name, f"shares its weight with {dense[0]}, which stays dense"))
    return agreed
