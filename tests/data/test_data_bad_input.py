"""Whatever is wrong with a data set is skipped with a count or named in an error of one line; nothing crashes."""

from __future__ import annotations

import json

import pytest
from data_makers import SIZE, Maker, photo, voc_xml

from edgelane.data import load
from edgelane.errors import EdgelaneError


def count(bundle):
    return len(bundle.train) + len(bundle.val) + len(bundle.test)


def every_item(bundle):
    for dataset in (bundle.train, bundle.val, bundle.test):
        for index in range(len(dataset)):
            dataset[index]


@pytest.mark.parametrize("form", ["class_folders", "voc", "yolo", "coco"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_corrupt_image(maker: Maker, form, damage):
    getattr(maker, form)()
    path = next(p for p in sorted(maker.root.rglob("p005.*")) if p.suffix in (".png", ".jpg"))
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"no picture", "empty": b""}[damage])
    bundle = load(str(maker.root))
    assert bundle.skipped == {"corrupt image": 1}
    assert path.name in bundle.skipped_examples["corrupt image"][0]
    assert count(bundle) == 39
    every_item(bundle)


def test_empty_class_folder(maker: Maker):
    maker.class_folders()
    (maker.root / "yellow").mkdir()
    bundle = load(str(maker.root))
    assert bundle.skipped == {"empty class": 1}
    assert bundle.skipped_examples == {"empty class": ["yellow"]}
    assert bundle.classes == ("blue", "green", "red")


def test_class_whose_pictures_are_all_corrupt_is_left_out(maker: Maker):
    maker.class_folders()
    for path in (maker.root / "green").iterdir():
        path.write_bytes(b"")
    bundle = load(str(maker.root))
    assert bundle.classes == ("blue", "red")
    assert bundle.skipped == {"corrupt image": 13, "empty class": 1}
    labels = {label for dataset in (bundle.train, bundle.val, bundle.test) for label in dataset.labels}
    assert labels == {0, 1}
    assert {bundle.classes[r.label] for r in bundle.train.records if "/red/" in r.path} == {"red"}


def test_all_images_corrupt_is_an_error_that_says_so(maker: Maker):
    maker.class_folders()
    for path in maker.root.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(EdgelaneError, match="40 corrupt image") as caught:
        load(str(maker.root))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["classification", "detection"])
@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((100, 100, 140, 140), "box outside the image"),
        ((50, 10, 90, 40), "box outside the image"),
        ((-60, -60, -5, -5), "box outside the image"),
        ((20, 10, 20, 30), "box without area"),
        ((40, 10, 20, 30), "box without area"),
        ((float("nan"), 10, 20, 30), "box without area"),
        ((10, 10, 10.5, 30), "box smaller than a pixel"),
    ],
)
def test_useless_box(maker: Maker, task, box, reason):
    maker.voc()
    (maker.root / "Annotations" / "p005.xml").write_text(voc_xml("p005", [("red", box), ("red", maker.box)]))
    (maker.root / "Annotations" / "p006.xml").write_text(voc_xml("p006", [("blue", box)]))
    bundle = load(str(maker.root), task=task)
    assert bundle.skipped == {reason: 2}
    assert count(bundle) == 39  # photo 6 has no box left
    every_item(bundle)


def test_box_a_little_over_the_border_is_clipped(maker: Maker):
    maker.voc()
    (maker.root / "Annotations" / "p005.xml").write_text(voc_xml("p005", [("red", (40, 20, SIZE[0] + 3, 47))]))
    bundle = load(str(maker.root))
    boxes = [r.box for d in (bundle.train, bundle.val, bundle.test) for r in d.records if "p005" in r.path]
    assert boxes == [(40, 20, SIZE[0], 47)]
    assert bundle.skipped == {}


@pytest.mark.parametrize(
    "text", ["<annotation><object>", "", "\x00\x01", '<?xml version="1.0" encoding="nonsense"?><a/>']
)
def test_malformed_voc_file(maker: Maker, text):
    maker.voc()
    (maker.root / "Annotations" / "p005.xml").write_text(text)
    bundle = load(str(maker.root))
    assert bundle.skipped == {"malformed annotation file": 1}
    assert count(bundle) == 39


def test_malformed_voc_object(maker: Maker):
    maker.voc()
    path = maker.root / "Annotations" / "p005.xml"
    path.write_text(path.read_text().replace("<xmin>10.0</xmin>", "<xmin>ten</xmin>"))
    other = maker.root / "Annotations" / "p006.xml"
    other.write_text(other.read_text().replace("<ymax>38.0</ymax>", ""))
    bundle = load(str(maker.root))
    assert bundle.skipped == {"malformed object": 2}


def test_voc_annotation_without_an_image(maker: Maker):
    maker.voc()
    (maker.root / "Annotations" / "ghost.xml").write_text(voc_xml("ghost", [("red", maker.box)]))
    assert load(str(maker.root)).skipped == {"annotation without an image": 1}


@pytest.mark.parametrize("form", ["voc", "coco"])
def test_image_of_another_size_than_annotated(maker: Maker, form):
    getattr(maker, form)()
    path = next(maker.root.rglob("p005.[pj]*"))
    photo(5, (1, 2, 3), (32, 24)).save(path)
    bundle = load(str(maker.root))
    assert bundle.skipped == {"image of another size than annotated": 1}
    assert "annotated 64x48, is 32x24" in bundle.skipped_examples["image of another size than annotated"][0]


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5", "0 0.5 0.5 0.5 x", "zero 0.5 0.5 0.2 0.2", "-1 0.5 0.5 0.2 0.2", "1.5 0 0 1 1"]
)
def test_malformed_yolo_line(maker: Maker, line):
    maker.yolo()
    path = maker.root / "labels" / "p005.txt"
    path.write_text(f"{line}\n{maker.yolo_line(5)}\n")
    bundle = load(str(maker.root))
    assert bundle.skipped == {"malformed label line": 1}
    assert bundle.skipped_examples["malformed label line"] == [f"{path}:1"]
    assert count(bundle) == 40


def test_unknown_yolo_class_id_and_orphan_label(maker: Maker):
    maker.yolo()
    (maker.root / "labels" / "p005.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    (maker.root / "labels" / "ghost.txt").write_text(maker.yolo_line(0))
    bundle = load(str(maker.root))
    assert bundle.skipped == {"unknown class id": 1, "label file without an image": 1}
    assert count(bundle) == 39


def test_yolo_class_without_a_box_is_left_out(maker: Maker):
    maker.yolo()
    (maker.root / "data.yaml").write_text("names: [blue, green, red, violet]\n")
    bundle = load(str(maker.root))
    assert bundle.classes == ("blue", "green", "red")
    assert bundle.skipped_examples == {"empty class": ["violet"]}


def test_bad_coco_entries(maker: Maker):
    document = maker.coco_document()
    document["annotations"][5]["bbox"] = [1, 2, 3]
    document["annotations"][6]["category_id"] = 99
    document["annotations"][7]["bbox"] = None
    document["annotations"][8] = "nonsense"
    document["annotations"][9]["image_id"] = 12345
    document["annotations"][10]["iscrowd"] = 1
    document["annotations"][11]["image_id"] = [1]
    document["images"][12]["file_name"] = "../../etc/passwd"
    document["images"][13] = {"id": 113}
    document["categories"].append({"id": "x"})
    bundle = load(str(maker.coco(document)))
    assert bundle.skipped == {
        "malformed category": 1,
        "malformed annotation": 4,
        "unknown class id": 1,
        "crowd region": 1,
        "label of an unlisted image": 2,
        "annotation without an image": 1,
        "malformed image entry": 1,
    }
    assert count(bundle) == 40 - 9
    every_item(bundle)


def test_damaged_coco_file_beside_a_good_one(maker: Maker):
    maker.coco()
    (maker.root / "annotations" / "instances_more.json").write_text('{"images": [')
    assert load(str(maker.root)).skipped == {"malformed annotation file": 1}


def test_only_five_names_of_a_reason_are_kept(maker: Maker):
    maker.class_folders()
    for number, path in enumerate(sorted(maker.root.rglob("*.png"))):
        if number % 5 == 0:
            path.write_bytes(b"")
    bundle = load(str(maker.root))
    assert bundle.skipped == {"corrupt image": 8}
    assert len(bundle.skipped_examples["corrupt image"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "nowhere"}, r'data "nowhere" does not exist: give a folder or one of scenes, road_signs'),
        ({"source": "scenes", "task": "captions"}, r"task must be one of classification, detection, segm"),
        ({"source": "scenes", "image_size": 0}, r"height must be a whole number"),
        ({"source": "scenes", "image_size": (32, -1)}, r"width must be a whole number"),
        ({"source": "scenes", "limit": 2}, r"limit must be at least 3"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(EdgelaneError, match=message):
        load(**arguments)


def test_a_file_is_no_data_set(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({}))
    with pytest.raises(EdgelaneError, match="is a file"):
        load(str(path))


def test_two_photos_are_too_few(maker: Maker):
    maker.count = 2
    with pytest.raises(EdgelaneError, match="2 photos are too few"):
        load(str(maker.class_folders()))


@pytest.mark.parametrize("name", ["road_signs", "carla"])
def test_absent_named_set_says_where_it_was_looked_for(name, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELANE_DATA", str(tmp_path / "mine"))
    monkeypatch.setattr("edgelane.data.catalog.REPOSITORY", tmp_path / "repository")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgelaneError, match=f"set EDGELANE_DATA to the folder that holds {name}/") as caught:
        load(name)
    assert str(tmp_path / "mine") in str(caught.value)


def test_named_set_is_found_through_the_environment(maker: Maker, tmp_path, monkeypatch):
    maker.root = tmp_path / "mine" / "road_signs"
    maker.voc()
    monkeypatch.setenv("EDGELANE_DATA", str(tmp_path / "mine"))
    assert load("road_signs").train.records[0].path.startswith(str(maker.root))
