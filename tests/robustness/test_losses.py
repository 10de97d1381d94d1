from __future__ import annotations

import math

import numpy as np
import pytest

from edgelane.errors import EdgelaneError
from edgelane.robustness import class_drop, compare, most_hurt
from edgelane.training import Metrics

CLASSES = ("stop", "yield", "limit", "unseen")


def metrics(confusion: list[list[int]]) -> Metrics:
    pairs = [(i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) for _ in range(count)]
    return Metrics.of([j for _, j in pairs], [i for i, _ in pairs], CLASSES)


BEFORE = metrics([[9, 1, 0, 0], [0, 40, 0, 0], [0, 20, 80, 0], [0, 0, 0, 0]])
AFTER = metrics([[4, 6, 0, 0], [0, 38, 2, 0], [0, 10, 90, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("form", [lambda m: m, lambda m: m.to_dict()], ids=["objects", "dictionaries"])
def test_the_most_hurt_come_first_with_points_and_items(form):
    losses = most_hurt(form(BEFORE), form(AFTER))
    assert [(loss.name, round(loss.lost, 4), loss.items) for loss in losses] == [
        ("stop", 50.0, 10),
        ("yield", 5.0, 40),
        ("limit", -10.0, 100),
    ], "the class without an item is left out"
    assert losses[0].standard_error == pytest.approx(
        100 * math.sqrt((10 / 12 * 2 / 12 + 5 / 12 * 7 / 12) / 12), rel=1e-4
    )
    assert all(loss.p_value is None for loss in losses)
    assert class_drop(form(BEFORE), form(AFTER)) == losses[0]


def test_pairs_bring_the_error_of_the_same_items():
    before, after = np.ones(10), np.array([0.0] * 6 + [1.0] * 4)
    losses = most_hurt(BEFORE, AFTER, {"stop": compare(before, after)})
    assert losses[0].p_value == pytest.approx(2 * 0.5**6), "McNemar: six became wrong, none became right"
    assert losses[0].standard_error == pytest.approx(100 / 6), "sqrt(7 - 36 / 12) / 12"


def test_right_and_wrong_are_compared_by_mcnemar():
    before = np.array([1.0] * 5 + [0.0] * 1 + [1.0] * 20)
    after = np.array([0.0] * 5 + [1.0] * 1 + [1.0] * 20)
    found = compare(before, after)
    assert found.lost == pytest.approx(100 * 4 / 26)
    assert found.p_value == pytest.approx(2 * (1 + 6) / 2**6), "two tails of a binomial: at most 1 of 6"
    assert compare(after, after).p_value == 1.0
    assert compare(after, after).standard_error == pytest.approx(100 / 28), "what is seen to be the same may not be"


def test_shares_are_compared_by_ranks():
    before = np.linspace(0.5, 0.9, 6)
    found = compare(before, before - np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]))
    assert found.p_value == pytest.approx(2 / 2**6), "all six of one sign: the two extremes of 64"
    assert found.lost == pytest.approx(3.5)
    assert found.standard_error == pytest.approx(math.sqrt(3.5 / 6)), "variance of 1 to 6: 3.5"
    assert compare(np.array([0.5]), np.array([0.25])).standard_error is None


def test_what_cannot_be_compared_is_refused():
    other = Metrics.of([0, 1], [0, 1], ("a", "b"))
    with pytest.raises(EdgelaneError, match=r"same classes, found stop.* and a, b"):
        most_hurt(BEFORE, other)
    with pytest.raises(EdgelaneError, match="same items"):
        compare(np.ones(3), np.ones(4))
