"""COCO JSON: images, categories and boxes of many pictures in one document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgelane.data.photo import Box, Index, Label, Photo, Skips, sorted_files
from edgelane.data.split import split_named
from edgelane.preprocessing import IMAGE_SUFFIXES

Document = dict[str, Any]


def find(folder: Path) -> list[tuple[Path, Document | None]]:
    """The folder's COCO documents with their content (None: damaged JSON); none when it is no such folder."""
    candidates: list[tuple[Path, Document | None]] = []
    for path in sorted_files(folder, {".json"}):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError):
            candidates.append((path, None))
            continue
        if isinstance(content, dict) and all(isinstance(content.get(k), list) for k in ("images", "categories")):
            candidates.append((path, content))
    if all(content is None for _, content in candidates):
        return []
    # COCO itself ships captions and keypoints of the same pictures beside the instances.
    return [entry for entry in candidates if entry[0].stem.startswith("instances")] or candidates


def read(folder: Path, documents: list[tuple[Path, Document | None]]) -> Index:
    """The photos and boxes of the documents; classes in the order of the category ids."""
    skips = Skips()
    images = {path.relative_to(folder).as_posix(): path for path in sorted_files(folder, IMAGE_SUFFIXES)}
    files = set(images.values())
    by_name = {path.name: path for path in files}
    names: dict[int, str] = {}
    for path, content in documents:
        if content is None:
            skips.add("malformed annotation file", str(path))
        else:
            names.update(_categories(content, path, skips))
    ids = sorted(names)
    photos: list[Photo] = []
    for path, content in documents:
        if content is None:
            continue
        boxes = _boxes(content, path, ids, skips)
        split = _split(path)
        for entry in content["images"]:
            if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
                skips.add("malformed image entry", str(path))
                continue
            if not isinstance(entry.get("id"), int | str):
                skips.add("malformed image entry", f"{path}: {entry['file_name']}")
                continue
            labels = boxes.pop(entry["id"], [])
            name = entry["file_name"]
            # Only files that the walk of the folder found: a name such as ../../x leads nowhere.
            beside = path.parent / name
            file = beside if beside in files else images.get(name) or by_name.get(Path(name).name)
            if file is None:
                skips.add("annotation without an image", f"{path}: {name}")
                continue
            size = (entry.get("width"), entry.get("height"))
            declared = size if all(isinstance(side, int) and side > 0 for side in size) else None
            photos.append(Photo.of_file(file, Path(name).stem, labels, declared_size=declared, split=split))
        for identifier, lost in boxes.items():
            for _ in lost:
                skips.add("label of an unlisted image", f"{path}: image_id {identifier}")
    return Index(folder.name, [names[number] for number in ids], photos, skips)


def _split(path: Path) -> str | None:
    """The split in a name such as instances_val2017.json or train/_annotations.coco.json."""
    words = [*re.split(r"[^A-Za-z0-9]+", path.stem), path.parent.name]
    return next(filter(None, map(split_named, words)), None)


def _categories(content: Document, path: Path, skips: Skips) -> dict[int, str]:
    names = {}
    for entry in content["categories"]:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str):
            names[entry["id"]] = entry["name"]
        else:
            skips.add("malformed category", str(path))
    return names


def _boxes(content: Document, path: Path, ids: list[int], skips: Skips) -> dict[Any, list[Label]]:
    """Image id → labels."""
    boxes: dict[Any, list[Label]] = {}
    annotations = content.get("annotations")
    for entry in annotations if isinstance(annotations, list) else []:
        parsed = _parse(entry)
        if parsed is None:
            skips.add("malformed annotation", f"{path}: {str(entry)[:80]}")
        elif parsed[1] not in ids:
            skips.add("unknown class id", f"{path}: category_id {parsed[1]}")
        elif entry.get("iscrowd"):
            skips.add("crowd region", f"{path}: image_id {parsed[0]}")
        else:
            boxes.setdefault(parsed[0], []).append(Label(ids.index(parsed[1]), parsed[2]))
    return boxes


def _parse(entry: Any) -> tuple[int | str, int, Box] | None:
    """Image id, category id and box of one annotation."""
    try:
        x, y, w, h = (float(value) for value in entry["bbox"])
        image, category = entry["image_id"], entry["category_id"]
    except (TypeError, ValueError, KeyError):
        return None
    if not isinstance(image, int | str) or not isinstance(category, int):
        return None
    return image, category, (x, y, x + w, y + h)
