from __future__ import annotations

import numpy as np
import pytest
from tests.latency import laws
from tests.latency.laws import conv, expected_us, linear

from edgelane.errors import EdgelaneError
from edgelane.latency import LatencyModel
from edgelane.latency.features import Work
from edgelane.latency.kernel_fit import fit
from edgelane.latency.shapes import LayerShape

SHAPES = [conv(64, 64, 56), conv(128, 128, 28, 3), conv(256, 512, 14), conv(96, 24, 20, 3), conv(320, 200, 7)]
CASES = [("dense", 0.0), ("unstructured", 0.8), ("4x1", 0.9), ("1x4", 0.7), ("4x4", 0.5), ("2:4", 0.5)]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(("pattern", "sparsity"), CASES)
def test_predicts_shapes_that_were_not_measured(law_model, dtype, pattern, sparsity):
    for shape in SHAPES:
        own = conv(shape.ic, shape.oc, shape.input[2], shape.kernel[0], dtype=dtype)
        found = law_model.layer_us(shape, pattern, sparsity, dtype)
        assert found == pytest.approx(expected_us(own, pattern, sparsity), rel=0.1), str(shape)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "1x4", "4x4"])
def test_time_never_rises_with_the_sparsity(law_model, dtype, pattern):
    for shape in SHAPES:
        times = [law_model.layer_us(shape, pattern, s, dtype) for s in np.linspace(0, 0.99, 40)]
        assert (np.diff(times) <= 0).all()
        assert times[0] == law_model.layer_us(shape, "dense", 0.0, dtype)
        assert times[-1] < times[0]


def test_overtakes_where_the_law_says(law_model):
    # The dense layer runs in blocks of 8 output channels by 1 (float32) or 4 (int8) input channels. A block is empty by
    # chance with sparsity ** (zeros that must meet), and 2 % of empty blocks are the 2 % that count as less time.
    shape = conv(256, 256, 28, 3)
    for pattern, dtype, zeros in (
        ("unstructured", "float32", 8),
        ("4x1", "float32", 2),
        ("1x4", "int8", 8),
        ("unstructured", "int8", 32),
    ):
        assert law_model.overtakes(shape, pattern, dtype) == pytest.approx(0.02 ** (1 / zeros), abs=0.02), pattern


def test_overtakes_never(law_model):
    assert law_model.overtakes(linear(512, 256), "4x4") is None  # linear layers are packed dense
    assert law_model.overtakes(conv(64, 64, 28), "dense") is None
    assert law_model.overtakes(conv(128, 128, 28, 3), "2:4", "int8") is None  # no word of four is empty


def test_linear_layers_are_as_fast_dense_as_sparse(law_model):
    assert law_model.layer_us(linear(512, 256), "4x1", 0.95) == law_model.layer_us(linear(512, 256))
    assert law_model.layer_us(linear(512, 256)) == pytest.approx(0.2 + 2e-5 * 512 * 256, rel=0.1)


def test_steps_without_weights(law_model):
    shape = LayerShape("binary", "float32", "float32", (1, 64, 28, 28), (1, 64, 28, 28), variant="add")
    assert law_model.step_us(shape) == pytest.approx(0.1 + 1e-4 * 64 * 28 * 28, rel=0.1)


def test_a_larger_network_is_never_faster(law_model):
    shape = conv(512, 512, 7, 3)
    assert law_model.layer_us(shape, footprint_bytes=2e8) >= law_model.layer_us(shape, footprint_bytes=1e6) * 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("4x2", 0.5), "unknown sparsity pattern '4x2'; expected one of dense, unstructured, 4x1"),
        (("4x4", 1.0), "from 0 to below 1, found 1.0"),
        (("4x4", -0.1), "found -0.1"),
        (("4x4", True), "found True"),
        (("2:4", 0.6), "'2:4' to be from 0 to 0.5, found 0.6"),
        (("4:4", 0.0), "unknown sparsity pattern"),
        (("dense", 0.5), "'dense' to be from 0 to 0, found 0.5"),
        (("channel", 0.5), "predict the pruned model itself"),
        (("4x4", 0.5, "float16"), "unknown dtype 'float16'; expected one of float32, int8"),
    ],
)
def test_settings_that_there_are_not(law_model, arguments, message):
    with pytest.raises(EdgelaneError, match=message.replace("(", r"\(")):
        law_model.layer_us(conv(8, 8, 8), *arguments)


def test_only_layers_have_patterns(law_model):
    with pytest.raises(EdgelaneError, match="expected a convolution or linear layer, found max_pool2d 8 @4x4"):
        law_model.layer_us(LayerShape("max_pool2d", "float32", "float32", (1, 8, 4, 4), (1, 8, 2, 2)))


def test_a_table_without_convolutions():
    table = laws.table()
    table.samples[:] = [sample for sample in table.samples if sample.shape.op == "linear"]
    with pytest.raises(EdgelaneError, match="holds no convolution; run `edgelane calibrate` again"):
        LatencyModel(table)


def test_the_correction_learns_an_efficiency_that_the_sum_cannot_say():
    # Channels between 100 and 200 take half as long again: no sum of work explains that.
    rng = np.random.default_rng(0)
    shapes = [conv(64, int(oc), 28) for oc in 2 ** rng.uniform(4, 9.5, 150)]
    times = [laws.true_us(Work(s, 4, 1.0)) * (1.5 if 100 < s.oc < 200 else 1.0) for s in shapes]
    works = [Work(s, 4, 1.0) for s in shapes]
    plain = fit("conv2d_f32_4x1_avx512", works, times, 16, correct=False)
    corrected = fit("conv2d_f32_4x1_avx512", works, times, 16)
    new = [Work(conv(64, oc, 28), 4, 1.0) for oc in (130, 150, 170)]
    true = np.array([1.5 * laws.true_us(work) for work in new])
    assert np.abs(corrected.times(new, 16) / true - 1).max() < 0.1 < np.abs(plain.times(new, 16) / true - 1).max()
    assert corrected.error < plain.error


def test_one_disturbed_sample_moves_nothing():
    shapes = [conv(ic, oc, 14, 3) for ic in (16, 32, 64, 128, 256) for oc in (16, 48, 96, 200, 300)]
    works = [Work(s, 4, 1.0) for s in shapes]
    times = [laws.true_us(work) for work in works]
    times[7] *= 20
    known = fit("conv2d_f32_4x1_avx512", works, times, 16, correct=False)
    others = [i for i in range(len(works)) if i != 7]
    errors = np.abs(known.times(works, 16) / [laws.true_us(work) for work in works] - 1)[others]
    assert np.median(errors) < 0.05
