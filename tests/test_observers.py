import numpy as np
import pytest

from edgelane.errors import EdgelaneError
from edgelane.observers import METHODS, Observer, check_finite, least_divergence


def observer(*batches: object) -> Observer:
    result = Observer()
    for batch in batches:
        result.add(np.asarray(batch, np.float32))
    return result


def test_a_histogram_grows_without_losing_counts() -> None:
    grown = observer([0.5, 0.25], [-3.0, 0.0])
    assert grown.largest == 3.0
    assert grown.limit == 4.0
    assert grown.counts.sum() == 3
    assert grown.zeros == 1
    # of 8192 bins up to 4; 0.5 was the end of the last
    assert np.flatnonzero(grown.counts).tolist() == [
        512,
        1023,
        6144,
    ]
    assert grown.scale("minmax") == pytest.approx(3.0 / 127)


def test_moving_average_of_the_batches_ranges() -> None:
    # 1; 0.9 * 1 + 0.1 * 2 = 1.1; 0.9 * 1.1 + 0.1 * 11 = 2.09
    assert observer([1.0], [-2.0, 0.5], [11.0]).scale("moving_average") == pytest.approx(2.09 / 127)


def test_percentile_leaves_one_value_in_ten_thousand_out() -> None:
    values = np.arange(1, 100_001) / 1000.0  # up to 100: 99.99 % end at 99.99
    assert observer(values).scale("percentile") * 127 == pytest.approx(99.99, abs=100 / 8192)
    many_zeros = np.concatenate((np.zeros(999_999), [50.0]))
    assert observer(many_zeros).scale("percentile") * 127 < 50 / 4096


def test_mse_clips_a_lonely_outlier_and_keeps_a_uniform_range() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=100_000).astype(np.float32)
    values[0] = 60.0
    normal, uniform = observer(values), observer(generator.uniform(size=100_000))
    assert normal.scale("mse") < 0.7 * 60 / 127
    assert uniform.scale("mse") == pytest.approx(1 / 127, rel=0.02)

    def error(scale: float) -> float:
        return float(((np.clip(np.rint(values / scale), -128, 127) * scale - values) ** 2).mean())

    best = min(np.linspace(0.005, 0.5, 400), key=error)
    assert error(normal.scale("mse")) <= 1.05 * error(float(best))


def test_divergence_of_four_bins_worked_out_by_hand() -> None:
    # In two levels. First 2 bins: P = (4, 3) / 7, Q = (4, 2) / 6: KL = 4/7 ln 6/7 + 3/7 ln 9/7 = 0.0196.
    # 3 bins: the third of Q is empty and of P is not.
    # 4 bins: Q = (3, 3, 0, 1) / 7: KL = (4 ln 4/3 + 2 ln 2/3) / 7 = 0.0485.
    assert least_divergence(np.array([4, 2, 0, 1]), 2) == 2
    # (1, 1, 4, 4) falls into two even levels without loss; the first 2 of these bins take in 8 values beyond.
    assert least_divergence(np.array([1, 1, 4, 4]), 2) == 4


def test_divergence_agrees_with_its_definition() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        counts = np.floor(1000 * np.exp(-np.arange(90) / generator.uniform(3, 60)) * generator.uniform(size=90))
        divergences = {}
        for bins in range(16, 91):
            p, q = counts[:bins].copy(), np.zeros(bins)
            p[-1] += counts[bins:].sum()
            for level in range(16):
                members = [bin for bin in range(bins) if bin * 16 // bins == level and counts[bin] > 0]
                q[members] = counts[members].mean() if members else 0
            p, q, filled = p / p.sum(), q / max(q.sum(), 1.0), p > 0
            if np.all(q[filled] > 0):
                divergences[bins] = float(np.sum(p[filled] * np.log(p[filled] / q[filled])))
        assert divergences[least_divergence(counts, 16)] == pytest.approx(min(divergences.values()), abs=1e-12)


def test_entropy_clips_a_long_tail_and_ignores_the_zeros_of_a_relu() -> None:
    generator = np.random.default_rng(2)
    values = np.maximum(generator.normal(size=200_000), 0)
    values[:3] = (20.0, 25.0, 30.0)
    limit = observer(values).scale("entropy") * 127
    assert 3.0 < limit < 10.0  # where the bell ends
    assert observer(values[values != 0]).scale("entropy") * 127 == limit


@pytest.mark.parametrize("method", METHODS)
def test_every_method_spans_few_values_whole(method: str) -> None:
    assert observer(np.linspace(-1, 1, 257), [0.25]).scale(method) == pytest.approx(1 / 127, rel=0.12)
    assert observer(np.zeros(10)).scale(method) == 1 / 127
    assert observer([]).scale(method) == 1 / 127
    assert observer([1e-38]).scale(method) == np.finfo(np.float32).tiny * 2.0**24  # still invertible in float32


def test_mistakes_are_named() -> None:
    with pytest.raises(
        EdgelaneError, match="'median'; expected one of minmax, moving_average, percentile, mse, entropy"
    ):
        Observer().scale("median")
    with pytest.raises(EdgelaneError, match="calibration batch 3: 2 of 4 values of images are NaN or infinite"):
        check_finite(np.array([[1.0, np.nan], [np.inf, 0.0]]), "images", 3)
