"""Rendered scenes as a data set: whole scenes for detection, crops of their signs for classification."""

from __future__ import annotations

from functools import partial

from PIL import Image

from edgelane.data.photo import Index, Label, Photo
from edgelane.data.scenes import CLASSES, SIGN_CLASSES, render

SCENES = 360  # about 1,000 signs


def index_scenes(task: str, *, seed: int, limit: int | None) -> Index:
    """SCENES scenes, or as many as `limit` items can need; a scene's labels are known when it is rendered."""
    # Twice the limit, because the split divides the scenes by a hash and must find enough for each of its parts.
    count = SCENES if limit is None else min(SCENES, 2 * limit + 24)
    signs_only = task == "classification"
    names = [f"scenes/{seed}/{number:06d}" for number in range(count)]
    photos = [Photo(name, name, None, partial(_open, number, seed, signs_only)) for number, name in enumerate(names)]
    return Index("scenes", list(SIGN_CLASSES if signs_only else CLASSES), photos)


def _open(number: int, seed: int, signs_only: bool) -> tuple[Image.Image, list[Label]]:
    scene = render(number, seed)
    boxes, labels = (scene.sign_boxes, scene.sign_labels) if signs_only else (scene.boxes, scene.labels)
    entries = [Label(int(label), tuple(map(float, box))) for box, label in zip(boxes, labels, strict=True)]  # type: ignore[arg-type]
    return Image.fromarray(scene.image), entries
