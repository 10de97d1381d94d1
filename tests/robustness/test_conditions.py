from __future__ import annotations

import numpy as np
import pytest

from edgelane.errors import EdgelaneError
from edgelane.robustness.conditions import ALL, SEVERITIES, choose

PICTURE = np.stack(np.broadcast_arrays(*np.ogrid[20:180:48j, 40:220:64j], 120), axis=-1).astype(np.uint8)
PICTURE[10:34, 20:44] = (200, 60, 40)


@pytest.mark.parametrize("condition", ALL, ids=lambda condition: condition.label)
def test_a_condition_changes_the_picture_alike_each_time(condition):
    before = PICTURE.copy()
    spoiled = condition(PICTURE, index=3, seed=1)
    assert spoiled.shape == PICTURE.shape
    assert spoiled.dtype == np.uint8
    assert (before == PICTURE).all(), "the picture itself stays"
    assert (spoiled != PICTURE).any()
    assert (spoiled == condition(PICTURE, index=3, seed=1)).all()
    assert condition(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)


@pytest.mark.parametrize("name", ["dusk", "motion_blur", "gaussian_noise", "rain", "fog", "snow", "glare", "occlusion"])
def test_chance_follows_index_and_seed(name):
    (condition, _) = choose([name])
    assert (condition(PICTURE, index=0) != condition(PICTURE, index=1)).any()
    assert (condition(PICTURE, seed=0) != condition(PICTURE, seed=1)).any()


@pytest.mark.parametrize("name", sorted({condition.name for condition in ALL}))
def test_strong_is_further_from_the_picture_than_light(name):
    # Over several pictures: one that happens to be hidden in a dark corner says little.
    distances = [
        np.mean([np.abs(c(PICTURE, index=i).astype(float) - PICTURE).mean() for i in range(8)]) for c in choose([name])
    ]
    assert distances[0] < distances[1]


def test_values_by_hand():
    flat = np.full((40, 40, 3), 100, np.uint8)
    by_label = {condition.label: condition for condition in ALL}
    assert (by_label["brighter/light"](flat) == 135).all()
    assert (by_label["darker/light"](flat) == 65).all()
    for blur in ("defocus/strong", "motion_blur/strong"):
        assert (by_label[blur](flat) == 100).all(), "a kernel's sum is 1, and the border is continued"
    noise = by_label["gaussian_noise/strong"](np.full((200, 200, 3), 128, np.uint8)).astype(float) - 128
    assert abs(noise.mean()) < 0.2
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.02)
    shots = by_label["shot_noise/strong"](np.full((200, 200, 3), 102, np.uint8)).astype(float)
    assert shots.std() == pytest.approx(255 * np.sqrt(0.4 / 60), rel=0.02), "variance of a Poisson count"
    hidden = (by_label["occlusion/strong"](np.full((100, 100, 3), 255, np.uint8)) != 255).all(axis=2)
    assert hidden.mean() == pytest.approx(0.2, abs=0.01)


def test_a_blurred_edge_is_as_wide_as_the_lens_says():
    edge = np.zeros((400, 400, 3), np.uint8)
    edge[:, 200:] = 255
    condition = next(c for c in ALL if c.label == "defocus/strong")  # radius 0.025 * 400 = 10 pixels
    row = condition(edge)[200, :, 0].astype(int)
    between = np.flatnonzero((row > 0) & (row < 255))
    assert 18 <= between.size <= 21


def test_names_choose():
    assert [c.label for c in choose(["fog", "rain/light", "fog/light"])] == ["fog/light", "fog/strong", "rain/light"]
    assert choose([ALL[3]]) == [ALL[3]]
    assert choose(["all"]) == list(ALL)
    assert len({c.label for c in ALL}) == len(ALL)
    assert {c.severity for c in ALL} == set(SEVERITIES)
    with pytest.raises(EdgelaneError, match=r"unknown condition 'smog'; expected all or one of brighter.*fog"):
        choose(["smog"])


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(EdgelaneError, match=r"uint8 \[height, width, 3\], found"):
        ALL[0](wrong)
