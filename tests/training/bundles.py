"""Tiny data sets in memory, shaped as edgelane.data's bundles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from edgelane.data.bundle import DataBundle
from edgelane.preprocessing import Preprocessing

CLASSES = ("red", "green", "blue")


@dataclass
class Record:
    label: int


class Colours(Dataset[tuple[Tensor, int]]):
    """Noisy pictures of 16x16 whose brightest channel is their class; a jitter from torch's generator augments them."""

    def __init__(self, count: int, seed: int, augment: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = [index % len(CLASSES) for index in range(count)]
        self.images = torch.randn(count, 3, 16, 16, generator=generator)
        for image, label in zip(self.images, self.labels, strict=True):
            image[label] += 1.0
        self.records = [Record(label) for label in self.labels]
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if self.augment:
            image = image + 0.1 * torch.randn(image.shape)
        return image, self.labels[index]


def bundle(train: int = 48, val: int = 18, test: int = 18) -> DataBundle:
    return DataBundle(
        name="colours",
        task="classification",
        classes=CLASSES,
        train=Colours(train, 1, augment=True),
        val=Colours(val, 2),
        test=Colours(test, 3),
        preprocessing=Preprocessing(16, 16),
        skipped={"corrupt image": 2},
    )


def network(seed: int = 0) -> nn.Module:
    """Small, but with the layers whose state a resume must bring back: BatchNorm's buffers and dropout's generator."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, len(CLASSES)),
    )
