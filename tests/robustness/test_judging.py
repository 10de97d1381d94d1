from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import COLOURS, PREPROCESSING, Brightest, Colours, Fields, bundle
from torch import nn

from edgelane.errors import EdgelaneError
from edgelane.robustness import Condition, judge
from edgelane.robustness.judging import class_values, pixels
from edgelane.training import evaluate, predictor

FOG = Condition("fog", "strong", 0.65)


class Recorder(nn.Module):
    """A network that keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.clone())
        return x.mean((2, 3))


@pytest.mark.parametrize(("kind", "masks"), [(Colours, False), (Fields, True)], ids=["classification", "segmentation"])
def test_clean_rows_say_what_evaluate_says(kind, masks):
    data = bundle(kind)
    models = {"dense": Brightest(masks=masks).eval(), "int8": Brightest((0.0, 0.0, -9.0), masks).eval()}
    found = judge(models, data, conditions=(), attacks=())
    (row,) = found.rows
    for name, model in models.items():
        assert row.metrics[name] == evaluate(predictor(model), data.test, COLOURS)
    worst = row.classes["int8"][0]
    assert (worst.name, worst.items) == ("blue", 10)
    assert worst.lost == pytest.approx(100)
    assert worst.p_value == pytest.approx(2 * 0.5**10)
    assert {loss.name: loss.lost for loss in row.classes["int8"]} == {
        name: 100 * (row.metrics["dense"].class_scores[name] - row.metrics["int8"].class_scores[name])
        for name in COLOURS
    }
    assert "dense" not in row.lost


def test_every_network_sees_the_same_spoiled_pictures():
    data, first, second = bundle(), Recorder(), Recorder()
    judge({"a": first, "b": second}, data, conditions=[FOG], attacks=(), limit=4, seed=7)
    (clean, fogged), (_, other) = first.seen, second.seen
    assert torch.equal(fogged, other)
    chosen = [0, 10, 19, 29]  # spread over the thirty
    for row, index in enumerate(chosen):
        assert torch.equal(clean[row], data.test[index][0])
        expected = PREPROCESSING.apply(FOG(data.test.pictures[index], index, 7))
        assert torch.equal(fogged[row], torch.from_numpy(expected))


def test_attacks_are_made_against_each_network():
    data = bundle()
    found = judge({"dense": Brightest(), "other": Brightest()}, data, conditions=(), attacks=("fgsm/120", "pgd/120"))
    for row in found.rows[1:]:
        assert row.kind == "attack"
        # The bright channel is at most 160 levels above the others: 120 down and 120 up turn every answer.
        assert row.metrics["dense"].score == row.metrics["other"].score == 0.0
    assert found.rows[0].metrics["dense"].score == 1.0
    masks = judge({"dense": Brightest(masks=True)}, bundle(Fields), conditions=(), attacks=("fgsm/120",))
    assert [row.metrics["dense"].score for row in masks.rows] == [1.0, 0.0]


def test_transferred_attacks_are_made_against_the_first():
    data, first, second = bundle(), Recorder(), Recorder()
    judge({"a": first, "b": second}, data, conditions=(), attacks=["transfer/2"], limit=4)
    assert len(second.seen) == 2, "clean and attacked: it was asked for no gradient"
    assert torch.equal(first.seen[-1], second.seen[-1])
    assert not torch.equal(first.seen[-1], first.seen[0])


def test_the_result_is_json_and_progress_is_told():
    told: list[tuple[str, float]] = []
    found = judge(
        {"dense": Brightest(), "int8": Brightest((0.0, -9.0, 0.0))},
        bundle(test=6),
        conditions=["jpeg"],
        attacks=["fgsm/2"],
        progress=lambda stage, share: told.append((stage, share)),
    )
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [(row["kind"], row["label"]) for row in content["rows"]] == [
        ("clean", "clean"),
        ("condition", "jpeg/light"),
        ("condition", "jpeg/strong"),
        ("attack", "fgsm/2"),
    ]
    row = content["rows"][0]
    assert row["scores"] == {"dense": 1.0, "int8": pytest.approx(2 / 3)}
    assert row["lost"]["int8"]["points"] == pytest.approx(100 / 3)
    assert row["lost"]["int8"]["p_value"] == pytest.approx(0.5), "two of six became wrong"
    worst = row["classes"]["int8"][0]
    assert [worst[key] for key in ("name", "lost", "items", "p_value")] == ["green", 100.0, 2, 0.5]
    assert (content["items"], content["models"]) == (6, ["dense", "int8"])
    assert told[0] == ("dense, clean", 0.0)
    assert [share for _, share in told] == pytest.approx([index / 8 for index in range(8)])


def test_pixels_undo_preprocessing_exactly():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (pixels(PREPROCESSING.apply(picture), PREPROCESSING) == picture).all()


def test_class_values_by_hand():
    values = class_values(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
    np.testing.assert_array_equal(values, [[1, np.nan, np.nan], [0, np.nan, np.nan], [np.nan, 1, np.nan]])
    guess, target = np.array([[[0, 0, 1, 2]]]), np.array([[[0, 1, 1, 255]]])
    np.testing.assert_allclose(class_values(guess, target, 3), [[1 / 2, 1 / 2, np.nan]])


def test_a_picture_without_labels_counts_for_nothing():
    class Gaps(Fields):
        def __getitem__(self, index):
            image, mask = super().__getitem__(index)
            return image, torch.full_like(mask, 255) if index == 0 else mask

    models = {"dense": Brightest(masks=True), "int8": Brightest((0.0, 0.0, -9.0), masks=True)}
    (row,) = judge(models, bundle(Gaps, test=6), conditions=(), attacks=()).rows
    assert row.lost["int8"].items == 5
    assert row.lost["int8"].lost == pytest.approx(40), "two of five"


def test_what_cannot_be_judged_is_refused():
    data = bundle(test=6)
    with pytest.raises(EdgelaneError, match="found detection"):
        judge({"a": Brightest()}, replace(data, task="detection"))
    with pytest.raises(EdgelaneError, match="at least one network"):
        judge({}, data)
    with pytest.raises(EdgelaneError, match="limit of at least 1 item, found 0"):
        judge({"a": Brightest()}, data, limit=0)
