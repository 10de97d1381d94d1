"""What pruning one layer does to the outputs: the price that the solver pays for the time it saves there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression.layers import evaluating
from edgelane.compression.masks import mask_of
from edgelane.errors import EdgelaneError

Mask = Callable[[nn.Module, float], Tensor]


def pruning_damage(
    model: nn.Module,
    batches: Iterable[Tensor],
    masks: Mapping[str, Callable[[float], Tensor]],
    levels: Sequence[float],
    progress: Callable[[float], object] | None = None,
) -> dict[str, dict[float, float]]:
    """Error of the outputs when one layer is pruned and all others are not, by layer and sparsity.

    masks: by layer, the bool mask of its weight that stays at a sparsity. levels: the sparsities to try.
    The error is the energy of the difference over the energy of the outputs' own variation from input to input, so 0
    is no harm and 1 is as good as no answer; values above 1 count as 1. It never falls with the sparsity.
    """
    inputs = list(batches)
    if not inputs:
        raise EdgelaneError("the damage of pruning needs at least one batch of images")
    table: dict[str, dict[float, float]] = {}
    with evaluating(model):
        right = [_output(model(batch)) for batch in inputs]
        energy = _variation(torch.cat(right))
        for number, (name, mask) in enumerate(masks.items()):
            weight = _stored_weight(model.get_submodule(name))
            kept = weight.detach().clone()
            worst = 0.0
            table[name] = {}
            try:
                for level in sorted(levels):
                    if level > 0:
                        weight.copy_(kept * mask(level))
                        differences = [
                            (_output(model(x)) - y).square().sum() for x, y in zip(inputs, right, strict=True)
                        ]
                        error = float(torch.stack(differences).sum()) / energy
                        worst = max(worst, min(1.0, error if error == error else 1.0))
                    table[name][level] = worst
            finally:
                weight.copy_(kept)
            if progress is not None:
                progress((number + 1) / len(masks))
    return table


def _stored_weight(module: Any) -> Tensor:
    """The tensor behind the module's weight, whether or not a mask lies over it."""
    stored: Tensor = module.weight if mask_of(module) is None else module.parametrizations.weight.original
    return stored


def _output(output: Any) -> Tensor:
    """All outputs of the model for a batch as one matrix [n, values]."""
    if isinstance(output, Tensor):
        return output.flatten(1).double() if output.dim() > 1 else output.double()[:, None]
    parts = output.values() if isinstance(output, Mapping) else output
    return torch.cat([_output(part) for part in parts], 1)


def _variation(outputs: Tensor) -> float:
    centred = outputs - outputs.mean(0, keepdim=True)
    return max(float(centred.square().sum()), float(torch.finfo(torch.float32).tiny))
