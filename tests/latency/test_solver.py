from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.compression.small_networks import Residual, randomised  # noqa: E402
from tests.latency.laws import conv, linear  # noqa: E402

from edgelane.errors import EdgelaneError  # noqa: E402
from edgelane.export.compiler.lane_file import encode_blocks  # noqa: E402
from edgelane.export.compiler.patterns import examine  # noqa: E402
from edgelane.latency import LayerPlan, network, plan_table, solve, stored_bytes  # noqa: E402
from edgelane.latency.builder import Builder  # noqa: E402
from edgelane.latency.solver import Option, _knapsack  # noqa: E402

FREE = ["first.0", "second.0", "shortcut.0"]
SPARSITIES = (0.5, 0.8, 0.95)


@pytest.fixture(scope="module")
def traced():
    return network(randomised(Residual(32)), torch.zeros(1, 3, 64, 64))


def kept(layer, pattern, sparsity):
    """Finer patterns keep more; the second layer counts twice."""
    weight = {"second.0": 2.0, "first.0": 1.0, "shortcut.0": 0.7}.get(layer, 1.0)
    return weight * (1 - sparsity ** {"dense": 2, "4x1": 3, "4x4": 2}[pattern])


def total_us(law_model, traced, plan):
    return law_model.predict(traced, plan).total_us


def between(law_model, traced, share, pattern="4x4", dtype="float32", fixed=()):
    """A budget: 0 is the least that `pattern` can reach in the layers of FREE, 1 the dense network."""
    dense = {name: LayerPlan(dtype="float32" if name in fixed else dtype) for name in traced.layers}
    sparse = dense | {name: LayerPlan(pattern, 0.95, dtype) for name in FREE}
    least, most = total_us(law_model, traced, sparse), total_us(law_model, traced, dense)
    assert most > 1.05 * least
    return least + share * (most - least)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sized", [False, True])
def test_the_knapsack_is_solved_exactly(seed, sized):
    rng = np.random.default_rng(seed)
    options = {
        f"layer{i}": [
            Option(LayerPlan("4x4", round(0.1 * j, 1)), *(float(v) for v in rng.uniform(1, 100, 3))) for j in range(4)
        ]
        for i in range(5)
    }
    time_us, size = 180.0, 200.0 if sized else np.inf
    best = max(
        (sum(o.value for o in row) for row in itertools.product(*options.values())
         if sum(o.time_us for o in row) <= time_us and sum(o.bytes for o in row) <= size),
        default=None,
    )  # fmt: skip
    found = _knapsack(options, time_us, size if sized else None)
    if best is None:
        assert found is None
        return
    chosen = [next(o for o in options[name] if o.plan == plan) for name, plan in found.items()]
    assert sum(o.value for o in chosen) == pytest.approx(best, rel=1e-5)
    assert sum(o.time_us for o in chosen) <= time_us + 1e-6
    assert sum(o.bytes for o in chosen) <= size + 1e-6


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_the_plan_is_the_best_of_all_plans(law_model, traced, share):
    dense = {name: LayerPlan() for name in traced.layers}
    budget = between(law_model, traced, share)
    grid = [LayerPlan()] + [LayerPlan(p, s) for p in ("4x1", "4x4") for s in SPARSITIES]
    best = -1.0
    for row in itertools.product(grid, repeat=len(FREE)):
        plan = {**dense, **dict(zip(FREE, row, strict=True))}
        if total_us(law_model, traced, plan) <= budget:
            best = max(best, sum(kept(name, p.pattern, p.sparsity) for name, p in plan.items()))
    plan = solve(law_model, traced, budget, ["4x1", "4x4"], "float32", kept, layers=FREE, sparsities=SPARSITIES)
    assert list(plan) == list(traced.layers)
    assert total_us(law_model, traced, plan) <= budget
    assert sum(kept(name, p.pattern, p.sparsity) for name, p in plan.items()) == pytest.approx(best, rel=1e-3)
    assert all(plan[name] == LayerPlan() for name in traced.layers if name not in FREE)


def test_a_budget_that_the_dense_network_meets_prunes_nothing(law_model, traced):
    plan = solve(law_model, traced, 1e9, ["4x4"], "float32", kept)
    assert {p.pattern for p in plan.values()} == {"dense"}


def test_a_budget_that_nothing_meets(law_model, traced):
    with pytest.raises(EdgelaneError) as caught:
        solve(law_model, traced, 1.0, ["4x1"], "float32", kept, layers=FREE, sparsities=SPARSITIES)
    fastest = {name: LayerPlan("4x1", 0.95) if name in FREE else LayerPlan() for name in traced.layers}
    ms = total_us(law_model, traced, fastest) / 1000
    assert "no plan meets 0.001 ms" in str(caught.value)
    stated = float(str(caught.value).split("takes ")[1].split(" ms")[0])
    assert stated == pytest.approx(ms, rel=0.02)


def test_int8_with_layers_that_stay_float32(law_model, traced):
    fixed = {"stem.0": LayerPlan()}
    budget = between(law_model, traced, 0.4, dtype="int8", fixed=fixed)
    plan = solve(law_model, traced, budget, ["4x4"], "int8", kept, fixed=fixed)
    assert plan["stem.0"] == LayerPlan()
    assert plan["classifier"] == LayerPlan(dtype="int8")
    assert any(p.pattern == "4x4" and p.dtype == "int8" for p in plan.values())
    assert total_us(law_model, traced, plan) <= budget


def test_a_limit_of_size(law_model, traced):
    whole = sum(stored_bytes(shape) for shape in traced.layers.values())
    plan = solve(law_model, traced, None, ["4x4"], "float32", kept, layers=FREE, size_mb=0.5 * whole / 1e6)
    size = sum(stored_bytes(traced.layers[name], p.pattern, p.sparsity) for name, p in plan.items())
    assert 0.3 * whole < size <= 0.5 * whole
    with pytest.raises(EdgelaneError, match=r"no plan fits 0\.000 MB: .* the smallest has 0\.\d+ MB of weights"):
        solve(law_model, traced, None, ["4x4"], "float32", kept, layers=FREE, size_mb=1e-5)


def test_importance_as_a_table_by_layer_or_pattern(law_model, traced):
    budget = between(law_model, traced, 0.5)
    values = {name: {0.0: 1.0, 0.5: 0.9, 0.97: 0.1} for name in FREE}
    values["first.0"] = {0.0: 100.0, 0.97: 0.0}
    plan = solve(law_model, traced, budget, ["4x4"], "float32", values, layers=FREE)
    assert plan["first.0"].sparsity == 0 < plan["second.0"].sparsity
    by_pattern = {(name, p): {0.0: 1.0, 1.0: end} for name in FREE for p, end in (("4x1", 0.5), ("4x4", 0.0))}
    plan = solve(law_model, traced, budget, ["4x1", "4x4"], "float32", by_pattern, layers=FREE)
    assert {p.pattern for p in plan.values()} == {"dense", "4x1"}  # as fast, and keeps more
    del values["first.0"]
    with pytest.raises(EdgelaneError, match=r"no importance is given for layer first\.0 in pattern 4x4"):
        solve(law_model, traced, budget, ["4x4"], "float32", values, layers=FREE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_us": None}, "expected a budget of time or size, found neither"),
        ({"budget_us": -3.0}, "expected budget_us to be a positive number, found -3.0"),
        ({"patterns": ["3x3"]}, "unknown sparsity pattern '3x3'"),
        ({"dtype": "int4"}, "unknown dtype 'int4'"),
        ({"layers": ["nothing"]}, "no layer named 'nothing'"),
        ({"fixed": {"nothing": LayerPlan()}}, "no layer named 'nothing'"),
        ({"size_mb": float("nan")}, "expected size_mb to be a positive number"),
    ],
)
def test_settings_that_there_are_not(law_model, traced, change, message):
    settings = {"budget_us": 100.0, "patterns": ["4x4"], "dtype": "float32", "importance": kept, **change}
    with pytest.raises(EdgelaneError, match=message):
        solve(law_model, traced, **settings)


def test_bytes_of_weights_in_a_file():
    # 64 x 64 float32: dense 16384 bytes. Half of the 4x4 blocks: 256 bits in 32 bytes, and 128 blocks of 64 bytes.
    assert stored_bytes(conv(64, 64, 14)) == 16384
    assert stored_bytes(conv(64, 64, 14), "4x4", 0.5) == 32 + 128 * 64
    # int8, 90 % unstructured: one bit each in 512 bytes, and 410 weights.
    assert stored_bytes(conv(64, 64, 14), "unstructured", 0.9, "int8") == 512 + 410
    assert stored_bytes(linear(100, 10), dtype="int8") == 1000


@pytest.mark.parametrize(("pattern", "density"), [("unstructured", 0.1), ("4x1", 0.2), ("1x4", 0.3), ("4x4", 0.1)])
def test_bytes_agree_with_what_the_compiler_writes(pattern, density):
    weights = Builder(np.random.default_rng(0), "float32", (1, 3, 8, 8)).weights((96, 64, 3, 3), pattern, density)
    written, _ = encode_blocks(weights, *examine(weights).block)
    expected = stored_bytes(conv(64, 96, 14, 3), pattern, 1 - density)
    assert expected == pytest.approx(len(written), rel=0.05)


def test_the_table_of_a_plan(law_model, traced):
    plan = {name: LayerPlan() for name in traced.layers} | {"second.0": LayerPlan("4x4", 0.9)}
    table = plan_table(law_model, traced, plan)
    row = next(row for row in table.rows if row.layer == "second.0")
    assert (row.shape, row.macs, row.pattern, row.sparsity) == ("conv 3x3 32-32 @16x16", 32 * 32 * 9 * 256, "4x4", 0.9)
    assert row.predicted_us < row.dense_us
    assert 0 < row.overtakes_at < 0.9
    assert table.predicted_us == pytest.approx(total_us(law_model, traced, plan), abs=0.01)
    assert table.predicted_us == pytest.approx(sum(r.predicted_us for r in table.rows) + table.other_us, abs=0.05)
    assert table.dense_us == pytest.approx(table.float32_us)
    assert table.predicted_us < table.dense_us
    assert table.macs - table.kept_macs == pytest.approx(0.9 * row.macs, abs=1)
    cells = table.cells()
    assert all(len(line) == len(table.columns) for line in cells)
    assert [line[0] for line in cells[-2:]] == ["other steps", "whole network"]
    assert len(cells) == len(table.rows) + 2
    assert table.to_dict()["rows"][0]["layer"] == "stem.0"
