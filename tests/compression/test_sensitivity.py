import math

import pytest
import torch
from int8_networks import images, relative_error
from small_networks import Residual, randomised
from torch import nn

from edgelane.compression import quantize_model, sensitivity
from edgelane.compression.execution import PartlyInt8, quantized_layers
from edgelane.compression.fake_quantize import fake_quantize
from edgelane.compression.fold import fold_model
from edgelane.errors import EdgelaneError


def fragile() -> tuple[nn.Module, nn.Module]:
    """A network and its int8 form, in which one weight in each channel of `second.0` leaves the others no level.
    Its input is never anything but zero, so in float32 it does not matter.
    """
    model = randomised(Residual())
    with torch.no_grad():
        model.first[0].weight[0].zero_()  # type: ignore[index, operator, union-attr]
        model.first[1].weight[0] = 0  # type: ignore[index, operator, union-attr]
        model.first[1].bias[0] = 0  # type: ignore[index, operator, union-attr]
        model.second[0].weight[:, 0] = 400 * model.second[0].weight.abs().max()  # type: ignore[index, operator, union-attr]
    return model, quantize_model(model, images())


def test_the_layer_that_was_made_sensitive_comes_first() -> None:
    model, quantized = fragile()
    exact, x = fold_model(model), torch.cat(images())
    expected = exact(x).detach()
    judged = []

    def judge(network: nn.Module) -> float:
        judged.append(network)
        return 100.0 - 100.0 * relative_error(network(x), expected)

    rows = sensitivity(quantized, judge, images())
    assert len(judged) == len(rows) + 1
    assert {row.name for row in rows} == set(quantized_layers(quantized))
    assert rows[0].name == "second.0"
    drops = [row.drop or 0.0 for row in rows]
    assert drops[0] > 3 * drops[1] > 0
    assert rows[0].sqnr_db < min(row.sqnr_db for row in rows[1:]) - 10
    assert drops[0] == pytest.approx(100 * 10 ** (-rows[0].sqnr_db / 20), rel=1e-3)  # what this judge measures
    assert drops == sorted(drops, reverse=True)
    by_outputs = sensitivity(quantized, None, images())
    assert by_outputs[0].name == "second.0"
    assert [row.sqnr_db for row in by_outputs] == sorted(row.sqnr_db for row in by_outputs)
    assert all(row.drop is None for row in by_outputs)


def test_one_layer_int8_is_that_layer_rounded_and_the_rest_as_it_was() -> None:
    model = randomised(Residual())
    quantized, exact = quantize_model(model, images()), fold_model(model)
    x = images(1, seed=7)[0]
    assert torch.allclose(PartlyInt8(quantized, ())(x), exact(x), atol=1e-5)  # type: ignore[arg-type]

    scale = quantized.get_submodule("quantizers.x").scale
    stem, float_stem = quantized.get_submodule("stem.0"), exact.get_submodule("stem.0")
    weight, bias, _ = stem.quantized_parameters(scale)  # type: ignore[operator]
    with torch.no_grad():
        float_stem.weight.copy_(weight)  # type: ignore[operator, union-attr]
        float_stem.bias.copy_(bias)  # type: ignore[operator, union-attr]
    expected = exact(fake_quantize(x, scale, -128, 127))  # type: ignore[arg-type]
    found = PartlyInt8(quantized, ("stem.0",))(x)  # type: ignore[arg-type]
    assert torch.allclose(found, expected, atol=1e-5)
    (row,) = sensitivity(quantized, None, [x], layers=["stem.0"])
    clean = fold_model(model)(x).detach()
    ratio = clean.pow(2).sum() / (clean - expected.detach()).pow(2).sum()
    assert row.sqnr_db == pytest.approx(10 * math.log10(float(ratio)), abs=0.05)


def test_the_model_is_left_as_it_was_and_progress_is_told() -> None:
    quantized = quantize_model(randomised(Residual()), images())
    x = images(1)[0]
    before, told = quantized(x), []
    sensitivity(quantized, None, images(1), layers=["mix.0", "stem.0"], progress=lambda *done: told.append(done))
    assert torch.equal(quantized(x), before)
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_mistakes_are_named() -> None:
    quantized = quantize_model(randomised(Residual()), images())
    with pytest.raises(EdgelaneError, match=r"no int8 layer is named head; they are stem\.0, first\.0,"):
        sensitivity(quantized, None, images(), layers=["head"])
    with pytest.raises(EdgelaneError, match="expected a model from quantize_model, found Residual"):
        sensitivity(Residual(), None, images())
    with pytest.raises(EdgelaneError, match="at least one batch"):
        sensitivity(quantized, None, [])
