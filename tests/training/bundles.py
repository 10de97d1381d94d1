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


SURFACES = ("ground", "road")


class Halves(Dataset[tuple[Tensor, Tensor]]):
    """Noisy pictures of 16x24 whose bright rectangle is road; the first row has no label."""

    task = "segmentation"

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = 0.5 * torch.randn(count, 3, 16, 24, generator=generator)
        self.masks = torch.zeros(count, 16, 24, dtype=torch.int64)
        for index in range(count):
            self.masks[index, 4 + index % 6 :, index % 10 : 14 + index % 10] = 1
        self.images += 2.0 * self.masks[:, None]
        self.masks[:, 0] = 255

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.masks[index]

    def pixel_counts(self, classes: int) -> list[int]:
        return [int((self.masks == label).sum()) for label in range(classes)]


def mask_bundle(train: int = 32, val: int = 8, test: int = 8) -> DataBundle:
    return DataBundle(
        name="halves",
        task="segmentation",
        classes=SURFACES,
        train=Halves(train, 1),
        val=Halves(val, 2),
        test=Halves(test, 3),
        preprocessing=Preprocessing(16, 24),
    )


def mask_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, len(SURFACES), 1)
    )
