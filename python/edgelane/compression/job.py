"""What one call of `compress` works on: the trained network, its data, the recipe, and how networks are judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgelane.compression.recipe import Recipe
from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from edgelane.checkpoint import Checkpoint
    from edgelane.data import DataBundle

BATCH = 32


@dataclass
class Job:
    """`before`: the network as RUN/model.pt holds it. `folder`: where training keeps its state. `say` gets one line
    for each step.
    """

    run: Path
    recipe: Recipe
    checkpoint: Checkpoint
    bundle: DataBundle
    before: nn.Module
    say: Callable[[str], object]
    _judged: list[tuple[nn.Module, str, dict[str, Any]]] = field(default_factory=list)

    @classmethod
    def open(cls, run: Path, recipe: Recipe, data: str | None, say: Callable[[str], object]) -> Job:
        """Read RUN/model.pt and its data. Raises EdgelaneError for a missing or damaged run, or data of others."""
        from edgelane.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(run / "model.pt")
        before = checkpoint.build()
        return cls(run, recipe, checkpoint, _load_data(checkpoint, data), before, say)

    @property
    def folder(self) -> Path:
        """RUN/compress: logs, checkpoints and the state that a stopped run goes on from."""
        return self.run / "compress"

    @property
    def first_stage(self) -> str:
        """What the network before compression is called."""
        return "dense" if self.checkpoint.kind == "float" else "before"

    @property
    def example(self) -> Tensor:
        """A picture of the network's size."""
        return torch.zeros(1, 3, self.checkpoint.preprocessing.height, self.checkpoint.preprocessing.width)

    def judge(self, model: nn.Module, split: str) -> dict[str, Any]:
        """The task's metrics of `model` on "val" or "test"."""
        from edgelane.training import evaluate, predictor

        return evaluate(predictor(model), getattr(self.bundle, split), self.bundle.classes).to_dict()

    def judge_once(self, model: nn.Module, split: str) -> dict[str, Any]:
        """The same for a network that changes no more and is asked for several times."""
        known = next((found for other, place, found in self._judged if other is model and place == split), None)
        if known is None:
            known = self.judge(model, split)
            self._judged.append((model, split, known))
        return known

    def calibration_batches(self) -> Iterator[Tensor]:
        """The recipe's number of training images, chosen by its seed, as the network sees them in deployment: without
        augmentation.
        """
        count = self.recipe.quantize.images if self.recipe.quantize is not None else 256
        yield from plain_batches(self.bundle, count, self.recipe.seed)

    def labelled_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`count` training items, chosen by the seed, with their targets, as training sees them."""
        order = _order(self.bundle, count, self.recipe.seed)
        for start in range(0, len(order), BATCH):
            items = [self.bundle.train[index] for index in order[start : start + BATCH]]
            yield torch.stack([image for image, _ in items]), torch.stack([torch.as_tensor(y) for _, y in items])

    def identity(self, stage: str, settings: Mapping[str, Any]) -> str:
        """A digest of everything that the training of `stage` follows from: a stopped one with the same goes on."""
        facts = {
            "stage": stage,
            "settings": settings,
            "seed": self.recipe.seed,
            "data": self.bundle.name,
            "weights": _digest(self.before.state_dict()),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plain_batches(bundle: DataBundle, count: int, seed: int) -> Iterator[Tensor]:
    """`count` training images, chosen by `seed`, through the preprocessing alone, in batches [n, 3, h, w]."""
    order = _order(bundle, count, seed)
    train: Any = bundle.train
    for start in range(0, len(order), BATCH):
        images = [train.image(index) for index in order[start : start + BATCH]]
        yield torch.stack([torch.from_numpy(bundle.preprocessing.apply(image)) for image in images])


def _order(bundle: DataBundle, count: int, seed: int) -> list[int]:
    length = len(bundle.train)  # type: ignore[arg-type]
    order: list[int] = torch.randperm(length, generator=torch.Generator().manual_seed(seed))[:count].tolist()
    return order


def _digest(state: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for key in sorted(state):
        total.update(key.encode())
        total.update(state[key].detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _load_data(checkpoint: Checkpoint, data: str | None) -> DataBundle:
    from edgelane.data import load

    if data is None:
        bundle = checkpoint.load_data()
    else:
        size = (checkpoint.preprocessing.height, checkpoint.preprocessing.width)
        bundle = load(data, task=checkpoint.task, image_size=size)
    if bundle.classes != checkpoint.classes:
        raise EdgelaneError(
            f"{bundle.name} has the classes {', '.join(bundle.classes)}; "
            f"the run was trained on {', '.join(checkpoint.classes)}"
        )
    return bundle
