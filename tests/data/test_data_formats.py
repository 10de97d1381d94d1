"""Every folder format gives the same photos, boxes and classes, in both tasks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from data_makers import COLOURS, SIZE, Maker, photo, voc_xml

from edgelane.data import load
from edgelane.errors import EdgelaneError

WITH_BOXES = ["voc", "yolo", "coco"]
ALL = ["class_folders", *WITH_BOXES]
SPLITS = ("train", "val", "test")


def datasets(bundle):
    return [getattr(bundle, split) for split in SPLITS]


@pytest.mark.parametrize("form", ALL)
def test_classification(maker: Maker, form):
    bundle = load(str(getattr(maker, form)()), image_size=(20, 24))
    assert bundle.classes == tuple(sorted(COLOURS))
    assert bundle.skipped == {}
    assert sum(map(len, datasets(bundle))) == maker.count
    for dataset in datasets(bundle):
        for index, record in enumerate(dataset.records):
            tensor, label = dataset[index]
            assert (tensor.shape, tensor.dtype) == ((3, 20, 24), torch.float32)
            assert label == record.label
            # The photo's colour is its class: the label belongs to this picture.
            mean = np.asarray(dataset.image(index)).reshape(-1, 3).mean(axis=0)
            nearest = min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
            assert bundle.classes[label] == nearest
            assert dataset.photo(index).size == SIZE


@pytest.mark.parametrize("form", WITH_BOXES)
def test_crop_is_box_and_margin(maker: Maker, form):
    bundle = load(str(getattr(maker, form)()))
    for dataset in datasets(bundle):
        for index, record in enumerate(dataset.records):
            assert record.box == pytest.approx(maker.box, abs=1e-3)
            # 30 x 30 with 15 % on each side is 39 x 39, rounded outward to whole pixels.
            assert all(39 <= side <= 41 for side in dataset.image(index).size)


@pytest.mark.parametrize("form", WITH_BOXES)
def test_detection_boxes_are_in_input_pixels(maker: Maker, form):
    bundle = load(str(getattr(maker, form)()), task="detection", image_size=(96, 192))
    x0, y0, x1, y1 = maker.box
    for dataset in (bundle.val, bundle.test):
        for image, target in dataset:
            assert image.shape == (3, 96, 192)
            assert target["boxes"].dtype == torch.float32
            assert target["labels"].dtype == torch.int64
            torch.testing.assert_close(
                target["boxes"], torch.tensor([[3 * x0, 2 * y0, 3 * x1, 2 * y1]]), atol=1e-2, rtol=0
            )


@pytest.mark.parametrize("form", ALL)
def test_val_and_test_are_preprocessing_alone(maker: Maker, form):
    """What the deployed program does with the same crop gives the same numbers, to the bit."""
    bundle = load(str(getattr(maker, form)()), image_size=32)
    for dataset in (bundle.val, bundle.test):
        for index in range(len(dataset)):
            np.testing.assert_array_equal(dataset[index][0].numpy(), bundle.preprocessing.apply(dataset.image(index)))


def test_class_folders_keep_their_split(maker: Maker):
    for name, numbers in (("train", range(0, 20)), ("valid", range(20, 30)), ("test", range(30, 40))):
        maker.class_folders(name, numbers)
    bundle = load(str(maker.root))
    assert [len(dataset) for dataset in datasets(bundle)] == [20, 10, 10]
    assert all("/valid/" in record.path for record in bundle.val.records)


def test_missing_val_is_taken_from_train(maker: Maker):
    maker.class_folders("train", range(0, 30))
    maker.class_folders("test", range(30, 40))
    bundle = load(str(maker.root))
    assert len(bundle.test) == 10
    assert len(bundle.val) > 0
    assert len(bundle.train) + len(bundle.val) == 30
    assert all("/train/" in record.path for record in bundle.val.records)


def test_voc_image_sets_are_kept(maker: Maker):
    maker.voc()
    (maker.root / "ImageSets" / "Main").mkdir(parents=True)
    for split, numbers in (("train", range(0, 30)), ("val", range(30, 34)), ("test", range(34, 40))):
        names = "".join(f"p{number:03d}\n" for number in numbers)
        (maker.root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    bundle = load(str(maker.root))
    assert [len(dataset) for dataset in datasets(bundle)] == [30, 4, 6]


def all_colours_fit(bundle) -> bool:
    """Whether each item's label is the colour of its picture."""
    return all(
        bundle.classes[record.label]
        == min(COLOURS, key=lambda name: float(np.abs(np.asarray(dataset.image(i)).mean((0, 1)) - COLOURS[name]).sum()))
        for dataset in datasets(bundle)
        for i, record in enumerate(dataset.records)
    )


def test_voc_masks_are_not_taken_for_photos(maker: Maker):
    """The original VOC has pictures of the same names in SegmentationClass and SegmentationObject."""
    maker.voc()
    for folder in ("SegmentationClass", "SegmentationObject"):
        (maker.root / folder).mkdir()
        for number in range(0, maker.count, 2):
            photo(number, (0, 0, 0)).save(maker.root / folder / f"p{number:03d}.png")
    bundle = load(str(maker.root))
    assert bundle.skipped == {}
    assert all("JPEGImages" in record.path for dataset in datasets(bundle) for record in dataset.records)


@pytest.mark.parametrize("below", ["", "images"])
def test_voc_photos_of_two_splits_may_share_their_names(maker: Maker, below):
    """train/p001 and valid/p001 are two photos; each annotation belongs to the one of its own folder."""
    for shift, split in enumerate(("train", "valid")):
        folder = maker.root / split
        (folder / below).mkdir(parents=True, exist_ok=True)
        for number in range(maker.count):
            label = maker.label(number + shift)
            photo(number, COLOURS[label]).save(folder / below / f"p{number:03d}.png")
            (folder / f"p{number:03d}.xml").write_text(voc_xml(f"p{number:03d}", [(label, maker.box)]))
    bundle = load(str(maker.root))
    assert bundle.skipped == {}
    assert len(bundle.val) == maker.count
    assert len(bundle.train) + len(bundle.test) == maker.count
    assert all_colours_fit(bundle)


def test_voc_annotation_that_fits_two_photos_is_skipped(maker: Maker):
    maker.voc()
    for folder in ("left", "right"):
        (maker.root / folder).mkdir()
        photo(1, COLOURS["red"]).save(maker.root / folder / "q.png")
    (maker.root / "Annotations" / "q.xml").write_text(voc_xml("q", [("red", maker.box)]))
    assert load(str(maker.root)).skipped == {"annotation that fits several images": 1}


def test_coco_photos_of_two_splits_may_share_their_names(maker: Maker):
    (maker.root / "annotations").mkdir(parents=True)
    document = maker.coco_document()
    for shift, split in enumerate(("train2017", "val2017")):
        (maker.root / split).mkdir()
        for number in range(maker.count):
            photo(number, COLOURS[maker.label(number + shift)]).save(maker.root / split / f"p{number:03d}.png")
        boxes = [{**a, "category_id": 3 + 4 * ((a["id"] + shift) % 3)} for a in document["annotations"]]
        part = {**document, "annotations": boxes}
        (maker.root / "annotations" / f"instances_{split}.json").write_text(json.dumps(part))
    bundle = load(str(maker.root))
    assert bundle.skipped == {}
    assert len(bundle.val) == maker.count
    assert all_colours_fit(bundle)
    part["categories"] = [{**entry, "name": entry["name"][::-1]} for entry in document["categories"]]
    (maker.root / "annotations" / "instances_val2017.json").write_text(json.dumps(part))
    with pytest.raises(EdgelaneError, match=r"instances_val2017.json: category 3 is 'eulb', but 'blue' in another"):
        load(str(maker.root))


def test_coco_name_that_fits_two_photos_is_skipped(maker: Maker):
    document = maker.coco_document()
    maker.coco({**document, "images": [*document["images"], {"id": 1, "file_name": "q.png"}]})
    for folder in ("left", "right"):
        (maker.root / folder).mkdir()
        photo(0, COLOURS["red"]).save(maker.root / folder / "q.png")
    assert load(str(maker.root)).skipped == {"annotation that fits several images": 1}


def test_two_classes_of_one_name_are_refused(maker: Maker):
    maker.yolo()
    (maker.root / "data.yaml").write_text("names: [blue, green, blue]\n")
    with pytest.raises(EdgelaneError, match="two classes are called 'blue'"):
        load(str(maker.root))


def test_a_class_may_have_the_name_of_a_split(maker: Maker):
    for number in range(40):
        folder = maker.root / ("train", "tram")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photo(number, COLOURS["red"]).save(folder / f"p{number}.png")
    assert load(str(maker.root)).classes == ("train", "tram")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names:\n  0: blue\n  1: green\n  2: red\n"),
        ("classes.txt", "blue\ngreen\nred\n"),
        ("obj.names", "blue\ngreen\nred\n"),
        ("README.md", "A set of colours. YOLO text, ids: 0 blue 14, 1 green 13, 2 red 13.\n"),
    ],
)
def test_yolo_class_names(maker: Maker, name, text):
    maker.yolo()
    (maker.root / "data.yaml").unlink()
    (maker.root / name).write_text(text)
    assert load(str(maker.root)).classes == ("blue", "green", "red")


def test_yolo_without_names_uses_the_ids(maker: Maker):
    maker.yolo()
    (maker.root / "data.yaml").unlink()
    assert load(str(maker.root)).classes == ("0", "1", "2")


def test_yolo_labels_beside_the_pictures_and_splits(maker: Maker):
    maker.count = 30
    for split in ("train", "valid"):
        folder = maker.root / split / "images"
        maker.photos(folder)
        for number in range(maker.count):
            (folder / f"p{number:03d}.txt").write_text(maker.yolo_line(number))
    bundle = load(str(maker.root))
    assert len(bundle.val) == 30
    assert len(bundle.train) + len(bundle.test) == 30


def test_yolo_polygon_becomes_its_box(maker: Maker):
    maker.yolo()
    for path in (maker.root / "labels").iterdir():
        path.write_text("1 0.25 0.5 0.5 0.25 0.75 0.75\n")
    bundle = load(str(maker.root), task="detection", image_size=100)
    torch.testing.assert_close(bundle.val[0][1]["boxes"], torch.tensor([[25.0, 25.0, 75.0, 75.0]]))


def test_yolo_photo_without_label_file_is_background(maker: Maker):
    maker.yolo()
    for number in range(10):
        (maker.root / "labels" / f"p{number:03d}.txt").unlink()
    assert sum(map(len, datasets(load(str(maker.root), task="detection")))) == 40
    assert sum(map(len, datasets(load(str(maker.root))))) == 30


def test_coco_split_by_document_name(maker: Maker):
    maker.coco()
    document = maker.coco_document()
    (maker.root / "annotations" / "instances_default.json").unlink()
    for name, numbers in (("train2017", range(0, 28)), ("val2017", range(28, 40))):
        part = {**document, "images": [document["images"][n] for n in numbers]}
        part["annotations"] = [document["annotations"][n] for n in numbers]
        (maker.root / "annotations" / f"instances_{name}.json").write_text(json.dumps(part))
    bundle = load(str(maker.root))
    assert bundle.skipped == {}
    assert len(bundle.val) == 12
    assert len(bundle.train) + len(bundle.test) == 28


def test_two_boxes_of_a_photo_stay_in_one_split(maker: Maker):
    maker.voc()
    for number in range(maker.count):
        boxes = [("red", (2, 2, 20, 20)), ("blue", (22, 2, 44, 20)), ("green", (2, 22, 30, 44))]
        (maker.root / "Annotations" / f"p{number:03d}.xml").write_text(voc_xml("x", boxes))
    paths = [{record.path for record in dataset.records} for dataset in datasets(load(str(maker.root)))]
    assert sum(map(len, paths)) == 40
    assert len(set.union(*paths)) == 40


def test_class_folders_cannot_train_a_detector(maker: Maker):
    with pytest.raises(EdgelaneError, match="no boxes"):
        load(str(maker.class_folders()), task="detection")


def test_folder_without_data_says_what_was_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    photo(0, COLOURS["red"]).save(tmp_path / "loose.png")
    with pytest.raises(EdgelaneError, match=r"expected COCO JSON .* Pascal VOC .* YOLO text .* one folder"):
        load(str(tmp_path))
