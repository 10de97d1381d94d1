from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from PIL import Image

from edgelane.demo.photos import RIGHT, WRONG, _draw_box, choose


@dataclass
class Record:
    path: str
    label: int


def bundle(*records: tuple[str, int], classes: int = 3) -> SimpleNamespace:
    test = SimpleNamespace(records=[Record(*record) for record in records])
    return SimpleNamespace(test=test, classes=tuple("abcdef"[:classes]))


def test_classes_take_turns_and_no_photo_comes_twice():
    data = bundle(("p", 0), ("q", 0), ("r", 0), ("p", 1), ("s", 1), ("t", 2))
    assert choose(data, 4) == [[0, 3], [4], [5], [1]]


def test_fewer_photos_than_wanted():
    assert choose(bundle(("p", 0), ("p", 1)), 12) == [[0, 1]]


def test_a_class_without_an_item_is_no_obstacle():
    assert choose(bundle(("p", 0), ("q", 0)), 2) == [[0], [1]]


@pytest.mark.parametrize(("label", "colour"), [("stop", RIGHT), ("speedlimit", WRONG)])
@pytest.mark.parametrize("box", [(40, 40, 90, 90), (0, 0, 20, 20), (100, 180, 119, 199), None])
def test_boxes_are_drawn_in_the_colour_of_the_answer_wherever_they_lie(label, colour, box):
    image = Image.new("RGB", (120, 200), (0, 0, 0))
    _draw_box(image, {"box": box, "truth": "stop", "label": label, "probability": 0.9})
    corner = (0, 0) if box is None else box[:2]
    assert image.getpixel(corner) == colour
