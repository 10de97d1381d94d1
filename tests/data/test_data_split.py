"""The split: fixed by the file name, disjoint, about 70/10/20, and the same with and without a limit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_makers import Maker, photo

from edgelane.data import load
from edgelane.data.photo import Label, Photo
from edgelane.data.split import assign, split_named, split_of


def paths(bundle):
    return {split: {r.path for r in getattr(bundle, split).records} for split in ("train", "val", "test")}


def test_split_never_changes():
    """Written down once: if this fails, every published accuracy was measured on another split."""
    found = [split_of(f"road{number}") for number in range(12)]
    assert " ".join(found) == "test train train train train train test train val train train train"


def test_shares():
    counts = Counter(split_of(f"photo{number}") for number in range(20_000))
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert counts[split] / 20_000 == pytest.approx(share, abs=0.012)  # four standard deviations of 20,000 draws


def test_same_split_in_another_place_and_order(maker: Maker, tmp_path):
    first = paths(load(str(maker.class_folders())))
    maker.root.rename(tmp_path / "moved")
    second = paths(load(str(tmp_path / "moved")))
    for split in first:
        assert {Path(p).name for p in first[split]} == {Path(p).name for p in second[split]}


def test_limit_keeps_the_split_and_the_classes(maker: Maker):
    maker.count = 120
    whole = load(str(maker.class_folders()))
    limited = load(str(maker.root), limit=20)
    assert [len(limited.train), len(limited.val), len(limited.test)] == [14, 2, 4]
    assert limited.classes == whole.classes
    assert set(limited.train.labels) == {0, 1, 2}
    for split, names in paths(limited).items():
        assert names <= paths(whole)[split]


@pytest.mark.parametrize("count", [3, 4, 7, 12])
def test_a_tiny_set_fills_every_split(count):
    photos = [Photo.of_file(Path(f"{n}.png"), str(n), [Label(0)]) for n in range(count)]
    assign(photos, "tiny")
    assert {photo.split for photo in photos} == {"train", "val", "test"}


def test_photos_with_the_same_key_stay_together():
    photos = [Photo.of_file(Path(f"{n}.png"), str(n // 10), [Label(0)]) for n in range(300)]
    assign(photos, "frames")
    for start in range(0, 300, 10):
        assert len({photo.split for photo in photos[start : start + 10]}) == 1


@pytest.mark.parametrize(
    ("name", "split"),
    [("Training", "train"), ("val2017", "val"), ("valid", "val"), ("test", "test"), ("trainer", None), ("stop", None)],
)
def test_names_of_splits(name, split):
    assert split_named(name) == split


def test_class_balance(maker: Maker):
    for number in range(40):
        folder = maker.root / ("many" if number % 4 else "few")
        folder.mkdir(parents=True, exist_ok=True)
        photo(number, (number, 90, 90)).save(folder / f"p{number}.png")
    bundle = load(str(maker.root))
    counts, weights = bundle.class_counts(), bundle.class_weights()
    assert counts == tuple(bundle.train.labels.count(i) for i in range(2))
    # Weighted, both classes count the same, and the mean weight over the items is 1.
    assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1])
    assert np.dot(weights, counts) == pytest.approx(sum(counts))
    per_item = bundle.sample_weights()
    assert per_item == [weights[label] for label in bundle.train.labels]
