"""Masks that keep pruned weights at zero while everything else trains, and the gradual schedule that tightens them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgelane.compression.patterns import Pattern, keep_mask
from edgelane.errors import EdgelaneError


@dataclass(frozen=True)
class Schedule:
    """Sparsity that rises over optimiser steps, fast first and slow last.

    At step t: final + (initial - final) * (1 - (t - begin) / steps)^3, the cubic schedule of Zhu and Gupta (2017, "To
    prune, or not to prune"). The masks are recomputed every `every` steps and stand still after `begin + steps`.
    """

    steps: int
    begin: int = 0
    every: int = 10
    initial: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.begin < 0 or self.every < 1 or not 0.0 <= self.initial < 1.0:
            raise EdgelaneError(
                "a pruning schedule needs steps >= 1, begin >= 0, every >= 1 and 0 <= initial < 1, got "
                f"steps={self.steps}, begin={self.begin}, every={self.every}, initial={self.initial}"
            )

    def sparsity_at(self, step: int, final: float) -> float:
        """The share of weights that is removed at optimiser step `step`, counted from 0."""
        left = 1.0 - min(1.0, max(0.0, (step - self.begin) / self.steps))
        return final + (min(self.initial, final) - final) * left**3


class Mask(nn.Module):
    """The parametrization of a pruned weight: the stored weight where the mask is set, zero elsewhere.

    The optimiser sees the stored weight. Gradients of masked positions are zero, and whatever momentum or weight decay
    still does there never reaches the forward pass. The mask is a buffer, so state_dict, checkpoints, deepcopy and DDP
    carry it.
    """

    mask: Tensor

    def __init__(self, shape: torch.Size, pattern: Pattern, sparsity: float, schedule: Schedule | None) -> None:
        super().__init__()
        self.pattern = pattern
        self.sparsity = sparsity
        self.schedule = schedule
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        """Zero the masked weights, also where the stored ones are not finite."""
        return torch.where(self.mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Assigning `layer.weight` stores the new values; the mask goes on applying."""
        return weight

    def tighten(self, weight: Tensor, sparsity: float) -> None:
        """Recompute the mask for `sparsity` from the effective `weight`, so what is pruned stays pruned."""
        self.mask.copy_(keep_mask(weight, sparsity, self.pattern) & self.mask)


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


class Pruner:
    """Moves the masks of a model along their schedules: call `step()` once after each optimiser step.

    Raises EdgelaneError when the model has no mask with a schedule.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [(module, mask) for _, module, mask in masked_layers(model) if mask.schedule is not None]
        if not self._layers:
            raise EdgelaneError(
                "the model has no gradual masks: call prune_model with schedule=Schedule(steps=...) first"
            )
        self.steps = 0

    @property
    def sparsity(self) -> float:
        """The share of weights that the schedule asks for now (the largest over the layers)."""
        return max(mask.schedule.sparsity_at(self.steps, mask.sparsity) for _, mask in self._layers if mask.schedule)

    @property
    def finished(self) -> bool:
        """Whether every layer has reached its final sparsity."""
        return all(self.steps >= mask.schedule.begin + mask.schedule.steps for _, mask in self._layers if mask.schedule)

    def step(self) -> None:
        """Count one optimiser step and tighten the masks that are due."""
        self.steps += 1
        for module, mask in self._layers:
            schedule = mask.schedule
            if schedule is None or self.steps < schedule.begin:
                continue
            last = schedule.begin + schedule.steps
            if self.steps == last or (self.steps < last and (self.steps - schedule.begin) % schedule.every == 0):
                weight: Any = module.weight
                mask.tighten(weight, schedule.sparsity_at(self.steps, mask.sparsity))

    def finish(self) -> None:
        """Bring every mask to its final sparsity at once, where training ended before the schedule did."""
        for module, mask in self._layers:
            weight: Any = module.weight
            mask.tighten(weight, mask.sparsity)

    def state_dict(self) -> dict[str, int]:
        """What a resumed training needs; the masks themselves are in the model's state_dict."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state` was taken."""
        self.steps = int(state["steps"])
