"""Small data sets of every format, made in a temporary folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (210, 40, 30)}
SIZE = (64, 48)  # width, height of every made photo


def photo(seed: int, colour: tuple[int, int, int], size: tuple[int, int] = SIZE) -> Image.Image:
    """A noisy picture of one colour."""
    noise = np.random.default_rng(seed).integers(-25, 26, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noise + np.array(colour), 0, 255).astype(np.uint8))


def voc_xml(name: str, boxes: list[tuple[str, tuple[float, ...]]], size: tuple[int, int] = SIZE) -> str:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for label, b in boxes
    )
    return (
        f"<annotation><filename>{name}.png</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"<depth>3</depth></size>{objects}</annotation>"
    )


class Maker:
    """Makes data sets of `count` photos below `root`; photo i holds one box of class i % 3."""

    count = 40
    box = (10.0, 8.0, 40.0, 38.0)

    def __init__(self, root: Path) -> None:
        self.root = root

    def label(self, number: int) -> str:
        return sorted(COLOURS)[number % 3]

    def photos(self, folder: Path, suffix: str = ".png") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.count):
            photo(number, COLOURS[self.label(number)]).save(folder / f"p{number:03d}{suffix}")

    def class_folders(self, prefix: str = "", numbers: range | None = None) -> Path:
        for number in numbers or range(self.count):
            folder = self.root / prefix / self.label(number)
            folder.mkdir(parents=True, exist_ok=True)
            photo(number, COLOURS[self.label(number)]).save(folder / f"p{number:03d}.png")
        return self.root

    def voc(self) -> Path:
        # Photos and annotations name different formats, as in data sets that were converted.
        self.photos(self.root / "JPEGImages", ".jpg")
        (self.root / "Annotations").mkdir()
        for number in range(self.count):
            text = voc_xml(f"p{number:03d}", [(self.label(number), self.box)])
            (self.root / "Annotations" / f"p{number:03d}.xml").write_text(text)
        return self.root

    def yolo_line(self, number: int) -> str:
        x0, y0, x1, y1 = self.box
        w, h = SIZE
        values = ((x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h)
        return f"{number % 3} " + " ".join(f"{value:.6f}" for value in values)

    def yolo(self) -> Path:
        self.photos(self.root / "images")
        (self.root / "labels").mkdir()
        for number in range(self.count):
            (self.root / "labels" / f"p{number:03d}.txt").write_text(self.yolo_line(number) + "\n")
        (self.root / "data.yaml").write_text("names: [blue, green, red]\n")
        return self.root

    def coco_document(self) -> dict:
        x0, y0, x1, y1 = self.box
        return {
            "categories": [{"id": 3 + 4 * i, "name": name} for i, name in enumerate(sorted(COLOURS))],
            "images": [
                {"id": 100 + n, "file_name": f"p{n:03d}.png", "width": SIZE[0], "height": SIZE[1]}
                for n in range(self.count)
            ],
            "annotations": [
                {"id": n, "image_id": 100 + n, "category_id": 3 + 4 * (n % 3), "bbox": [x0, y0, x1 - x0, y1 - y0]}
                for n in range(self.count)
            ],
        }

    def coco(self, document: dict | None = None) -> Path:
        self.photos(self.root / "images")
        (self.root / "annotations").mkdir()
        path = self.root / "annotations" / "instances_default.json"
        path.write_text(json.dumps(document or self.coco_document()))
        return self.root
