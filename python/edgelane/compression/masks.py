"""Masks that keep pruned weights at zero while everything else trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgelane.compression.patterns import Pattern
from edgelane.compression.schedules import Gradual, Schedule


class _Dense(torch.autograd.Function):
    """The masked weight forward; backward, the gradient of all weights, those at zero too."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Tensor) -> Tensor:
        return _masked(weight, mask)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _masked(weight: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))


class Mask(nn.Module):
    """The parametrization of a pruned weight: the stored weight where the mask is set, zero elsewhere.

    The optimiser sees the stored weight. Gradients of masked positions are zero, and whatever momentum or weight decay
    still does there never reaches the forward pass. The mask is a buffer, so state_dict, checkpoints, deepcopy and DDP
    carry it. Layers that share one weight share one mask.

    sparsity: of this layer at the end; under `allocation` "global", of all layers together.
    importance: by which the schedule chooses what goes; `seed` is for "random".
    dense_gradient: let the stored weight have the gradient of masked positions too, as `Pruner` needs it at some steps.
    """

    mask: Tensor

    def __init__(
        self,
        shape: torch.Size,
        pattern: Pattern,
        sparsity: float,
        schedule: Schedule | None,
        importance: str = "l1",
        allocation: str = "uniform",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.pattern = pattern
        self.sparsity = sparsity
        self.schedule = schedule
        self.importance = importance
        self.allocation = allocation
        self.seed = seed
        self.dense_gradient = False
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool))

    @property
    def may_return(self) -> bool:
        """Whether weights keep their values behind the mask and may come back: in movement pruning they do."""
        return self.importance == "movement" and isinstance(self.schedule, Gradual)

    def forward(self, weight: Tensor) -> Tensor:
        """Zero the masked weights, also where the stored ones are not finite."""
        if self.dense_gradient and torch.is_grad_enabled():
            masked: Tensor = _Dense.apply(weight, self.mask)
            return masked
        return _masked(weight, self.mask)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Assigning `layer.weight` stores the new values; the mask goes on applying."""
        return weight


def mask_of(module: nn.Module) -> Mask | None:
    """The mask on the module's weight, if it has one."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    parametrizations: Any = module.parametrizations
    return next((entry for entry in parametrizations.weight if isinstance(entry, Mask)), None)


def masked_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Mask]]:
    """Every layer of `model` with a mask: name, layer, mask."""
    for name, module in model.named_modules():
        mask = mask_of(module)
        if mask is not None:
            yield name, module, mask


def stored_weight(module: Any) -> nn.Parameter:
    """The parameter that the optimiser sees, of a layer with a mask or without."""
    weight = module.parametrizations.weight.original if parametrize.is_parametrized(module, "weight") else module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def layers_by_weight(model: nn.Module, names: Sequence[str]) -> list[tuple[str, list[nn.Module]]]:
    """The layers of these names, those that share one weight together, under the name that comes first."""
    found: dict[int, tuple[str, list[nn.Module]]] = {}
    for name in names:
        module = model.get_submodule(name)
        found.setdefault(id(stored_weight(module)), (name, []))[1].append(module)
    return list(found.values())


def add_mask(module: nn.Module, mask: Mask) -> None:
    """Put `mask` on the module's weight, in place of an earlier mask."""
    remove_mask(module)
    parametrize.register_parametrization(module, "weight", mask.to(module.weight.device))


def remove_mask(module: nn.Module) -> None:
    """Write the zeros into the weight and take the mask away.

    Not with torch's remove_parametrizations: that deletes `weight` from a class which every deepcopy of the module
    shares.
    """
    if mask_of(module) is None:
        return
    parametrizations: Any = module.parametrizations
    weight = parametrizations.weight.original
    with torch.no_grad():
        weight.data = parametrizations.weight().detach().clone()
    plain = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    module.__class__ = plain
    module.register_parameter("weight", weight)


def copy_masks(source: nn.Module, target: nn.Module) -> None:
    """Give the layers of `target` the masks of `source`, which has the same layers in the same order.

    For averaged weights with averaged buffers (`AveragedModel(..., use_buffers=True)`), where an averaged mask is the
    union of all masks that there were; without `use_buffers` the averaged model has the newest mask by itself.
    """
    for (_, _, mine), (_, _, other) in zip(masked_layers(source), masked_layers(target), strict=True):
        other.mask.copy_(mine.mask)
