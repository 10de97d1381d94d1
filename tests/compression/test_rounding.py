import pytest
import torch
from int8_networks import Inverted, images, relative_error
from small_networks import Branches, Residual, randomised
from torch import nn

from edgelane.compression import finalize, prune_model, quantize_model, rebuild, record_of
from edgelane.compression.execution import side_by_side
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear
from edgelane.compression.fold import fold_model
from edgelane.compression.rounding import AdaRound, round_weights
from edgelane.errors import EdgelaneError

QUICK = AdaRound(steps=150)


def test_a_weight_goes_up_where_its_neighbour_went_down() -> None:
    """Two inputs are always equal, so that only the sum of their weights counts: 10.45 + 20.4 steps are 31, not 30."""
    layer = nn.Sequential(nn.Linear(3, 1, bias=False))
    with torch.no_grad():
        layer[0].weight.copy_(torch.tensor([[10.45, 20.4, 127.0]]) / 127)
    x = torch.rand(64, 1)
    data = torch.cat((x, x, torch.rand(64, 1)), 1)
    weight = quantize_model(layer, [data], rounding=AdaRound(steps=200)).get_submodule("0").weight
    levels = (weight * 127).detach()[0]
    assert levels[:2].sum() == pytest.approx(31, abs=1e-4)
    assert levels[2] == pytest.approx(127, abs=1e-4)


def test_learned_rounding_uses_correlated_inputs_on_rows_not_seen() -> None:
    torch.manual_seed(0)
    basis = torch.randn(16, 96)
    x = torch.relu(torch.randn(4096, 16) @ basis + 0.3 * torch.randn(4096, 96))
    layer = nn.Sequential(nn.Linear(96, 24))
    nearest, learned = (
        quantize_model(layer, [x[:2048]], rounding=rounding).get_submodule("0")
        for rounding in ("nearest", AdaRound(steps=500))
    )
    exact = layer[0].weight @ x[2048:].T
    weights = [module.quantized_parameters(torch.tensor(0.1))[0] for module in (nearest, learned)]  # type: ignore[operator]
    errors = [(weight @ x[2048:].T - exact).pow(2).mean().item() for weight in weights]
    assert errors[1] < 0.75 * errors[0]


@pytest.mark.parametrize("network", [Residual, Branches, Inverted])
def test_learned_rounding_beats_nearest_in_every_layer(network: type[nn.Module]) -> None:
    pruned = prune_model(randomised(network()), 0.5, "4x4", example_inputs=torch.zeros(1, 3, 16, 16))
    quantized = quantize_model(pruned, images())
    layers = {
        name: module
        for name, module in quantized.named_modules()
        if isinstance(module, (QuantizedConv2d, QuantizedLinear))
    }
    scales = {name: module.quantized_parameters(torch.tensor(0.02))[2] for name, module in layers.items()}
    before = {name: module.weight.detach().clone() for name, module in layers.items()}
    gains = round_weights(quantized, images(), QUICK)  # type: ignore[arg-type]
    assert set(gains) == set(layers)
    assert all(gain.learned <= gain.nearest for gain in gains.values())
    assert min(gain.learned / gain.nearest for gain in gains.values()) < 0.95  # the rest is the error of int8 inputs
    for name, module in layers.items():
        weight, _, scale = module.quantized_parameters(torch.tensor(0.02))
        spread = scale.reshape(-1, *[1] * (weight.dim() - 1))
        assert torch.allclose(scale, scales[name], rtol=1e-6, atol=0)
        assert torch.equal((module.weight / spread).round(), (weight / spread).round())
        assert torch.allclose(module.weight, weight, rtol=1e-6, atol=0)  # on the grid already
        assert (module.weight[before[name] == 0] == 0).all()
        assert ((module.weight - before[name]).abs() <= spread * 1.0001).all()  # up or down, no further


def test_learned_rounding_of_a_whole_network_generalises() -> None:
    model = randomised(Inverted())
    exact = fold_model(model)
    unseen = torch.cat(images(4, seed=9))
    errors = {
        rounding if isinstance(rounding, str) else "learned": relative_error(
            quantize_model(model, images(8), rounding=rounding)(unseen), exact(unseen)
        )
        for rounding in ("nearest", QUICK)
    }
    assert errors["learned"] < errors["nearest"]


def test_the_same_seed_rounds_alike_and_the_result_comes_back_from_a_checkpoint() -> None:
    model = randomised(Residual())
    first, second = (quantize_model(model, images(1), rounding=AdaRound(steps=20, seed=3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    record = record_of(first)
    assert record["quantization"]["rounding"] == "adaround"
    rebuilt = rebuild(Residual(), record, finalize(first).state_dict())
    x = images(1)[0]
    assert torch.equal(rebuilt(x), first(x))


def test_side_by_side_meets_every_layer_with_the_int8_inputs_and_the_float_results() -> None:
    model = randomised(Residual())
    quantized, exact = quantize_model(model, images()), fold_model(model)
    expected, inputs = {}, {}
    for name in ("stem.0", "second.0", "classifier"):
        exact.get_submodule(name).register_forward_hook(lambda m, a, y, name=name: expected.update({name: y}))
        quantized.get_submodule(name).register_forward_hook(lambda m, a, y, name=name: inputs.update({name: a[0]}))
    layers = {layer.name: layer for layer in side_by_side(quantized, images())}  # type: ignore[arg-type]
    x = images()[2]
    exact(x), quantized(x)
    for name, value in expected.items():
        assert torch.allclose(layers[name].targets[2], value, atol=1e-5)
        assert torch.equal(layers[name].inputs[2], inputs[name])


def test_mistakes_are_named() -> None:
    with pytest.raises(EdgelaneError, match="unknown rounding 'up'; expected one of nearest, adaround"):
        quantize_model(Residual(), images(), rounding="up")
    with pytest.raises(EdgelaneError, match=r"expected steps >= 1, .* found 0, "):
        AdaRound(steps=0)
