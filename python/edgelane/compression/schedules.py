"""When weights go, and whether they come back: gradual, iterative with rewinding, and dynamic sparse training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from edgelane.compression.patterns import Pattern, spread, unit_scores
from edgelane.errors import EdgelaneError

REWINDS = ("weights", "learning_rate", "none")


@dataclass(frozen=True)
class Gradual:
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
                "gradual pruning needs steps >= 1, begin >= 0, every >= 1 and 0 <= initial < 1, got "
                f"steps={self.steps}, begin={self.begin}, every={self.every}, initial={self.initial}"
            )

    @property
    def last(self) -> int:
        """The step after which the masks stand still."""
        return self.begin + self.steps

    def due(self, step: int) -> bool:
        """Whether the masks move after optimiser step `step`, counted from 1."""
        return step == self.last or (self.begin <= step < self.last and (step - self.begin) % self.every == 0)

    def sparsity_at(self, step: int, final: float) -> float:
        """The share of weights that is removed after `step` optimiser steps."""
        left = 1.0 - min(1.0, max(0.0, (step - self.begin) / self.steps))
        return final + (min(self.initial, final) - final) * left**3


@dataclass(frozen=True)
class Iterative:
    """Rounds of training and pruning, each of which starts again from an early point of the training.

    Training runs for `begin` steps and is remembered there; then come `rounds` rounds of `steps_per_round` steps. At
    the end of round r the share 1 - (1 - final)^(r / rounds) is removed, the same part of what is left in each round.
    Train for another `steps_per_round` after the last one.

    rewind: "weights" sets all parameters and statistics, so the surviving weights too, to their values at step `begin`
        and empties the optimiser's state (Frankle, Dziugaite, Roy and Carbin 2020, "Linear mode connectivity and the
        lottery ticket hypothesis"). "learning_rate" keeps the weights (Renda, Frankle and Carbin 2020, "Comparing
        rewinding and fine-tuning in neural network pruning"). Both rewind the learning rate, where `Pruner` is given
        its scheduler; plan that scheduler for `begin + steps_per_round` steps. "none" goes on as it stands.
    """

    rounds: int
    steps_per_round: int
    rewind: str = "weights"
    begin: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.steps_per_round < 1 or self.begin < 0 or self.rewind not in REWINDS:
            raise EdgelaneError(
                f"iterative pruning needs rounds >= 1, steps_per_round >= 1, begin >= 0 and rewind among "
                f"{', '.join(REWINDS)}, got rounds={self.rounds}, steps_per_round={self.steps_per_round}, "
                f"begin={self.begin}, rewind={self.rewind!r}"
            )

    @property
    def last(self) -> int:
        """The step after which the masks stand still."""
        return self.begin + self.rounds * self.steps_per_round

    def due(self, step: int) -> bool:
        """Whether a round ends after optimiser step `step`, counted from 1."""
        return self.begin < step <= self.last and (step - self.begin) % self.steps_per_round == 0

    def sparsity_at(self, step: int, final: float) -> float:
        """The share of weights that is removed after `step` optimiser steps."""
        done = min(self.rounds, max(0, step - self.begin) // self.steps_per_round)
        return final if done == self.rounds else 1.0 - (1.0 - final) ** (done / self.rounds)


@dataclass(frozen=True)
class RigL:
    """Dynamic sparse training: the sparsity stays, the masks move (Evci, Gale, Menick, Castro and Elsen 2020, "Rigging
    the lottery: making all tickets winners").

    Every `every` optimiser steps before step `steps`, the active blocks of smallest magnitude go, and as many inactive
    ones with the largest gradient come, with weights of zero. Their share of the active blocks at step t is
    share / 2 * (1 + cos(pi * t / steps)). A block that was just removed may come back at once, with its weights.
    Under N:M each group of M keeps its N: at most one weight of a group changes places at a time.
    """

    steps: int
    every: int = 100
    share: float = 0.3

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1 or not 0.0 < self.share <= 1.0:
            raise EdgelaneError(
                "RigL needs steps >= 1, every >= 1 and 0 < share <= 1, got "
                f"steps={self.steps}, every={self.every}, share={self.share}"
            )

    @property
    def last(self) -> int:
        """The step after which the masks stand still."""
        return self.steps - 1

    def due(self, step: int) -> bool:
        """Whether the masks move after optimiser step `step`, counted from 1."""
        return step < self.steps and step % self.every == 0

    def sparsity_at(self, step: int, final: float) -> float:
        """`final`, at every step."""
        return final

    def share_at(self, step: int) -> float:
        """The share of the active blocks that changes places at `step`."""
        return self.share / 2 * (1 + math.cos(math.pi * min(step, self.steps) / self.steps))


Schedule: TypeAlias = "Gradual | Iterative | RigL"


def regrow(mask: Tensor, magnitude: Tensor, gradient: Tensor, share: float, pattern: Pattern) -> Tensor:
    """RigL's next mask: the `share` (rounded down) of the active blocks moves to where the gradient is largest.

    mask, magnitude, gradient: as the weight; the latter two not negative. As many weights are active afterwards as
    before, but where blocks cut by the tensor's edge change places with whole ones.
    """
    if pattern.kind == "n:m":
        return _regrow_n_of_m(mask, magnitude, gradient, share, pattern)
    active = unit_scores(mask, pattern)[0] > 0
    sizes = active.shape
    active = active.flatten()
    count = int(share * int(active.sum()) + 1e-9)
    infinity = torch.tensor(torch.inf, device=mask.device)
    weight = torch.where(active, unit_scores(magnitude, pattern)[0].flatten(), infinity)
    active[torch.argsort(weight, stable=True)[:count]] = False
    growth = torch.where(active, -infinity, unit_scores(gradient, pattern)[0].flatten())
    active[torch.argsort(growth, descending=True, stable=True)[:count]] = True
    return spread(active.reshape(sizes), mask.shape, pattern)


def _regrow_n_of_m(mask: Tensor, magnitude: Tensor, gradient: Tensor, share: float, pattern: Pattern) -> Tensor:
    """In each of the chosen groups one weight goes, and that of those out with the largest gradient comes."""

    def grouped(values: Tensor) -> Tensor:  # [groups, M]
        oc, ic = values.shape[:2]
        return (
            values.reshape(oc, ic // pattern.block_ic, pattern.block_ic, -1)
            .movedim(2, -1)
            .reshape(-1, pattern.block_ic)
        )

    active = grouped(mask).clone()
    infinity = torch.tensor(torch.inf, device=mask.device)
    smallest, place = torch.where(active, grouped(magnitude), infinity).min(1)
    count = min(int(share * int(active.sum()) + 1e-9), active.shape[0])
    chosen = torch.argsort(smallest, stable=True)[:count]
    active[chosen, place[chosen]] = False
    growth = torch.where(active, -infinity, grouped(gradient))[chosen]
    active[chosen, growth.argmax(1)] = True
    oc, ic = mask.shape[:2]
    taps = mask[0, 0].numel()
    back = active.reshape(oc, ic // pattern.block_ic, taps, pattern.block_ic).movedim(-1, 2)
    return back.reshape(mask.shape).contiguous()
