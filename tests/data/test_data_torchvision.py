"""MNIST, CIFAR-10, GTSRB and KITTI read from small made files in their own formats; the network is never touched."""

from __future__ import annotations

import hashlib
import pickle
import struct

import numpy as np
import pytest
from data_makers import photo
from torchvision.datasets import CIFAR10

from edgelane.data import load
from edgelane.errors import EdgelaneError

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELANE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgelane.data.catalog.REPOSITORY", tmp_path / "repository")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "data"


def make_mnist(root, labels=None):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count in (("train", 50), ("t10k", 20)):
        images = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        digits = np.arange(count, dtype=np.uint8) % 10 if labels is None else np.full(count, labels, dtype=np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, 28, 28) + images.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + digits.tobytes())
    return folder


def make_cifar10(root, monkeypatch):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    lists = {"train_list": [f"data_batch_{n}" for n in range(1, 6)], "test_list": ["test_batch"]}
    for attribute, names in lists.items():
        entries = []
        for name in names:
            content = pickle.dumps(
                {"data": RNG.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [n % 10 for n in range(20)]}
            )
            (folder / name).write_bytes(content)
            entries.append([name, hashlib.md5(content).hexdigest()])
        monkeypatch.setattr(CIFAR10, attribute, entries)
    meta = pickle.dumps({"label_names": [f"class {n}" for n in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": hashlib.md5(meta).hexdigest()})
    return folder


def make_gtsrb(root):
    training = root / "gtsrb" / "GTSRB" / "Training"
    for label in (0, 1, 14):
        folder = training / f"{label:05d}"
        folder.mkdir(parents=True)
        for sign in range(8):
            for frame in range(3):
                photo(sign, (label * 10, 80, 90), (30, 31)).save(folder / f"{sign:05d}_{frame:05d}.ppm")
    images = root / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    images.mkdir(parents=True)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number in range(9):
        photo(number, (90, 90, 90), (30, 31)).save(images / f"{number:05d}.ppm")
        rows.append(f"{number:05d}.ppm;30;31;5;5;25;25;{(0, 1, 14)[number % 3]}")
    (root / "gtsrb" / "GT-final_test.csv").write_text("\n".join(rows) + "\n")


def kitti_line(kind, x0, y0, x1, y1):
    return f"{kind} 0.00 0 -1.57 {x0} {y0} {x1} {y1} 1.5 1.6 3.7 1.0 1.7 20.0 -1.5\n"


def make_kitti(root):
    training = root / "Kitti" / "raw" / "training"
    (training / "label_2").mkdir(parents=True)
    (training / "image_2").mkdir()
    (root / "Kitti" / "raw" / "testing" / "image_2").mkdir(parents=True)
    for number in range(30):
        photo(number, (90, 90, 90), (124, 38)).save(training / "image_2" / f"{number:06d}.png")
        text = kitti_line("Car", 10.0, 5.0, 50.0, 30.0) + kitti_line("Pedestrian", 60.5, 4.0, 70.0, 33.0)
        (training / "label_2" / f"{number:06d}.txt").write_text(text)
    return training / "label_2"


def test_mnist(root):
    make_mnist(root)
    bundle = load("mnist", image_size=32)
    assert bundle.classes == tuple("0123456789")
    assert len(bundle.test) == 20
    assert len(bundle.train) + len(bundle.val) == 50
    assert len(bundle.val) > 0
    assert bundle.train[0][0].shape == (3, 32, 32)
    assert [int(record.path.rsplit("/", 1)[1]) % 10 for record in bundle.test.records] == bundle.test.labels
    assert bundle.test.image(0).size == (28, 28)


def test_mnist_with_an_impossible_label(root):
    make_mnist(root, labels=11)
    with pytest.raises(EdgelaneError, match="70 unknown class id"):
        load("mnist")


def test_cifar10(root, monkeypatch):
    make_cifar10(root, monkeypatch)
    bundle = load("cifar10", image_size=40)
    assert bundle.classes[0] == "airplane"
    assert len(bundle.test) == 20
    assert len(bundle.train) + len(bundle.val) == 100
    np.testing.assert_array_equal(bundle.val[0][0], bundle.preprocessing.apply(bundle.val.image(0)))


def test_damaged_cifar10_is_refused(root, monkeypatch):
    folder = make_cifar10(root, monkeypatch)
    (folder / "test_batch").write_bytes(b"cos\nsystem\n(S'true'\ntR.")  # a pickle that would run a program
    with pytest.raises(EdgelaneError, match="incomplete or damaged"):
        load("cifar10")


def test_gtsrb_keeps_the_frames_of_one_sign_together(root):
    make_gtsrb(root)
    bundle = load("gtsrb", image_size=24)
    assert bundle.classes == ("limit_20", "limit_30", "stop")
    assert bundle.skipped == {"empty class": 40}
    assert len(bundle.test) == 9
    assert len(bundle.train) + len(bundle.val) == 72
    tracks = [{record.path.rsplit("_", 1)[0] for record in dataset.records} for dataset in (bundle.train, bundle.val)]
    assert not tracks[0] & tracks[1]


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_kitti(root, task):
    labels = make_kitti(root)
    (labels / "000003.txt").write_text("Car 0 0\n" + kitti_line("Car", 10, 5, 50, 30))
    (labels / "000004.txt").write_text(kitti_line("DontCare", 1, 1, 9, 9) + kitti_line("Van", 10, 5, 50, 30))
    (labels / "000005.txt").write_text(kitti_line("Zeppelin", 10, 5, 50, 30))
    (labels / "000006.txt").unlink()
    bundle = load("kitti", task=task, image_size=(38, 124))
    assert bundle.classes == ("Car", "Van", "Pedestrian")
    assert bundle.skipped == {
        "malformed label line": 1,
        "region marked DontCare": 1,
        "unknown class id": 1,
        "image without a label file": 1,
        "empty class": 5,
    }
    if task == "detection":
        target = next(t for _, t in (bundle.test[i] for i in range(len(bundle.test))) if len(t["labels"]) == 2)
        assert target["boxes"].tolist() == [[10.0, 5.0, 50.0, 30.0], [60.5, 4.0, 70.0, 33.0]]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "gtsrb", "kitti"])
def test_without_a_network_the_error_says_where_the_files_go(root, name, tmp_path):
    with pytest.raises(
        EdgelaneError, match=f"{name} could not be downloaded .* put .* into .*cache/edgelane"
    ) as caught:
        load(name)
    assert "EDGELANE_DATA" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "gtsrb", "kitti"])
def test_an_incomplete_folder_is_named(root, name):
    {"mnist": make_mnist, "gtsrb": make_gtsrb, "kitti": make_kitti}[name](root)
    lost = {"mnist": "MNIST/raw/t10k-images-idx3-ubyte", "gtsrb": "gtsrb/GT-final_test.csv", "kitti": None}[name]
    if lost is None:
        for path in (root / "Kitti" / "raw" / "training" / "image_2").iterdir():
            path.unlink()
        (root / "Kitti" / "raw" / "training" / "image_2").rmdir()
    else:
        (root / lost).unlink()
    with pytest.raises(EdgelaneError, match=f"{name} in .* is incomplete or damaged"):
        load(name)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "gtsrb"])
def test_no_boxes_no_detector(root, name):
    with pytest.raises(EdgelaneError, match="no boxes"):
        load(name, task="detection")
