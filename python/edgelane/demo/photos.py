"""Held-out photos: chosen so that every class is seen, run through the deployed network, and drawn with prediction
and truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane.files import atomic_path, read_json, write_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from edgelane.data import DataBundle

RIGHT, WRONG = (38, 166, 91), (217, 48, 37)


def choose(bundle: DataBundle, count: int) -> list[list[int]]:
    """At most `count` photos of the test split, as lists of their items; the classes take turns in naming the next
    photo.
    """
    records: list[Any] = bundle.test.records  # type: ignore[attr-defined]
    by_photo: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        by_photo.setdefault(str(record.path), []).append(index)
    queues = [
        [str(record.path) for record in records if int(record.label) == label] for label in range(len(bundle.classes))
    ]
    chosen: dict[str, None] = {}
    while any(queues) and len(chosen) < count:
        for queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < count:
                chosen[queue.pop(0)] = None
    return [by_photo[path] for path in chosen]


def predict_photos(model: Path, bundle: DataBundle, folder: Path, count: int) -> None:
    """Write the crops of chosen photos, run `edgelane run` on them, and keep all that `draw` needs in
    `folder`/photos.json.
    """
    from edgelane.runtime.predict import run

    records: list[Any] = bundle.test.records  # type: ignore[attr-defined]
    groups = choose(bundle, count)
    crops = folder / "crops"
    crops.mkdir(parents=True, exist_ok=True)
    names = {}
    for group in groups:
        for index in group:
            names[index] = (
                crops / f"{index:04d}_{bundle.classes[records[index].label]}.png"
            )  # PNG: the very pixels of the split
            bundle.test.image(index).save(names[index])  # type: ignore[attr-defined]
    report = run(model, crops, folder / "predictions")
    predicted = {prediction.source: prediction for prediction in report.predictions}
    entries = []
    for number, group in enumerate(groups):
        photo = folder / f"photo_{number:02d}.jpg"
        with atomic_path(photo) as temporary:
            bundle.test.photo(group[0]).save(temporary, quality=90)  # type: ignore[attr-defined]
        boxes = []
        for index in group:
            prediction = predicted[str(names[index])]
            box = records[index].box
            boxes.append(
                {
                    "box": None if box is None else [float(edge) for edge in box],
                    "truth": bundle.classes[int(records[index].label)],
                    "label": prediction.label,
                    "probability": prediction.probability,  # type: ignore[union-attr]
                }
            )
        entries.append({"photo": photo.name, "boxes": boxes})
    write_json(folder / "photos.json", {"latency": report.latency(), "photos": entries})


def draw(folder: Path) -> list[tuple[Image, str, bool]]:
    """The photos with their boxes, a caption, and whether every prediction in it is right."""
    from PIL import Image

    drawn = []
    for entry in read_json(folder / "photos.json")["photos"]:
        with Image.open(folder / entry["photo"]) as file:
            image = file.convert("RGB")
        for box in entry["boxes"]:
            _draw_box(image, box)
        caption = "; ".join(
            f"{box['label']} {box['probability']:.0%}"
            + ("" if box["label"] == box["truth"] else f", truth {box['truth']}")
            for box in entry["boxes"]
        )
        drawn.append((image, caption, all(box["label"] == box["truth"] for box in entry["boxes"])))
    return drawn


def _draw_box(image: Image, entry: dict[str, Any]) -> None:
    from PIL import ImageDraw, ImageFont

    right = entry["label"] == entry["truth"]
    colour = RIGHT if right else WRONG
    text = entry["label"] if right else f"{entry['label']} (truth: {entry['truth']})"
    size = max(11, image.height // 26)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    x0, y0, x1, y1 = entry["box"] or (0, 0, image.width - 1, image.height - 1)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=max(2, image.height // 150))
    width = draw.textlength(text, font=font) + 6
    left = max(0.0, min(x0, image.width - width))
    top = y0 - size - 5 if y0 - size - 5 >= 0 else min(y1, image.height - size - 5)
    draw.rectangle((left, top, left + width, top + size + 5), fill=colour)
    draw.text((left + 3, top + 1), text, font=font, fill=(255, 255, 255))
