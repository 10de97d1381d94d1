"""Small data sets of valid pictures: what normalisation made of them can be undone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from edgelane.data.bundle import DataBundle
from edgelane.preprocessing import Preprocessing

COLOURS = ("red", "green", "blue")
PREPROCESSING = Preprocessing(16, 16)


def coloured(count: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """Grey noise uint8 [count, 16, 16, 3] in which one channel is brighter, and which one."""
    rng = np.random.default_rng(seed)
    labels = [index % 3 for index in range(count)]
    pictures = rng.integers(60, 120, (count, 16, 16, 3), dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[..., label] += 100
    return pictures, labels


class Colours(Dataset[tuple[Tensor, int]]):
    """Pictures whose brightest channel is their class."""

    task = "classification"

    def __init__(self, count: int, seed: int) -> None:
        self.pictures, self.labels = coloured(count, seed)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(PREPROCESSING.apply(self.pictures[index])), self.labels[index]


class Fields(Colours):
    """The same pictures, their left half labelled by the bright channel's class and the right half as unknown."""

    task = "segmentation"

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        mask = torch.full((16, 16), 255, dtype=torch.int64)
        mask[:, :8] = self.labels[index]
        return super().__getitem__(index)[0], mask


def bundle(kind: type[Colours] = Colours, test: int = 30) -> DataBundle:
    sets = [kind(count, seed) for seed, count in enumerate((6, 6, test))]
    return DataBundle("colours", kind.task, COLOURS, *sets, preprocessing=PREPROCESSING)


class Brightest(nn.Module):
    """Knows the class by the mean of each channel; `bias` [3] makes it prefer some. Scores [n, 3] or [n, 3, h, w]."""

    def __init__(self, bias: tuple[float, float, float] = (0.0, 0.0, 0.0), masks: bool = False) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.masks = masks
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(3)[:, :, None, None])
            self.mix.bias.copy_(torch.tensor(bias))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.mix(x)
        return scores if self.masks else scores.mean((2, 3))
