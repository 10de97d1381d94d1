"""Batches whose order and random numbers depend on the seed and the epoch alone.

A run that stops and resumes therefore sees exactly what an uninterrupted one sees, without saving the state of any
generator, in the main process and in data workers alike.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from edgelane.errors import EdgelaneError
from edgelane.training.config import TrainingConfig

if TYPE_CHECKING:
    from edgelane.data import DataBundle


def class_weights(labels: Sequence[int], classes: int) -> list[float]:
    """One weight per class, inverse to its count and 1 on average over the items; 0 for a class without an item."""
    return share_weights(np.bincount(np.asarray(labels), minlength=classes).tolist())


def share_weights(counts: Sequence[int]) -> list[float]:
    """`class_weights` from how often each class occurs."""
    present = sum(1 for count in counts if count)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]


def balance(bundle: DataBundle, config: TrainingConfig) -> tuple[list[int], list[float] | None]:
    """The label of each training item for `epoch_batches`, and the weights of the classes in the loss, if any.

    For segmentation a class weighs by its share of the pixels; an item has no one label, so that sampling has nothing
    to choose by: EdgelaneError.
    """
    dataset: Any = bundle.train
    if bundle.task != "segmentation":
        labels = [int(record.label) for record in dataset.records]
        return labels, class_weights(labels, len(bundle.classes)) if config.balance == "loss" else None
    if config.balance == "sampling":
        raise EdgelaneError('balance: "sampling" is for classification; for segmentation take "loss" or "none"')
    labels = [0] * len(dataset)
    return labels, share_weights(dataset.pixel_counts(len(bundle.classes))) if config.balance == "loss" else None


def epoch_batches(
    labels: Sequence[int], config: TrainingConfig, classes: int, epoch: int, rank: int = 0, world: int = 1
) -> list[list[int]]:
    """The item numbers of every batch that process `rank` of `world` trains on in `epoch`.

    Every process gets equally many; where the items do not divide, the first of the order are taken twice. Sizes of
    batches differ by at most one, so that no tiny last one upsets BatchNorm.
    """
    generator = np.random.default_rng([config.seed, epoch])
    if config.balance == "sampling":
        weights = np.asarray(class_weights(labels, classes))[np.asarray(labels)]
        order = generator.choice(len(labels), size=len(labels), p=weights / weights.sum())
    else:
        order = generator.permutation(len(labels))
    share = -(-len(labels) // world)
    own = np.resize(order, share * world)[rank::world]
    return [batch.tolist() for batch in np.array_split(own, -(-share // config.batch_size))]


class TrainLoader:
    """What Lightning iterates over once per epoch.

    Also seeds Python's, numpy's and torch's generators for the epoch, which augmentation and dropout draw from.
    `epoch` is asked when the first batch is fetched, by when a resumed trainer knows it.
    """

    def __init__(
        self,
        dataset: Any,
        labels: Sequence[int],
        config: TrainingConfig,
        classes: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._dataset, self._labels, self._config, self._classes = dataset, labels, config, classes
        self._epoch, self._rank, self._world = epoch, rank, world

    def __len__(self) -> int:
        return len(epoch_batches(self._labels, self._config, self._classes, 0, self._rank, self._world))

    def __iter__(self) -> Iterator[Any]:
        epoch = self._epoch()
        seed = int(np.random.SeedSequence([self._config.seed, epoch, self._rank]).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield from DataLoader(
            self._dataset,
            batch_sampler=epoch_batches(self._labels, self._config, self._classes, epoch, self._rank, self._world),
            num_workers=worker_count(self._config),
            generator=torch.Generator().manual_seed(seed),
            pin_memory=torch.cuda.is_available(),
        )


def validation_loader(dataset: Any, config: TrainingConfig, rank: int = 0, world: int = 1) -> DataLoader[Any]:
    """The items in their order, shared out among the processes; the first ones come twice where they do not divide."""
    own = np.resize(np.arange(len(dataset)), -(-len(dataset) // world) * world)[rank::world]
    batches = [batch.tolist() for batch in np.array_split(own, -(-len(own) // config.batch_size))]
    return DataLoader(
        dataset, batch_sampler=batches, num_workers=worker_count(config), pin_memory=torch.cuda.is_available()
    )


def worker_count(config: TrainingConfig) -> int:
    """Processes that load data beside each training process.

    A GPU leaves the cores to them. On the CPU training itself wants every core, and a few suffice.
    """
    if config.workers is not None:
        return config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(8, cores - 1) if torch.cuda.is_available() else min(4, cores // 4)
