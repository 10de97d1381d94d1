from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmarks make networks")

from benchmarks.kernels.make_layers import LAYERS, lines
from benchmarks.kernels.program import break_even_sparsity, break_even_table, percent
from benchmarks.models.statistics import (
    geometric_mean,
    jitter,
    latency,
    ratio_of_minima,
    ratio_within_rounds,
    rms_error,
)


def test_a_burst_of_somebody_elses_work_does_not_move_the_ratio_of_minima():
    quiet = [[10.0, 10.1]] * 5
    disturbed = [[5.0, 5.1], [9.0, 9.5], [9.0, 9.5], [9.0, 9.5], [9.0, 9.5]]
    assert ratio_of_minima(quiet, disturbed) == 2.0
    assert ratio_within_rounds(quiet, disturbed) == pytest.approx(10 / 9)


def test_latency_is_of_all_rounds():
    found = latency([[3.0, 1.0], [2.0, 4.0]])
    assert (found.count, found.min_ms, found.p50_ms) == (4, 1.0, 2.5)


def test_the_geometric_mean_of_a_ratio_and_its_inverse_is_one():
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)


def test_jitter_is_what_comes_on_top_of_an_empty_loop():
    runs = [2.0] * 5990 + [3.0] * 10
    spins = [2.0] * 5990 + [2.9] * 10
    found = jitter(runs, spins)
    assert (found.count, found.run_ms) == (6000, 2.0)
    assert found.run_ratio == pytest.approx(1.5)
    assert found.excess == pytest.approx(0.05)


def points(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"sparsity": sparsity, "us": us} for sparsity, us in pairs]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (points((0.2, 12), (0.4, 8), (0.6, 5)), 0.3),
        (points((0.2, 10), (0.4, 8)), 0.2),
        (points((0.2, 20), (0.4, 11)), None),
        (points((0.2, 9), (0.4, 11), (0.6, 9)), 0.5),  # only from the last crossing on is sparse never slower
        ([], None),
    ],
)
def test_break_even_is_where_sparse_stays_faster(found, expected):
    sparsity = break_even_sparsity(10.0, found)
    assert sparsity == (None if expected is None else pytest.approx(expected))


def test_a_break_even_below_what_was_measured_is_shown_as_such():
    assert [percent(value) for value in (None, 0.2, 0.304)] == ["never", "≤ 20%", "30%"]


def test_a_networks_break_even_counts_each_layer_as_often_as_it_is_used():
    rows = [
        {"layer": "a", "uses": 3, "pattern": "4x1", "dense_us": 10.0, "points": points((0.2, 14), (0.4, 8))},
        {"layer": "b", "uses": 1, "pattern": "4x1", "dense_us": 10.0, "points": points((0.2, 6), (0.4, 4))},
    ]
    table = break_even_table(rows)
    assert table["layers"][0]["sparsity"]["4x1"] == pytest.approx(0.2 + 0.2 * 4 / 6)
    assert table["layers"][1]["sparsity"]["4x1"] == 0.2
    assert table["network"]["4x1"] == pytest.approx(0.2 + 0.2 * 8 / 20)  # 48 against 40, then 28


def test_the_list_of_layers_is_that_of_the_networks():
    written = [line for line in LAYERS.read_text().splitlines() if not line.startswith("#")]
    assert written == lines()


def test_the_error_of_outputs_is_relative_to_their_root_mean_square():
    reference = np.array([[3.0, -4.0]], np.float32)
    assert rms_error(reference * np.float32(1.1), reference) == pytest.approx(0.1, rel=1e-5)
    assert rms_error(reference[0], reference) == float("inf"), "another shape"
    assert rms_error(np.array([[np.nan, 1.0]], np.float32), reference) == float("inf")
    assert rms_error(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)) == 0.0
