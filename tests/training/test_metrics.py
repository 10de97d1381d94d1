"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundles import CLASSES, Colours

from edgelane.errors import EdgelaneError
from edgelane.training import Metrics, evaluate, predictor

# true class:   a a a a b b b c c d ; d is never predicted
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
GUESSES = [0, 0, 0, 1, 1, 1, 2, 2, 0, 0]


def test_every_figure_equals_the_one_computed_by_hand():
    metrics = Metrics.of(GUESSES, LABELS, ("a", "b", "c", "d"))
    assert metrics.confusion == [[3, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
    assert metrics.count == 10
    assert metrics.accuracy == pytest.approx(6 / 10)
    expected = {
        "a": {"precision": 3 / 5, "recall": 3 / 4, "f1": 2 * 3 / (5 + 4), "support": 4},
        "b": {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 * 2 / (3 + 3), "support": 3},
        "c": {"precision": 1 / 2, "recall": 1 / 2, "f1": 2 * 1 / (2 + 2), "support": 2},
        "d": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    }
    for label, row in expected.items():
        assert metrics.per_class[label] == pytest.approx(row)
    for name in ("precision", "recall", "f1"):
        assert getattr(metrics, name) == pytest.approx(sum(row[name] for row in expected.values()) / 4)


def test_a_class_that_occurs_nowhere_does_not_count_in_the_macro_averages():
    with_ghost = Metrics.of([0, 0, 1], [0, 1, 1], ("a", "b", "ghost"))
    assert with_ghost.recall == pytest.approx((1 + 1 / 2) / 2)
    assert with_ghost.per_class["ghost"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_one_class_alone():
    metrics = Metrics.of([0, 0], [0, 0], ("only",))
    assert metrics.accuracy == metrics.precision == metrics.recall == metrics.f1 == 1.0
    assert metrics.confusion == [[2]]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_evaluate_asks_in_batches_and_takes_the_highest_score(batch_size):
    data = Colours(30, seed=4)
    sizes: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.float32
        sizes.append(len(images))
        return images.mean(axis=(2, 3))

    metrics = evaluate(predict, data, CLASSES, batch_size)
    assert metrics.accuracy == 1.0
    assert metrics.confusion == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert sum(sizes) == 30
    assert max(sizes) <= batch_size


def test_a_torch_module_is_judged_in_evaluation_mode_without_touching_it():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(3 * 16 * 16), torch.nn.Linear(3 * 16 * 16, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = evaluate(predictor(model), Colours(10, seed=4), CLASSES, batch_size=1)
    assert first == evaluate(predictor(model), Colours(10, seed=4), CLASSES, batch_size=10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wrong_scores_and_an_empty_split_are_named():
    data = Colours(6, seed=4)
    with pytest.raises(EdgelaneError, match=r"expected scores of shape \[6, 3\] from the model, found \[6, 1000\]"):
        evaluate(lambda images: np.zeros((len(images), 1000), np.float32), data, CLASSES)
    with pytest.raises(EdgelaneError, match="scores for items 0 to 5 are not all finite"):
        evaluate(lambda images: np.full((len(images), 3), np.nan, np.float32), data, CLASSES)
    with pytest.raises(EdgelaneError, match="split is empty"):
        evaluate(lambda images: np.zeros((len(images), 3), np.float32), Colours(0, seed=4), CLASSES)
