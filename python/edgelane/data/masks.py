"""Folders for segmentation: `images/`, `masks/` with a PNG of class indices per picture, and `classes.txt`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgelane.data.photo import Index, Photo, Skips, sorted_files
from edgelane.data.split import split_in
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import IMAGE_SUFFIXES, read_image
from edgelane.tasks import IGNORED

if TYPE_CHECKING:
    from PIL.Image import Image

EXPECTED = "images/ with pictures, masks/ with a PNG of class indices for each (same name), and classes.txt"
PNG = (".png",)
MOST_CLASSES = IGNORED  # indices 0..254 of an 8-bit mask


def is_mask_folder(folder: Path) -> bool:
    """Whether the folder holds pictures and masks."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def read(folder: Path) -> Index:
    """Pictures below images/ with the mask of the same path below masks/; `images/val/x.jpg` names its split.

    Raises EdgelaneError when the folder is no such data set or classes.txt is missing or wrong.
    """
    if not is_mask_folder(folder):
        raise EdgelaneError(f"{folder} holds no data for segmentation: expected {EXPECTED}")
    index = Index(folder.name, _classes(folder / "classes.txt"), [], Skips())
    masks = {path.relative_to(folder / "masks").with_suffix(""): path for path in sorted_files(folder / "masks", PNG)}
    seen: set[Path] = set()
    for path in sorted_files(folder / "images", IMAGE_SUFFIXES):
        place = path.relative_to(folder / "images")
        name = place.with_suffix("")
        if name in seen:
            index.skips.add("image of the same name as another", str(path))
        elif name not in masks:
            index.skips.add("image without a mask", str(path))
        else:
            opened = partial(_open, path, masks[name], len(index.classes))
            index.photos.append(Photo(str(path), name.as_posix(), None, opened, split_in(place)))
        seen.add(name)
    for name, path in masks.items():
        if name not in seen:
            index.skips.add("mask without an image", str(path))
    return index


def _classes(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EdgelaneError(
            f"cannot read {path}: expected a text file with one class name per line, the first for index 0 of the masks"
        ) from error
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names) or len(names) > MOST_CLASSES:
        found = f"an empty line {names.index('') + 1}" if "" in names else f"{len(names)} lines"
        raise EdgelaneError(f"{path}: expected 1 to {MOST_CLASSES} class names, one per line, found {found}")
    return names


def _open(path: Path, mask: Path, classes: int) -> tuple[Image, npt.NDArray[np.uint8]]:
    return read_image(path), read_mask(mask, classes)


def read_mask(path: Path, classes: int) -> npt.NDArray[np.uint8]:
    """uint8 [h, w] of class indices below `classes`, and 255 where nothing is known.

    Raises EdgelaneError with the path and the reason when it is no picture, has colours or holds other values.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            mode, values = image.mode, np.asarray(image)
    except Exception as error:  # on damaged bytes Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise EdgelaneError(f"cannot read the mask {path}: {error}") from error
    if mode not in ("L", "P", "1") and not mode.startswith("I"):
        raise EdgelaneError(f"{path}: expected a PNG of class indices (grey or with a palette), found mode {mode}")
    wrong = values[(values >= classes) & (values != IGNORED)] if mode != "1" else values[:0]
    if wrong.size:
        found = int(wrong.flat[0])
        raise EdgelaneError(
            f"{path}: expected values below {classes} (classes.txt) or {IGNORED} (unknown), found {found}"
        )
    return values.astype(np.uint8)
