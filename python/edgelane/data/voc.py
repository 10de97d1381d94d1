"""Pascal VOC: one XML file of boxes beside each picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from edgelane.data.photo import Index, Label, Photo, Skips, sorted_files
from edgelane.data.split import split_named
from edgelane.preprocessing import IMAGE_SUFFIXES

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find(folder: Path) -> list[Path]:
    """The annotation files of a VOC folder; none when it is no such folder."""
    return [path for path in sorted_files(folder, {".xml"}) if _is_annotation(path)]


def _is_annotation(path: Path) -> bool:
    # By its place or its first bytes, so that a damaged annotation is still counted as one.
    if path.parent.name.lower().startswith("annotation"):
        return True
    with path.open("rb") as file:
        return b"<annotation" in file.read(512)


def read(folder: Path, annotations: list[Path]) -> Index:
    """The photos and boxes of `annotations`; classes are the object names in alphabetical order."""
    skips = Skips()
    images = {path.stem: path for path in sorted_files(folder, IMAGE_SUFFIXES)}
    splits = _image_sets(folder)
    found: list[tuple[Path, Path, tuple[int, int] | None, list[tuple[str, tuple[float, ...]]]]] = []
    for path in annotations:
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError, ValueError, LookupError):
            skips.add("malformed annotation file", str(path))
            continue
        # The annotation's own name comes first: pictures get converted to another format and <filename> stays behind.
        image = images.get(path.stem) or images.get(Path(root.findtext("filename", "").strip()).stem)
        if image is None:
            skips.add("annotation without an image", str(path))
            continue
        found.append((path, image, _size(root), _objects(root, path, skips)))
    classes = sorted({name for *_, objects in found for name, _ in objects})
    photos = []
    for path, image, size, objects in found:
        labels = [Label(classes.index(name), box) for name, box in objects]  # type: ignore[arg-type]
        split = splits.get(path.stem) or split_named(image.parent.name)
        photos.append(Photo.of_file(image, image.stem, labels, declared_size=size, split=split))
    return Index(folder.name, classes, photos, skips)


def _objects(root: ElementTree.Element, path: Path, skips: Skips) -> list[tuple[str, tuple[float, ...]]]:
    objects = []
    for element in root.iter("object"):
        name = (element.findtext("name") or "").strip()
        try:
            box = tuple(float(element.findtext(f"bndbox/{corner}") or "") for corner in CORNERS)
        except ValueError:
            name = ""
        if name:
            objects.append((name, box))
        else:
            skips.add("malformed object", str(path))
    return objects


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = int(root.findtext("size/width") or ""), int(root.findtext("size/height") or "")
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None  # some tools write 0x0 for "not known"


def _image_sets(folder: Path) -> dict[str, str]:
    """VOC's own split, ImageSets/Main/{train,val,test}.txt: photo's stem → split."""
    splits = {}
    for split in ("train", "val", "test"):
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if path.is_file():
            splits.update(
                {line.split()[0]: split for line in path.read_text(errors="replace").splitlines() if line.split()}
            )
    return splits
