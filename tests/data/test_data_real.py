"""The real photos, where they lie beside the project."""

from __future__ import annotations

import pytest
import torch

from edgelane.data import load


def boxes_by_class(bundle):
    counts = dict.fromkeys(bundle.classes, 0)
    for dataset in (bundle.train, bundle.val, bundle.test):
        for label in dataset.labels:
            counts[bundle.classes[label]] += 1
    return counts


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_road_signs(real_data, task):
    real_data("road_signs")
    bundle = load("road_signs", task=task, image_size=48)
    assert boxes_by_class(bundle) == {"crosswalk": 163, "speedlimit": 629, "stop": 72, "trafficlight": 134}
    assert bundle.skipped == {}
    assert bundle.train[0][0].shape == (3, 48, 48)
    share = len(bundle.test) / (len(bundle.train) + len(bundle.val) + len(bundle.test))
    assert 0.17 < share < 0.25


def test_road_sign_crops_of_a_photo_stay_together(real_data):
    real_data("road_signs")
    bundle = load("road_signs", image_size=16)
    paths = [{record.path for record in dataset.records} for dataset in (bundle.train, bundle.val, bundle.test)]
    assert sum(map(len, paths)) == len(set.union(*paths))


def test_carla(real_data):
    real_data("carla")
    bundle = load("carla", task="detection", image_size=(96, 160))
    expected = {"vehicle": 581, "bike": 74, "motobike": 45, "traffic_light": 535, "traffic_sign": 46}
    assert boxes_by_class(bundle) == expected
    assert bundle.skipped == {}
    for index in range(len(bundle.val)):
        image, target = bundle.val[index]
        assert image.shape == (3, 96, 160)
        assert bool((target["boxes"] >= 0).all())
        assert bool((target["boxes"] <= torch.tensor([160.0, 96.0, 160.0, 96.0])).all())


def test_carla_as_a_folder_finds_its_class_names_in_the_readme(real_data):
    folder = real_data("carla")
    if not (folder.parent / "README.md").is_file():
        pytest.skip(f"no README.md beside {folder}")
    bundle = load(str(folder), limit=60, image_size=16)
    assert bundle.classes == ("vehicle", "bike", "motobike", "traffic_light", "traffic_sign")
