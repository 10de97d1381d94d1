"""`load`: from a name or a folder to a verified, split DataBundle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from edgelane.data.bundle import DataBundle
from edgelane.data.decode import Decoder, Item
from edgelane.data.photo import Index, Photo
from edgelane.data.split import SHARES, assign, fraction
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing

TASKS = ("classification", "detection", "segmentation")
LIMITED_BATCH = 8  # photos decoded at once until a limit is reached


def load(
    source: str,
    *,
    task: str = "classification",
    image_size: int | tuple[int, int] = 96,
    seed: int = 0,
    limit: int | None = None,
    flip: bool = False,
) -> DataBundle:
    """Read, verify and split a data set.

    `source`: "scenes", "road_signs", "carla", "mnist", "cifar10", "gtsrb", "kitti", or a folder of class folders,
    Pascal VOC, YOLO text or COCO JSON, or for segmentation of images/, masks/ (PNG of class indices, 255 for unknown)
    and classes.txt. `task`: "classification" (a labelled box becomes a crop with 15 % margin), "detection" or
    "segmentation". `image_size`: pixels, one number or (height, width). `seed`: which scenes are rendered; the split
    never depends on it. `limit`: at most this many items in all three splits together. `flip`: mirror training items at
    random, which changes the meaning of some signs.

    Every picture is decoded once here; scenes, which never change, are kept for the next call. What is damaged or makes
    no sense is left out and counted in `skipped`.
    Raises EdgelaneError when the source is unknown or absent, or when a split has nothing left.
    """
    if task not in TASKS:
        raise EdgelaneError(f'task must be one of {", ".join(TASKS)}, found "{task}"')
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    preprocessing = Preprocessing(height, width)
    if limit is not None and limit < len(SHARES):
        raise EdgelaneError(f"limit must be at least {len(SHARES)} (one item per split), found {limit}")

    if source == "scenes":
        return replace(_rendered(task, preprocessing, seed, limit, flip))
    return _load(str(source), task, preprocessing, seed, limit, flip)


@lru_cache(maxsize=1)
def _rendered(task: str, preprocessing: Preprocessing, seed: int, limit: int | None, flip: bool) -> DataBundle:
    """Rendering all scenes takes as long as several epochs, and each verb of a chain loads its data anew."""
    return _load("scenes", task, preprocessing, seed, limit, flip)


def _load(source: str, task: str, preprocessing: Preprocessing, seed: int, limit: int | None, flip: bool) -> DataBundle:
    from edgelane.data.catalog import find_index

    index = find_index(source, task=task, seed=seed, limit=limit)
    if task == "classification":
        # A photo without an object gives no crop.
        index.photos = [photo for photo in index.photos if photo.labels is None or photo.labels]
    if not index.photos:
        raise EdgelaneError(f"{source}: nothing to load for {task}; {index.skips.describe()}")
    assign(index.photos, source)
    quotas = _quotas(limit)
    expected = limit or sum(len(photo.labels or [0]) for photo in index.photos)
    decoder = Decoder(task, preprocessing, index.skips, expected)
    splits: dict[str, list[Item]] = {}
    for split, quota in quotas.items():
        photos = [photo for photo in index.photos if photo.split == split]
        splits[split] = _collect(decoder, photos, quota)
    classes = _drop_empty_classes(index, decoder, splits)
    for name in classes:
        if classes.count(name) > 1:
            raise EdgelaneError(f"{source}: two classes are called {name!r}; give each its own name")
    for split, items in splits.items():
        if not any(item.labels for item in items):
            raise EdgelaneError(f"{source}: nothing is left in the {split} split; {index.skips.describe()}")
    return _bundle(index, task, classes, splits, preprocessing, flip)


def _bundle(
    index: Index,
    task: str,
    classes: tuple[str, ...],
    splits: dict[str, list[Item]],
    preprocessing: Preprocessing,
    flip: bool,
) -> DataBundle:
    from edgelane.data import datasets

    if task == "classification":
        augment, kind = datasets.classification_augmentation(preprocessing, flip), datasets.ClassificationDataset
    elif task == "segmentation":
        augment, kind = datasets.segmentation_augmentation(preprocessing, flip), datasets.SegmentationDataset
    else:
        augment, kind = datasets.detection_augmentation(preprocessing, flip), datasets.DetectionDataset
    return DataBundle(
        name=index.name,
        task=task,
        classes=classes,
        train=kind(splits["train"], preprocessing, augment),
        val=kind(splits["val"], preprocessing, None),
        test=kind(splits["test"], preprocessing, None),
        preprocessing=preprocessing,
        skipped=dict(index.skips.counts),
        skipped_examples={reason: list(names) for reason, names in index.skips.examples.items()},
    )


def _quotas(limit: int | None) -> dict[str, int | None]:
    if limit is None:
        return dict.fromkeys(SHARES)
    quotas: dict[str, int | None] = {s: max(1, round(limit * SHARES[s])) for s in ("val", "test")}
    return {"train": limit - sum(quota or 0 for quota in quotas.values()), **quotas}


def _collect(decoder: Decoder, photos: list[Photo], quota: int | None) -> list[Item]:
    """The items of all `photos`, or the first `quota` items: each class's first photo, then the order of a hash."""
    if quota is None:
        return list(decoder.items(photos))
    seen: set[int] = set()
    front: list[Photo] = []
    rest: list[Photo] = []
    for photo in sorted(photos, key=lambda photo: (fraction(photo.path, "limit"), photo.path)):
        new = {entry.label for entry in photo.labels or []} - seen
        seen |= new
        (front if new else rest).append(photo)
    ordered, items = front + rest, list[Item]()
    for start in range(0, len(ordered), LIMITED_BATCH):
        if len(items) >= quota:
            break
        items += decoder.items(ordered[start : start + LIMITED_BATCH])
    return items[:quota]


def _drop_empty_classes(index: Index, decoder: Decoder, splits: dict[str, list[Item]]) -> tuple[str, ...]:
    """Leave out the classes without one usable object, count them, and renumber the labels of the items.

    A class that only `limit` left without objects stays, so that class numbers do not depend on it.
    """
    if any(photo.labels is None for photo in index.photos):
        return tuple(index.classes)  # a renderer's classes are fixed
    counts = Counter(entry.label for photo in index.photos for entry in photo.labels or [])
    counts.subtract(decoder.lost)
    kept = [label for label in range(len(index.classes)) if counts[label] > 0]
    for label, name in enumerate(index.classes):
        if label not in kept:
            index.skips.add("empty class", name)
    renumbered = {old: new for new, old in enumerate(kept)}
    for item in (item for items in splits.values() for item in items):
        item.labels = [replace(entry, label=renumbered[entry.label]) for entry in item.labels]
    return tuple(index.classes[label] for label in kept)
