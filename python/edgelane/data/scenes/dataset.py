"""Rendered scenes as a data set: whole scenes for detection and segmentation, crops of signs for classification."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgelane.data.photo import Index, Label, Photo
from edgelane.data.scenes import CLASSES, SIGN_CLASSES, render
from edgelane.data.scenes.surfaces import SURFACES, surface_mask

SCENES = 360  # about 1,000 signs
MASKED_SCENES = 600  # a scene is one item


def index_scenes(task: str, *, seed: int, limit: int | None) -> Index:
    """SCENES scenes, for segmentation MASKED_SCENES, or as many as `limit` items can need.

    A scene's labels are known when it is rendered.
    """
    # Twice the limit, because the split divides the scenes by a hash and must find enough for each of its parts.
    most = MASKED_SCENES if task == "segmentation" else SCENES
    count = most if limit is None else min(most, 2 * limit + 24)
    names = [f"scenes/{seed}/{number:06d}" for number in range(count)]
    if task == "segmentation":
        masked = [Photo(name, name, None, partial(_open_masked, number, seed)) for number, name in enumerate(names)]
        return Index("scenes", list(SURFACES), masked)
    signs_only = task == "classification"
    photos = [Photo(name, name, None, partial(_open, number, seed, signs_only)) for number, name in enumerate(names)]
    return Index("scenes", list(SIGN_CLASSES if signs_only else CLASSES), photos)


def _open(number: int, seed: int, signs_only: bool) -> tuple[Image.Image, list[Label]]:
    scene = render(number, seed)
    boxes, labels = (scene.sign_boxes, scene.sign_labels) if signs_only else (scene.boxes, scene.labels)
    entries = [Label(int(label), tuple(map(float, box))) for box, label in zip(boxes, labels, strict=True)]  # type: ignore[arg-type]
    return Image.fromarray(scene.image), entries


def _open_masked(number: int, seed: int) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    scene = render(number, seed)
    return Image.fromarray(scene.image), surface_mask(scene)
