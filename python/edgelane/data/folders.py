"""Which format a folder is in, and the plainest of them: one folder of pictures per class."""

from __future__ import annotations

from pathlib import Path

from edgelane.data import coco, voc, yolo
from edgelane.data.photo import Index, Label, Photo, Skips, sorted_files
from edgelane.data.split import split_named
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import IMAGE_SUFFIXES

EXPECTED = (
    "COCO JSON (images and categories in one .json), Pascal VOC (.xml annotations), "
    "YOLO text (a .txt of boxes per picture), or one folder of pictures per class"
)


def read(folder: Path) -> Index:
    """Read a folder in whichever format it is. Raises EdgelaneError when it is in none of them."""
    if documents := coco.find(folder):
        return coco.read(folder, documents)
    if annotations := voc.find(folder):
        return voc.read(folder, annotations)
    if labels := yolo.find(folder):
        return yolo.read(folder, labels)
    if (index := read_class_folders(folder)) is not None:
        return index
    raise EdgelaneError(f"{folder} holds no data set: expected {EXPECTED}")


def read_class_folders(folder: Path) -> Index | None:
    """`class/picture`, or `split/class/picture` where the folder has subfolders train, val or test; None if neither."""
    children = _subfolders(folder)
    named = [child for child in children if split_named(child.name)]
    roots = [(child, split_named(child.name)) for child in named] or [(folder, None)]
    skips = Skips()
    found: list[tuple[str, Path, str | None, Path]] = []
    empty: set[str] = set()
    for root, split in roots:
        for class_folder in _subfolders(root):
            pictures = sorted_files(class_folder, IMAGE_SUFFIXES)
            found += [(class_folder.name, path, split, root) for path in pictures]
            if not pictures:
                empty.add(class_folder.name)
    classes = sorted({name for name, *_ in found})
    for name in sorted(empty - set(classes)):
        skips.add("empty class", name)
    if not classes:
        return None
    photos = []
    for name, path, split, root in found:
        key = path.relative_to(root).with_suffix("").as_posix()
        photos.append(Photo.of_file(path, key, [Label(classes.index(name))], split=split))
    return Index(folder.name, classes, photos, skips)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
