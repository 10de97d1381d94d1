"""The one pass over every photo before training: decode it, check its labels, keep small pixels in memory.

After this pass an epoch reads memory instead of files, and nothing that a file holds can stop it half-way.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgelane.data.photo import Box, Label, Mask, Photo, Skips
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing
from edgelane.tasks import IGNORED

MARGIN = 0.15  # of the box, on each side: a sign's surroundings help to tell what it is
# Training crops are kept this much larger than the network's input, with as much more around the box, so that the
# augmentation's shifts and rotations bring in real surroundings instead of an empty border.
ENLARGE = 1.15
MIN_INSIDE = 0.5  # of a box's area; annotation tools overshoot the border by a little, a wrong label by a lot
CACHE_BYTES = 2 << 30  # of pixels per data set; what does not fit is decoded again each time

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Record:
    """One labelled object: the photo's path, its box in the photo's pixels (None: the whole photo), its class index
    (None: it has a mask).
    """

    path: str
    box: Box | None
    label: int | None


@dataclass
class Item:
    """One item of a data set: a record (classification), a photo's boxes (detection) or its mask, with cached pixels.

    For segmentation `labels` has one entry for each class that the mask shows.
    """

    photo: Photo
    labels: list[Label]
    pixels: Pixels | None  # uint8 [h, w, 3]; None: decode again
    size: tuple[int, int]  # (width, height) of the whole photo
    mask: Mask | None = None  # uint8, of the same height and width as `pixels`; None: no mask, or decode again

    def cached_bytes(self) -> int:
        """What the cached pixels take."""
        return sum(array.nbytes for array in (self.pixels, self.mask) if array is not None)


def crop_region(box: Box | None, size: tuple[int, int], margin: float = MARGIN) -> tuple[int, int, int, int]:
    """The box with `margin` times its size added on each side, in whole pixels inside a photo of `size` (w, h)."""
    if box is None:
        return (0, 0, *size)
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    left, top = max(0, int(np.floor(x0 - dx))), max(0, int(np.floor(y0 - dy)))
    return left, top, min(size[0], int(np.ceil(x1 + dx))), min(size[1], int(np.ceil(y1 + dy)))


def clip_box(box: Box, size: tuple[int, int]) -> Box | str:
    """The box cut to the photo, or the reason why it is no use."""
    x0, y0, x1, y1 = box
    if not all(np.isfinite(box)) or x1 <= x0 or y1 <= y0:
        return "box without area"
    inside = max(0.0, x0), max(0.0, y0), min(float(size[0]), x1), min(float(size[1]), y1)
    width, height = inside[2] - inside[0], inside[3] - inside[1]
    if width <= 0 or height <= 0 or width * height < MIN_INSIDE * (x1 - x0) * (y1 - y0):
        return "box outside the image"
    if width < 1 or height < 1:
        return "box smaller than a pixel"
    return inside


def read_photo(photo: Photo) -> tuple[Image.Image, list[Label]]:
    """The decoded photo and its labels, unchecked. Raises EdgelaneError when it cannot be decoded."""
    opened = photo.open()
    if isinstance(opened, tuple):
        picture, found = opened
        return picture, found if isinstance(found, list) else []
    labels = photo.labels or []
    if photo.relative:
        w, h = opened.size
        labels = [
            Label(entry.label, (entry.box[0] * w, entry.box[1] * h, entry.box[2] * w, entry.box[3] * h))
            for entry in labels
            if entry.box is not None
        ]
    return opened, labels


def read_masked(photo: Photo) -> tuple[Image.Image, Mask]:
    """The decoded photo and its mask, of the same size. Raises EdgelaneError when they cannot be decoded."""
    opened = photo.open()
    if not isinstance(opened, tuple) or isinstance(opened[1], list):
        raise EdgelaneError(f"{photo.path} has no mask")
    picture, mask = opened
    return picture, mask


def resize_mask(mask: Mask, preprocessing: Preprocessing) -> Mask:
    """The mask at the network's size: the class at the middle of each new pixel."""
    size = (preprocessing.width, preprocessing.height)
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


class Decoder:
    """Turns photos into verified items with cached pixels, and counts what it had to skip in `skips`.

    `expected`: about how many items there will be.
    """

    def __init__(self, task: str, preprocessing: Preprocessing, skips: Skips, expected: int) -> None:
        self.task, self.preprocessing, self.skips = task, preprocessing, skips
        height, width = round(preprocessing.height * ENLARGE), round(preprocessing.width * ENLARGE)
        self._enlarged = Preprocessing(height, width, preprocessing.mean, preprocessing.std)
        self._thrifty = expected * height * width * 3 > CACHE_BYTES // 4
        self._budget = CACHE_BYTES
        self.lost: Counter[int] = Counter()  # class index → labels lost with a corrupt photo or a useless box

    def items(self, photos: Iterable[Photo]) -> Iterator[Item]:
        """The items of `photos`, in their order; decoding runs on a few threads, skipping and counting on this one."""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            for photo, (items, skipped) in pool.map(lambda photo: (photo, self._decode(photo)), photos):
                for reason, name in skipped:
                    self.skips.add(reason, name)
                for item in items:
                    if item.cached_bytes() > self._budget:
                        item.pixels = item.mask = None
                    self._budget -= item.cached_bytes()
                self.lost.update(entry.label for entry in photo.labels or [])
                self.lost.subtract(entry.label for item in items for entry in item.labels)
                yield from items

    def _decode_masked(self, photo: Photo) -> tuple[list[Item], list[tuple[str, str]]]:
        try:
            image, mask = read_masked(photo)
        except EdgelaneError as error:
            return [], [("corrupt image or mask", str(error))]
        if mask.shape != (image.height, image.width):
            found = f"{mask.shape[1]}x{mask.shape[0]} for {image.width}x{image.height}"
            return [], [("mask of another size than its image", f"{photo.path}: {found}")]
        labels = [Label(int(value)) for value in np.unique(mask) if value != IGNORED]
        if not labels:
            return [], [("mask without a label", photo.path)]
        pixels = np.asarray(self.preprocessing.resize(image))
        return [Item(photo, labels, pixels, image.size, resize_mask(mask, self.preprocessing))], []

    def _decode(self, photo: Photo) -> tuple[list[Item], list[tuple[str, str]]]:
        if self.task == "segmentation":
            return self._decode_masked(photo)
        try:
            image, labels = read_photo(photo)
        except EdgelaneError as error:
            return [], [("corrupt image", str(error))]
        if photo.declared_size is not None and photo.declared_size != image.size:
            declared, found = ("x".join(map(str, size)) for size in (photo.declared_size, image.size))
            return [], [("image of another size than annotated", f"{photo.path}: annotated {declared}, is {found}")]
        skipped: list[tuple[str, str]] = []
        kept: list[Label] = []
        for entry in labels:
            clipped = None if entry.box is None else clip_box(entry.box, image.size)
            if isinstance(clipped, str):
                skipped.append((clipped, photo.path))
            else:
                kept.append(Label(entry.label, clipped))
        if self.task == "detection":
            if labels and not kept:
                return [], skipped  # an unlabelled photo full of objects would teach that there are none
            return [Item(photo, kept, np.asarray(self.preprocessing.resize(image)), image.size)], skipped
        return [Item(photo, [entry], self._crop(photo, image, entry.box), image.size) for entry in kept], skipped

    def _crop(self, photo: Photo, image: Image.Image, box: Box | None) -> Pixels:
        if photo.split == "train":
            crop, target = image.crop(crop_region(box, image.size, train_margin())), self._enlarged
        else:
            crop, target = image.crop(crop_region(box, image.size)), self.preprocessing
        # In a large data set a crop with fewer pixels than the target stays small: the result is the same, later.
        small = crop.width * crop.height < target.width * target.height
        return np.asarray(crop if small and self._thrifty else target.resize(crop))


def train_margin() -> float:
    """The margin of a training crop, such that its middle 1/ENLARGE shows what a test crop shows."""
    return (ENLARGE * (1 + 2 * MARGIN) - 1) / 2
