"""Moves masks along their schedule, behind the optimiser's own steps."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from edgelane.compression.allocation import global_shares
from edgelane.compression.importance import BY_GRADIENT, magnitude, random_scores, step_score
from edgelane.compression.masks import Mask, masked_layers, stored_weight
from edgelane.compression.patterns import keep_mask
from edgelane.compression.schedules import Iterative, RigL, regrow
from edgelane.errors import EdgelaneError


@dataclass
class _Weight:
    """One masked weight, the layer that shows it, and what its gradients have said so far."""

    layer: Any
    mask: Mask
    score: Tensor | None = None
    gradient: Tensor | None = None  # RigL's, of the step at which masks move

    @property
    def stored(self) -> nn.Parameter:
        return stored_weight(self.layer)

    def effective(self) -> Tensor:
        return self.mask(self.stored.detach())  # type: ignore[no-any-return]


class Pruner:
    """Moves the masks of a model along the schedule that `prune_model` gave them.

    With an `optimizer` it follows `optimizer.step()` by itself, so that the training loop stays as it is: accumulated
    batches count once, steps that a GradScaler skips do not count. Without one, call `step()` after each optimiser
    step; that does for `Gradual` and `Iterative(rewind="none")` by magnitude or at random, since everything else needs
    gradients or the optimiser's state. `scheduler` is the learning rate's, which `Iterative` rewinds.

    Under DDP every process makes its own Pruner; the scores are averaged over the processes, so the masks are the same.
    Momentum and other state of the optimiser is cleared where a mask closes or opens. At the steps for which RigL and
    movement need them, gradients of masked weights stand in `grad` until the optimiser steps, so that clipping by norm
    counts them.
    Raises EdgelaneError when the model has no mask with a schedule, several schedules, or when the optimiser is missing
    or holds none of the masked weights.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, scheduler: Any | None = None
    ) -> None:
        found = {id(mask): _Weight(layer, mask) for _, layer, mask in masked_layers(model) if mask.schedule is not None}
        self._weights = list(found.values())
        if not self._weights:
            raise EdgelaneError(
                "the model has no masks that move: call prune_model with schedule=Gradual(steps=...) first"
            )
        schedules = {weight.mask.schedule for weight in self._weights}
        if len(schedules) > 1:
            raise EdgelaneError(
                f"the masks of a model follow one schedule, found {len(schedules)}: prune it in one call"
            )
        schedule = schedules.pop()
        assert schedule is not None
        self.schedule = schedule
        self.steps = 0
        self._model = model
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._skipped = False
        self._remembered: dict[str, Any] | None = None
        self._check()
        self._hooks: list[Any] = []
        if optimizer is not None:
            self._hooks.append(optimizer.register_step_pre_hook(self._before))
            self._hooks.append(optimizer.register_step_post_hook(self._after))
        if isinstance(schedule, Iterative) and schedule.begin == 0:
            self._remember()
        self._ask_for_gradients()

    def _check(self) -> None:
        rewind = self.schedule.rewind if isinstance(self.schedule, Iterative) else "none"
        by_gradient = next((w.mask.importance for w in self._weights if w.mask.importance in BY_GRADIENT), None)
        if self._optimizer is None:
            need = "RigL" if isinstance(self.schedule, RigL) else by_gradient and f"importance {by_gradient}"
            need = f"rewind={rewind!r}" if rewind != "none" else need
            if need:
                raise EdgelaneError(f"{need} needs the optimiser: Pruner(model, optimizer)")
            return
        held = {id(parameter) for group in self._optimizer.param_groups for parameter in group["params"]}
        if not any(id(weight.stored) in held for weight in self._weights):
            raise EdgelaneError(
                "the optimiser holds none of the masked weights: make it from what prune_model returned"
            )
        if rewind == "learning_rate" and self._scheduler is None:
            raise EdgelaneError("rewind='learning_rate' needs the scheduler: Pruner(model, optimizer, scheduler)")

    @property
    def sparsity(self) -> float:
        """The share of weights that the schedule asks for now (the largest over the layers)."""
        return max(self.schedule.sparsity_at(self.steps, weight.mask.sparsity) for weight in self._weights)

    @property
    def finished(self) -> bool:
        """Whether the masks stand still from now on."""
        return self.steps >= self.schedule.last

    def step(self) -> None:
        """Count one optimiser step and move the masks that are due. Raises EdgelaneError when the optimiser does it."""
        if self._optimizer is not None:
            raise EdgelaneError("this Pruner follows its optimiser: leave step() out")
        self._advance()

    def finish(self) -> None:
        """Bring every mask to its final sparsity at once, where training ended before the schedule did."""
        if not self.finished:
            self.steps = self.schedule.last
            if not isinstance(self.schedule, RigL):
                self._prune()
            self._ask_for_gradients()

    def remove(self) -> None:
        """Follow the optimiser no longer; the masks stay as they are."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for weight in self._weights:
            weight.mask.dense_gradient = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs, as tensors and plain values; the masks themselves are in the model's
        state_dict.
        """
        return {
            "steps": self.steps,
            "scores": [None if weight.score is None else weight.score.clone() for weight in self._weights],
            "remembered": self._remembered,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises EdgelaneError when it belongs to another model."""
        scores = state["scores"]
        shapes = [None if score is None else score.shape for score in scores]
        fits = len(scores) == len(self._weights) and all(
            shape in (None, weight.mask.mask.shape) for shape, weight in zip(shapes, self._weights, strict=True)
        )
        if not fits:
            raise EdgelaneError(
                f"the state belongs to another model: expected {len(self._weights)} masked weights, "
                f"found {len(scores)} or other shapes"
            )
        self.steps = int(state["steps"])
        for weight, score in zip(self._weights, scores, strict=True):
            weight.score = None if score is None else score.to(weight.stored.device, copy=True)
        self._remembered = copy.deepcopy(state["remembered"])
        self._ask_for_gradients()

    # What happens around a step of the optimiser.

    def _before(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Look at the gradients; where the optimiser gets a closure that computes them, after it."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._read_gradients()
            return None

        def and_read() -> Any:
            result = closure()
            self._read_gradients()
            return result

        if len(args) > 1:
            return (args[0], and_read, *args[2:]), kwargs
        return args, {**kwargs, "closure": and_read}

    def _read_gradients(self) -> None:
        # Fused optimisers are called even for a step that they skip, with gradients that still carry the scale.
        found_inf = getattr(self._optimizer, "found_inf", None)
        self._skipped = found_inf is not None and bool(found_inf.item())
        if self._skipped:
            return
        scale = getattr(self._optimizer, "grad_scale", None)
        for weight in self._weights:
            stored, mask = weight.stored, weight.mask
            by_gradient = mask.importance in BY_GRADIENT and not isinstance(self.schedule, RigL)
            if stored.grad is None or not (mask.dense_gradient or (by_gradient and not self.finished)):
                continue
            gradient = stored.grad.detach().to(torch.float32)
            if scale is not None:
                gradient = gradient / scale.to(gradient.device)
            if not by_gradient:
                weight.gradient = gradient.abs().nan_to_num(0.0, 0.0, 0.0)
            else:
                seen = stored if mask.importance == "movement" else weight.effective()
                score = step_score(seen, gradient, mask.importance).nan_to_num(0.0, 0.0, 0.0)
                weight.score = score if weight.score is None else weight.score.add_(score)
            if mask.dense_gradient:  # the optimiser must not see it
                stored.grad.masked_fill_(~mask.mask, 0.0)

    def _after(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._skipped:
            self._skipped = False
        else:
            self._advance()

    @torch.no_grad()
    def _advance(self) -> None:
        self.steps += 1
        schedule = self.schedule
        if schedule.due(self.steps):
            if isinstance(schedule, RigL):
                self._regrow(schedule.share_at(self.steps))
            else:
                self._prune()
                self._rewind()
        if isinstance(schedule, Iterative) and self.steps == schedule.begin:
            self._remember()
        self._ask_for_gradients()

    def _ask_for_gradients(self) -> None:
        """Let backward fill in the gradients of masked weights where the next step needs them."""
        for weight in self._weights:
            if isinstance(self.schedule, RigL):
                wanted = self.schedule.due(self.steps + 1)
            else:
                wanted = weight.mask.importance == "movement" and not self.finished
            weight.mask.dense_gradient = wanted

    # How masks move.

    @torch.no_grad()
    def _prune(self) -> None:
        scores = {str(index): self._scores(weight, index) for index, weight in enumerate(self._weights)}
        shares = {
            str(index): self.schedule.sparsity_at(self.steps, weight.mask.sparsity)
            for index, weight in enumerate(self._weights)
        }
        overall = [key for key, weight in zip(scores, self._weights, strict=True) if weight.mask.allocation == "global"]
        if overall:
            first = self._weights[int(overall[0])].mask
            shares |= global_shares(
                {key: scores[key] for key in overall}, shares[overall[0]], first.pattern, first.importance
            )
        for key, weight in zip(scores, self._weights, strict=True):
            mask = weight.mask
            new = keep_mask(scores[key], shares[key], mask.pattern)
            self._move(weight, new if mask.may_return else new & mask.mask)
            if mask.importance == "taylor" or isinstance(self.schedule, Iterative):
                weight.score = None

    def _scores(self, weight: _Weight, index: int) -> Tensor:
        mask = weight.mask
        if mask.importance in BY_GRADIENT and weight.score is not None:
            score = weight.score
        elif mask.importance == "random":
            score = random_scores(mask.mask.shape, mask.seed + index).to(mask.mask.device)
        else:
            score = magnitude(weight.effective(), mask.importance)
        score = _mean_over_processes(score)
        if not mask.may_return:  # what is gone goes first again
            score = score.masked_fill(~mask.mask, min(float(score.min()), 0.0) - 1.0)
        return score

    def _regrow(self, share: float) -> None:
        for weight in self._weights:
            if weight.gradient is None:
                continue
            gradient = _mean_over_processes(weight.gradient)
            mask = weight.mask
            self._move(weight, regrow(mask.mask, weight.effective().abs(), gradient, share, mask.pattern))
            weight.gradient = None

    def _move(self, weight: _Weight, new: Tensor) -> None:
        """Set the mask; clear the optimiser's state where it changed, and the weight where it must start at zero."""
        changed = weight.mask.mask ^ new
        stored = weight.stored
        if not weight.mask.may_return:
            stored.masked_fill_(changed, 0.0)
        weight.mask.mask.copy_(new)
        if self._optimizer is not None:
            for value in self._optimizer.state.get(stored, {}).values():
                if isinstance(value, Tensor) and value.shape == stored.shape:
                    value.masked_fill_(changed, 0.0)

    # Rewinding.

    def _tensors(self) -> list[Tensor]:
        masks = {id(weight.mask.mask) for weight in self._weights}
        buffers = [buffer for buffer in self._model.buffers() if id(buffer) not in masks]
        return [*self._model.parameters(), *buffers]

    @torch.no_grad()
    def _remember(self) -> None:
        assert isinstance(self.schedule, Iterative)
        if self.schedule.rewind == "none":
            return
        weights = self.schedule.rewind == "weights"
        optimizer, scheduler = self._optimizer, self._scheduler
        assert optimizer is not None
        self._remembered = {
            "tensors": [tensor.detach().clone() for tensor in self._tensors()] if weights else None,
            "rates": [float(group["lr"]) for group in optimizer.param_groups],
            "scheduler": None if scheduler is None else copy.deepcopy(scheduler.state_dict()),
        }

    def _rewind(self) -> None:
        if self._remembered is None or self._optimizer is None:
            return
        if self._remembered["tensors"] is not None:
            for tensor, value in zip(self._tensors(), self._remembered["tensors"], strict=True):
                tensor.copy_(value)
            for weight in self._weights:
                weight.stored.masked_fill_(~weight.mask.mask, 0.0)
            self._optimizer.state.clear()
        if self._scheduler is not None:
            self._scheduler.load_state_dict(copy.deepcopy(self._remembered["scheduler"]))
            for group, rate in zip(self._optimizer.param_groups, self._remembered["rates"], strict=True):
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate


def _mean_over_processes(values: Tensor) -> Tensor:
    """The mean of each process's values, where there are several."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
