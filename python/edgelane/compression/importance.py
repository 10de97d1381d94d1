"""How much each weight matters: scores of the weights of a layer, the higher the more important.

| name | score of a weight w with gradient g |
|---|---|
| l1 | abs(w) |
| l2 | w^2 |
| taylor | mean over batches of (g * w)^2 (Molchanov, Mallya, Tyree, Frosio and Kautz 2019, "Importance estimation for neural network pruning") |
| movement | sum over steps of -g * w: high where training moves it away from zero (Sanh, Wolf and Rush 2020, "Movement pruning") |
| random | uniform from 0 to 1, the control that the others must beat |

The score of a block is the mean over its weights.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression.layers import evaluating
from edgelane.compression.masks import layers_by_weight, mask_of, stored_weight
from edgelane.errors import EdgelaneError

IMPORTANCES = ("l1", "l2", "taylor", "movement", "random")
BY_GRADIENT = ("taylor", "movement")

Loss = Callable[[Any, Any], Tensor]


def check_importance(importance: str) -> None:
    """Raise EdgelaneError for a name that is not in the table above."""
    if importance not in IMPORTANCES:
        raise EdgelaneError(f"unknown importance {importance!r}; expected one of {', '.join(IMPORTANCES)}")


def magnitude(weight: Tensor, importance: str) -> Tensor:
    """The scores that follow from the weights alone: squared under "l2", else absolute. float32, of the same shape."""
    weight = weight.detach().to(torch.float32)
    return weight.square() if importance == "l2" else weight.abs()


def random_scores(shape: torch.Size, seed: int) -> Tensor:
    """float32 scores between 0 and 1, the same for the same seed."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def scores(
    model: nn.Module,
    names: Sequence[str],
    importance: str = "l1",
    *,
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The score of each weight of the named layers: float32, shaped as the weight.

    batches, loss: (inputs, targets) and loss(outputs, targets) -> scalar, for "taylor" and "movement". The network runs
        in evaluation mode, its gradients stay as they are; batches with a gradient that is not finite do not count.
    Layers that share one weight have the same scores, from the gradient of all of them.
    Raises EdgelaneError for an unknown importance, and where batches or loss are missing, empty or never finite.
    """
    check_importance(importance)
    shared = layers_by_weight(model, names)
    if importance in BY_GRADIENT:
        if batches is None or loss is None:
            raise EdgelaneError(
                f"importance {importance} follows from gradients: give batches of (inputs, targets) and a "
                "loss(outputs, targets)"
            )
        found = _from_gradients(model, shared, importance, batches, loss)
    else:
        found = {}
        for index, (first, (layer, *_)) in enumerate(shared):
            weight: Any = layer.weight
            if importance == "random":
                drawn = random_scores(weight.shape, seed + index).to(weight.device)
                found[first] = drawn.masked_fill(weight.detach() == 0, 0.0)  # what is pruned stays pruned
            else:
                found[first] = magnitude(weight, importance)
    first_of = {id(layer): first for first, layers in shared for layer in layers}
    return {name: found[first_of[id(model.get_submodule(name))]] for name in names}


def _from_gradients(
    model: nn.Module, shared: list[tuple[str, list[nn.Module]]], importance: str, batches: Iterable[Any], loss: Loss
) -> dict[str, Tensor]:
    stored = [stored_weight(layers[0]) for _, layers in shared]
    masks = [mask_of(layers[0]) for _, layers in shared]
    totals = [torch.zeros(weight.shape, device=weight.device) for weight in stored]
    requires_grad = [weight.requires_grad for weight in stored]
    device = stored[0].device
    counted = skipped = 0
    try:
        for weight in stored:
            weight.requires_grad_(True)
        for batch in batches:
            inputs, targets = _pair(batch, device)
            with evaluating(model), torch.enable_grad():
                value = loss(model(*inputs), targets)
            gradients = torch.autograd.grad(value, stored, allow_unused=True)
            if not all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients):
                skipped += 1
                continue
            counted += 1
            for total, weight, gradient, mask in zip(totals, stored, gradients, masks, strict=True):
                if gradient is not None:
                    effective = weight.detach() if mask is None else mask(weight.detach())
                    total += step_score(effective, gradient, importance)
    finally:
        for weight, required in zip(stored, requires_grad, strict=True):
            weight.requires_grad_(required)
    if counted == 0:
        problem = f"all {skipped} had gradients that are not finite" if skipped else "there were none"
        raise EdgelaneError(f"importance {importance} needs batches: {problem}")
    if importance == "taylor":
        totals = [total / counted for total in totals]
    for total, mask in zip(totals, masks, strict=True):
        if mask is not None and not bool(mask.mask.all()):
            total.masked_fill_(~mask.mask, float(total.min()))  # what is pruned goes first again
    return {first: total for (first, _), total in zip(shared, totals, strict=True)}


def step_score(weight: Tensor, gradient: Tensor, importance: str) -> Tensor:
    """What one batch or step adds to the score "taylor" or "movement"."""
    product = weight.detach().to(torch.float32) * gradient.detach().to(torch.float32)
    return product.square() if importance == "taylor" else -product


def _pair(batch: Any, device: torch.device) -> tuple[tuple[Any, ...], Any]:
    if not isinstance(batch, Sequence) or len(batch) != 2:
        found = f"{len(batch)} values" if isinstance(batch, Sequence) else type(batch).__name__
        raise EdgelaneError(f"a batch is (inputs, targets): found {found}")
    inputs, targets = _to(batch[0], device), _to(batch[1], device)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), targets


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _to(entry, device) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to(entry, device) for entry in value)
    return value
