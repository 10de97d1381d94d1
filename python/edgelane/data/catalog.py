"""The data sets known by name, and where they are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgelane.data import folders, masks, yolo
from edgelane.data.photo import Index
from edgelane.errors import EdgelaneError

TORCHVISION = ("mnist", "cifar10", "gtsrb", "kitti")
CARLA_CLASSES = {0: "vehicle", 1: "bike", 2: "motobike", 3: "traffic_light", 4: "traffic_sign"}
REPOSITORY = Path(__file__).resolve().parents[3]


def names() -> tuple[str, ...]:
    """Every name that `edgelane.data.load` knows."""
    return ("scenes", *_ON_DISK, *TORCHVISION)


def data_folders() -> list[Path]:
    """The folders in which named data sets are looked for, in order, whether or not they exist."""
    places = [Path("..", "shared", "data").absolute(), REPOSITORY.parent / "shared" / "data"]
    if os.environ.get("EDGELANE_DATA"):
        places.insert(0, Path(os.environ["EDGELANE_DATA"]).absolute())
    return list(dict.fromkeys(Path(os.path.normpath(place)) for place in places))


def find_index(source: str, *, task: str, seed: int, limit: int | None) -> Index:
    """The index of a named data set or of a folder.

    Raises EdgelaneError when it is unknown, absent or not a data set.
    """
    if source == "scenes":
        from edgelane.data.scenes.dataset import index_scenes

        return index_scenes(task, seed=seed, limit=limit)
    if task == "segmentation" and (source in TORCHVISION or source in _ON_DISK):
        raise EdgelaneError(f"{source} has no masks: for segmentation give scenes, or a folder with {masks.EXPECTED}")
    if source in TORCHVISION:
        from edgelane.data.torchvision_sets import read

        return read(source, task)
    if source in _ON_DISK:
        index = _ON_DISK[source](_locate(source))
    else:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            state = "is a file" if folder.exists() else "does not exist"
            raise EdgelaneError(f'data "{source}" {state}: give a folder or one of {", ".join(names())}')
        if task == "segmentation":
            return masks.read(folder)
        if masks.is_mask_folder(folder) and (folder / "classes.txt").is_file():
            raise EdgelaneError(f"{folder} holds pictures and masks: they are for the task segmentation, not {task}")
        index = folders.read(folder)
    if task == "detection" and index.photos and all(e.box is None for p in index.photos for e in p.labels or []):
        raise EdgelaneError(f"{source} has classes but no boxes: it can train a classifier, not a detector")
    return index


def _locate(name: str) -> Path:
    for place in data_folders():
        if (place / name).is_dir():
            return place / name
    looked = ", ".join(map(str, data_folders()))
    raise EdgelaneError(f'the data set "{name}" is not in {looked}: set EDGELANE_DATA to the folder that holds {name}/')


def _read_carla(folder: Path) -> Index:
    return yolo.read(folder, yolo.find(folder), CARLA_CLASSES)


_ON_DISK: dict[str, Callable[[Path], Index]] = {"road_signs": folders.read, "carla": _read_carla}
