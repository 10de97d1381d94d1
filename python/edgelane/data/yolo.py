"""YOLO text: one .txt per picture, a line "class cx cy w h" per box, in fractions of the picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgelane.data.photo import Box, Index, Label, Photo, Skips, sorted_files
from edgelane.data.split import split_named
from edgelane.preprocessing import IMAGE_SUFFIXES

NAME_LISTS = ("classes.txt", "obj.names", "classes.names")
_NUMBERS = re.compile(r"^\s*(\d+(\s+[-+.\deE]+){4,}\s*)?$")


def find(folder: Path) -> list[Path]:
    """The label files of a YOLO folder; none when it is no such folder."""
    texts = [path for path in sorted_files(folder, {".txt"}) if path.name not in NAME_LISTS]
    if (folder / "labels").is_dir() or any(_is_label_folder(path.parent.name) for path in texts):
        return [path for path in texts if any(map(_is_label_folder, path.relative_to(folder).parts))]
    pictures = {path.with_suffix("") for path in sorted_files(folder, IMAGE_SUFFIXES)}
    beside = [path for path in texts if path.with_suffix("") in pictures]
    return beside if any(_first_line_is_box(path) for path in beside) else []


def _is_label_folder(name: str) -> bool:
    return name.lower().startswith("labels")


def _first_line_is_box(path: Path) -> bool:
    lines = path.read_text(errors="replace").splitlines()
    return bool(lines) and _NUMBERS.match(lines[0]) is not None


def read(folder: Path, label_files: list[Path], names: Mapping[int, str] | None = None) -> Index:
    """The photos and boxes of a YOLO folder.

    `names`: class id → name; without it they come from a data .yaml, classes.txt, obj.names or the README's list of
    ids, and where there is none of these the ids are the names. A picture without a label file holds no object.
    """
    skips = Skips()
    names = names or class_names(folder)
    labels = {_key(folder, path): path for path in label_files}
    rows: list[tuple[Path, str, list[tuple[int, Box]]]] = []
    for image in sorted_files(folder, IMAGE_SUFFIXES):
        key = _key(folder, image)
        path = labels.pop(key, None)
        rows.append((image, key, [] if path is None else _boxes(path, names, skips)))
    for path in labels.values():
        skips.add("label file without an image", str(path))
    used = sorted({number for *_, boxes in rows for number, _ in boxes})
    ids = sorted(names) if names else used
    photos = []
    for image, key, boxes in rows:
        split = next(filter(None, map(split_named, image.relative_to(folder).parts[:-1])), None)
        entries = [Label(ids.index(number), box) for number, box in boxes]
        photos.append(Photo.of_file(image, Path(key).name, entries, split=split, relative=True))
    return Index(folder.name, [names[number] if names else str(number) for number in ids], photos, skips)


def _key(folder: Path, path: Path) -> str:
    """What a picture and its label file share: the path without "images", "labels" and the ending."""
    parts = [
        p for p in path.relative_to(folder).with_suffix("").parts if p.lower() != "images" and not _is_label_folder(p)
    ]
    return "/".join(parts)


def _boxes(path: Path, names: Mapping[int, str], skips: Skips) -> list[tuple[int, Box]]:
    boxes = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        parsed = _parse(line)
        if parsed is None:
            skips.add("malformed label line", f"{path}:{number}")
        elif names and parsed[0] not in names:
            skips.add("unknown class id", f"{path}:{number} has {parsed[0]}")
        else:
            boxes.append(parsed)
    return boxes


def _parse(line: str) -> tuple[int, Box] | None:
    """Class id and box (x0, y0, x1, y1 in fractions) of "class cx cy w h" or of a polygon "class x y x y x y ..."."""
    fields = line.split()
    try:
        number, values = int(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        return None
    if number < 0:
        return None
    if len(values) == 4:
        cx, cy, w, h = values
        return number, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    if len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[0::2], values[1::2]
        return number, (min(xs), min(ys), max(xs), max(ys))
    return None


def class_names(folder: Path) -> dict[int, str]:
    """Class id → name as the folder documents them, or {}."""
    import yaml  # type: ignore[import-untyped]

    for path in sorted(folder.glob("*.y*ml")):
        try:
            content = yaml.safe_load(path.read_text(errors="replace"))
        except yaml.YAMLError:
            continue
        if isinstance(content, dict) and (names := _from_yaml(content.get("names"))):
            return names
    for name in NAME_LISTS:
        for path in (folder / name, folder / "labels" / name):
            if path.is_file():
                return dict(enumerate(_stripped(path.read_text(errors="replace").splitlines())))
    for path, about in ((folder / "README.md", ""), (folder.parent / "README.md", f"{folder.name}/")):
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                if about in line and (names := _from_readme(line)):
                    return names
    return {}


def _stripped(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _from_yaml(names: Any) -> dict[int, str]:
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, dict) and all(isinstance(number, int) for number in names):
        return {number: str(name) for number, name in names.items()}
    return {}


def _from_readme(line: str) -> dict[int, str]:
    """The names in a line such as "... ids: 0 vehicle 581, 1 bike 74"; a count behind a name is passed over."""
    _, found, listed = line.partition("ids:")
    matches = (re.match(r"\s*(\d+)[\s:=]+([A-Za-z][\w-]*)", part) for part in listed.split(",") if found)
    return {int(match[1]): match[2] for match in matches if match}
