"""Settings, batches, schedule and parameter groups: the parts of training that are plain functions."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import pytest
import torch

from edgelane.errors import EdgelaneError
from edgelane.training import TrainingConfig
from edgelane.training.loaders import class_weights, epoch_batches
from edgelane.training.loop import choose_precision
from edgelane.training.module import decay_groups, learning_rate_factor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", 2.5), ("batch_size", 0), ("optimizer", "lion"), ("learning_rate", 0.0),
        ("learning_rate", math.nan), ("weight_decay", -1.0), ("momentum", 1.0), ("gradient_clip", -0.1),
        ("label_smoothing", 1.0), ("balance", "both"), ("precision", "8"), ("patience", -1), ("best_from", 30),
        ("workers", -1), ("warmup_epochs", math.inf), ("seed", -1),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named_with_its_value(name, value):
    with pytest.raises(EdgelaneError, match=rf"^{name}: expected .*{value}"):
        TrainingConfig(**{name: value})


def test_batches_cover_an_epoch_once_in_even_sizes_and_another_order_each_time():
    config = TrainingConfig(batch_size=8)
    epochs = [epoch_batches([0] * 33, config, 1, epoch) for epoch in (0, 1, 0)]
    for batches in epochs:
        assert sorted(index for batch in batches for index in batch) == list(range(33))
        assert sorted(map(len, batches)) == [6, 6, 7, 7, 7]
    assert epochs[0] == epochs[2] != epochs[1]


def test_processes_share_an_epoch_in_equal_parts():
    parts = [epoch_batches([0] * 33, TrainingConfig(batch_size=8), 1, 4, rank, 2) for rank in (0, 1)]
    assert [list(map(len, part)) for part in parts] == [[6, 6, 5], [6, 6, 5]]
    counts = Counter(index for part in parts for batch in part for index in batch)
    assert set(counts) == set(range(33))
    assert counts.total() == 34


def test_balanced_sampling_draws_the_classes_equally_often():
    labels = [0] * 900 + [1] * 90 + [2] * 10
    drawn = [i for batch in epoch_batches(labels, TrainingConfig(balance="sampling"), 3, 0) for i in batch]
    counts = Counter(labels[index] for index in drawn)
    assert len(drawn) == 1000
    # Binomial with p = 1/3: a standard deviation of 14.9; five of them.
    assert all(abs(counts[label] - 1000 / 3) < 75 for label in range(3))


def test_class_weights_are_inverse_to_counts_and_one_on_average():
    labels = [0] * 6 + [1] * 3 + [3]
    weights = class_weights(labels, 4)
    assert weights == pytest.approx([10 / 18, 10 / 9, 0.0, 10 / 3])
    assert sum(weights[label] for label in labels) / len(labels) == pytest.approx(1.0)


def test_the_learning_rate_warms_up_and_follows_a_cosine_to_zero():
    factors = [learning_rate_factor(step, 3, 11) for step in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[7] == pytest.approx(0.5)
    assert factors[11] == pytest.approx(0.0)
    assert factors[3:] == sorted(factors[3:], reverse=True)
    assert learning_rate_factor(0, 0, 1) == 1.0


def test_biases_and_normalisation_do_not_decay():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    decaying, free = decay_groups(model, 0.1)
    assert [tuple(parameter.shape) for parameter in decaying["params"]] == [(4, 3, 3, 3)]
    assert [tuple(parameter.shape) for parameter in free["params"]] == [(4,), (4,), (4,), (2,)]
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(("amx", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_precision_on_a_cpu_depends_on_amx(monkeypatch, amx, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert choose_precision("auto") == expected
    assert choose_precision("32") == "32-true"


def test_the_settings_and_the_judge_come_without_torch():
    code = "import sys, edgelane.training, edgelane.models, edgelane.checkpoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
