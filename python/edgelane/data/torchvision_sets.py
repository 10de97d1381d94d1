"""MNIST, CIFAR-10, GTSRB and KITTI through torchvision, which knows where they are and how to check them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from edgelane.data.catalog import data_folders
from edgelane.data.photo import Index, Label, Photo, Skips
from edgelane.errors import EdgelaneError

DOWNLOAD_TIMEOUT_S = (
    30.0  # per connection; torchvision sets none, and a network that drops packets would hang for minutes
)

# What the numbers of the German Traffic Sign Recognition Benchmark stand for.
GTSRB_CLASSES = (
    "limit_20", "limit_30", "limit_50", "limit_60", "limit_70", "limit_80", "limit_80_ends", "limit_100",
    "limit_120", "no_overtaking", "no_overtaking_lorries", "priority_at_crossing", "priority_road", "yield", "stop",
    "no_vehicles", "no_lorries", "no_entry", "danger", "bend_left", "bend_right", "double_bend", "bumpy_road",
    "slippery_road", "narrow_right", "road_works", "traffic_lights", "pedestrians", "children", "bicycles", "ice",
    "animals", "limits_end", "turn_right", "turn_left", "straight", "straight_or_right", "straight_or_left",
    "keep_right", "keep_left", "roundabout", "no_overtaking_ends", "no_overtaking_lorries_ends",
)  # fmt: skip
KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class _Source:
    """`marker`: a folder that exists below the root once the set is there. `files`: what a user has to put there."""

    marker: str
    files: str
    read: Callable[[Path, bool], Index]  # (root, download)


def read(name: str, task: str) -> Index:
    """The index of a torchvision data set, downloaded on first use.

    It is looked for in the data folders and in the cache, to which it is downloaded otherwise.
    Raises EdgelaneError when it has no boxes for a detection task, is damaged, or cannot be downloaded.
    """
    source = _SOURCES[name]
    if task == "detection" and name != "kitti":
        raise EdgelaneError(f"{name} has classes but no boxes: it can train a classifier, not a detector")
    cache = cache_folder()
    for root in (*data_folders(), cache):
        if (root / source.marker).is_dir():
            try:
                return source.read(root, False)
            except Exception as error:  # torchvision raises whatever its parsers happen to raise
                raise EdgelaneError(
                    f"{name} in {root / source.marker} is incomplete or damaged ({_one_line(error)}): "
                    f"expected {source.files}; complete it, or delete the folder to download it again"
                ) from error
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return source.read(cache, True)
    except Exception as error:  # no network, no such host, a wrong checksum, a full disk
        raise EdgelaneError(
            f"{name} could not be downloaded ({_one_line(error)}): put {source.files} into {cache / source.marker}, "
            f"or into {source.marker} below the folder that EDGELANE_DATA names"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def cache_folder() -> Path:
    """Where downloads go: $XDG_CACHE_HOME/edgelane, or ~/.cache/edgelane."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgelane"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read_arrays(kind: str, classes: tuple[str, ...], root: Path, download: bool) -> Index:
    from torchvision import datasets

    index = Index(kind.lower(), list(classes), [])
    for split, train in (("train", True), ("test", False)):
        dataset = getattr(datasets, kind)(str(root), train=train, download=download)
        for number, (pixels, label) in enumerate(zip(dataset.data, dataset.targets, strict=True)):
            name = f"{index.name}/{split}/{number:05d}"
            if not 0 <= int(label) < len(classes):
                index.skips.add("unknown class id", f"{name} has {int(label)}")
                continue
            index.photos.append(Photo(name, name, [Label(int(label))], partial(_picture, pixels), split))
    return index


def _picture(pixels: Any) -> Image.Image:
    import numpy as np

    return Image.fromarray(np.asarray(pixels)).convert("RGB")


def _read_gtsrb(root: Path, download: bool) -> Index:
    from torchvision.datasets import GTSRB

    index = Index("gtsrb", list(GTSRB_CLASSES), [])
    for split in ("train", "test"):
        for path, label in GTSRB(str(root), split=split, download=download)._samples:
            if split == "train":  # torchvision counts the folders, which goes wrong when one is missing
                name = Path(path).parent.name
                label = int(name) if name.isdigit() else -1
            if not 0 <= label < len(GTSRB_CLASSES):
                index.skips.add("unknown class id", f"{path} has {label}")
                continue
            file = Path(path)
            # 00014/00003_00029.ppm is frame 29 of the third sign seen: all frames of one sign stay together.
            key = f"{split}/{file.parent.name}/{file.stem.split('_')[0]}"
            index.photos.append(Photo.of_file(file, key, [Label(label)], split=split))
    return index


def _read_kitti(root: Path, download: bool) -> Index:
    from torchvision.datasets import Kitti

    index = Index("kitti", list(KITTI_CLASSES), [])
    dataset = Kitti(str(root), train=True, download=download)  # the test pictures have no labels
    for image, target in zip(dataset.images, dataset.targets, strict=True):
        file = Path(image)
        try:
            lines = Path(target).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            index.skips.add("image without a label file", image)
            continue
        index.photos.append(Photo.of_file(file, file.stem, _kitti_labels(lines, target, index.skips)))
    return index


def _kitti_labels(lines: list[str], path: str, skips: Skips) -> list[Label]:
    """Lines "type truncated occluded alpha x0 y0 x1 y1 ...", boxes in pixels."""
    labels = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        try:
            x0, y0, x1, y1 = (float(field) for field in fields[4:8])
        except ValueError:
            skips.add("malformed label line", f"{path}:{number}")
            continue
        if fields[0] == "DontCare":
            skips.add("region marked DontCare", f"{path}:{number}")
        elif fields[0] not in KITTI_CLASSES:
            skips.add("unknown class id", f"{path}:{number} has {fields[0]}")
        else:
            labels.append(Label(KITTI_CLASSES.index(fields[0]), (x0, y0, x1, y1)))
    return labels


_SOURCES = {
    "mnist": _Source(
        "MNIST/raw",
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte",
        partial(_read_arrays, "MNIST", tuple("0123456789")),
    ),
    "cifar10": _Source(
        "cifar-10-batches-py",
        "data_batch_1 to data_batch_5, test_batch and batches.meta",
        partial(_read_arrays, "CIFAR10", CIFAR10_CLASSES),
    ),
    "gtsrb": _Source("gtsrb", "GTSRB/Training/, GTSRB/Final_Test/Images/ and GT-final_test.csv", _read_gtsrb),
    "kitti": _Source("Kitti/raw", "training/image_2/, training/label_2/ and testing/image_2/", _read_kitti),
}
