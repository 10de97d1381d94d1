"""The torch data sets over verified items: augmented for training, plain preprocessing for val and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from edgelane.data.decode import (
    ENLARGE,
    Item,
    Pixels,
    Record,
    crop_region,
    read_masked,
    read_photo,
    resize_mask,
    train_margin,
)
from edgelane.data.photo import Mask
from edgelane.preprocessing import Preprocessing
from edgelane.tasks import IGNORED

MIN_BOX_PIXELS = 2.0  # an augmented box smaller than this is no longer an example of its class


class PhotoDataset(Dataset[Any]):
    """What all tasks share: the items, and the way back to the pictures behind them."""

    def __init__(self, items: Sequence[Item], preprocessing: Preprocessing, augment: Any | None) -> None:
        self._items = list(items)
        self.preprocessing = preprocessing
        self._augment = augment

    def __len__(self) -> int:
        return len(self._items)

    @property
    def labels(self) -> list[int]:
        """The class index of every object, in the order of the items."""
        return [label for item in self.item_labels for label in item]

    @property
    def item_labels(self) -> list[list[int]]:
        """The class indices of each item's objects."""
        return [[entry.label for entry in item.labels] for item in self._items]

    def photo(self, index: int) -> Image.Image:
        """The whole picture behind item `index`, RGB, decoded anew."""
        return read_photo(self._items[index].photo)[0]


class ClassificationDataset(PhotoDataset):
    """Items (float32 [3, h, w], int label). `records[i]` says where item i comes from, `image(i)` is its plain crop."""

    task = "classification"

    def __init__(self, items: Sequence[Item], preprocessing: Preprocessing, augment: Any | None) -> None:
        super().__init__(items, preprocessing, augment)
        self.records = [Record(item.photo.path, item.labels[0].box, item.labels[0].label) for item in self._items]

    def image(self, index: int, margin: float | None = None) -> Image.Image:
        """The crop of item `index`: box and 15 % margin (or `margin`), RGB, neither resized nor normalised."""
        photo, box = self.photo(index), self.records[index].box
        return photo.crop(crop_region(box, photo.size) if margin is None else crop_region(box, photo.size, margin))

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item = self._items[index]
        if self._augment is None:
            pixels = self.image(index) if item.pixels is None else Image.fromarray(item.pixels)
            return torch.from_numpy(self.preprocessing.apply(pixels)), item.labels[0].label
        pixels = np.asarray(self.image(index, train_margin())) if item.pixels is None else item.pixels
        return self._augment(_to_tensor(pixels)), item.labels[0].label


class DetectionDataset(PhotoDataset):
    """Items (float32 [3, h, w], {"boxes": float32 [n, 4] x0 y0 x1 y1 in input pixels, "labels": int64 [n]})."""

    task = "detection"

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        item = self._items[index]
        pixels = item.pixels
        if pixels is None:
            pixels = np.asarray(self.preprocessing.resize(self.photo(index)))
        height, width = self.preprocessing.height, self.preprocessing.width
        scale = np.array([width / item.size[0], height / item.size[1]] * 2)
        boxes = np.array([entry.box for entry in item.labels], dtype=np.float64).reshape(-1, 4) * scale
        target = {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.tensor([entry.label for entry in item.labels], dtype=torch.int64),
        }
        if self._augment is None:
            return torch.from_numpy(self.preprocessing.apply(pixels)), target
        target["boxes"] = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=(height, width))  # type: ignore[arg-type]
        image, target = self._augment(tv_tensors.Image(_to_tensor(pixels)), target)
        return image.as_subclass(Tensor), {name: value.as_subclass(Tensor) for name, value in target.items()}


class SegmentationDataset(PhotoDataset):
    """Items (float32 [3, h, w], int64 [h, w] of class indices, 255 where nothing is known).

    `records[i]` says where item i comes from, `image(i)` and `mask(i)` are its picture and its mask as they lie there.
    """

    task = "segmentation"

    def __init__(self, items: Sequence[Item], preprocessing: Preprocessing, augment: Any | None) -> None:
        super().__init__(items, preprocessing, augment)
        self.records = [Record(item.photo.path, None, None) for item in self._items]

    def image(self, index: int) -> Image.Image:
        """The whole picture of item `index`, RGB, neither resized nor normalised."""
        return self.photo(index)

    def mask(self, index: int) -> Mask:
        """uint8 [h, w]: the mask of item `index` at the size of its picture."""
        return read_masked(self._items[index].photo)[1]

    def pixel_counts(self, classes: int) -> list[int]:
        """How many pixels of each class the items show, at the network's size and without augmentation."""
        counts = np.zeros(IGNORED + 1, dtype=np.int64)
        for item in self._items:
            counts += np.bincount(self._arrays(item)[1].ravel(), minlength=len(counts))
        return [int(count) for count in counts[:classes]]

    def _arrays(self, item: Item) -> tuple[Pixels, Mask]:
        """Pixels and mask at the network's size."""
        if item.pixels is not None and item.mask is not None:
            return item.pixels, item.mask
        image, mask = read_masked(item.photo)
        return np.asarray(self.preprocessing.resize(image)), resize_mask(mask, self.preprocessing)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels, mask = self._arrays(self._items[index])
        target = torch.from_numpy(mask.astype(np.int64))
        if self._augment is None:
            return torch.from_numpy(self.preprocessing.apply(pixels)), target
        image, target = self._augment(tv_tensors.Image(_to_tensor(pixels)), tv_tensors.Mask(target))
        return image.as_subclass(Tensor), target.as_subclass(Tensor)


def _to_tensor(pixels: Pixels) -> Tensor:
    # A copy: the cached array is read-only, and torch has no read-only tensors.
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def classification_augmentation(preprocessing: Preprocessing, flip: bool) -> Any:
    """uint8 [3, H, W] to float32 [3, h, w]: small shifts, turns and colour changes that leave a sign its meaning."""
    size = (preprocessing.height, preprocessing.width)
    enlarged = (round(size[0] * ENLARGE), round(size[1] * ENLARGE))
    middle = [int(value) for value in 255 * np.array(preprocessing.mean)]
    steps: list[Any] = [
        v2.Resize(enlarged, antialias=True),
        v2.RandomAffine(degrees=7, scale=(0.9, 1.1), shear=4, interpolation=v2.InterpolationMode.BILINEAR, fill=middle),
        v2.RandomCrop(size),
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
    ]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, *_normalise(preprocessing)])


def detection_augmentation(preprocessing: Preprocessing, flip: bool) -> Any:
    """(uint8 Image, target) to (float32, target): boxes follow the pixels, those pushed out are dropped."""
    middle = [int(value) for value in 255 * np.array(preprocessing.mean)]
    steps: list[Any] = [
        v2.RandomAffine(
            degrees=0,
            translate=(0.08, 0.08),
            scale=(0.9, 1.2),
            interpolation=v2.InterpolationMode.BILINEAR,
            fill={tv_tensors.Image: middle},
        ),
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        v2.SanitizeBoundingBoxes(min_size=MIN_BOX_PIXELS),
    ]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, *_normalise(preprocessing)])


def segmentation_augmentation(preprocessing: Preprocessing, flip: bool) -> Any:
    """(uint8 Image, int64 Mask) to (float32, int64): the mask follows the pixels, and is 255 where none came from."""
    middle = [int(value) for value in 255 * np.array(preprocessing.mean)]
    steps: list[Any] = [
        v2.RandomAffine(
            degrees=3,
            translate=(0.08, 0.08),
            scale=(0.9, 1.3),
            interpolation=v2.InterpolationMode.BILINEAR,
            fill={tv_tensors.Image: middle, tv_tensors.Mask: IGNORED},
        ),
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
    ]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, *_normalise(preprocessing)])


def _normalise(preprocessing: Preprocessing) -> list[Any]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(preprocessing.mean), list(preprocessing.std))]
