import copy

import pytest
import torch
from small_networks import Branches, Residual, randomised
from torch import nn

from edgelane.compression import finalize, prune_model, quantization_scales, quantize_model, rebuild, record_of
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear, Quantizer, fake_quantize, weight_scale
from edgelane.compression.fold import fold_batch_norms, fold_model, trace
from edgelane.errors import EdgelaneError
from edgelane.observers import METHODS


def batches(count: int = 4, size: int = 16) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(8, 3, size, size, generator=generator) for _ in range(count)]


def quantizer_of(model: nn.Module) -> dict[str, list[str]]:
    """For each operation of a quantised graph, the quantisers that read its result."""
    modules = dict(model.named_modules())
    found: dict[str, list[str]] = {}
    for node in model.graph.nodes:  # type: ignore[union-attr]
        users = [
            user.target
            for user in node.users
            if user.op == "call_module" and isinstance(modules[user.target], Quantizer)
        ]
        found[node.name] = [str(target).removeprefix("quantizers.") for target in users]
    return found


def test_rounding_is_half_to_even_and_clamps() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 127.4, 300.0, -128.4, -300.0])
    assert fake_quantize(x, torch.tensor(1.0), -128, 127).tolist() == [0, 2, 2, 0, -2, 127, 127, -128, -128]


def test_gradients_pass_straight_through_and_stop_where_clamped() -> None:
    x = torch.tensor([0.3, 5.0, -200.0, 200.0], requires_grad=True)
    fake_quantize(x, torch.tensor(1.0), -128, 127).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 0, 0]


def test_weight_scales_of_dead_channels_keep_the_bias() -> None:
    weight = torch.zeros(3, 4, 1, 1)
    weight[0] = 2.54
    bias, scale_in = torch.tensor([0.1, 0.7, 0.0]), torch.tensor(0.02)
    scale = weight_scale(weight, bias, scale_in)
    assert scale[0] == pytest.approx(2.54 / 127)
    assert scale[2] == 1.0
    levels = bias / (scale * scale_in)
    assert (levels.abs() <= 2.0**24 * 1.001).all()
    assert torch.allclose(levels.round() * scale * scale_in, bias, rtol=1e-3)


def test_folding_keeps_the_function_and_the_zeros() -> None:
    model = prune_model(randomised(Residual()), 0.7, "4x4", example_inputs=torch.zeros(1, 3, 16, 16)).eval()
    graph_module = trace(model)
    fold_batch_norms(graph_module)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in graph_module.modules())
    x = torch.randn(4, 3, 16, 16)
    assert torch.allclose(graph_module(x), model(x), atol=1e-5)
    folded, before = graph_module.get_submodule("first.0").weight, model.get_submodule("first.0").weight
    assert torch.equal(folded == 0, before == 0)


def test_a_norm_that_shares_its_input_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.norm(x) + x

    model = randomised(Shared())
    folded = fold_model(model)
    assert any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(2, 3, 16, 16)
    assert torch.allclose(folded(x), model(x), atol=1e-6)


def test_a_norm_over_the_rows_of_a_linear_layer_is_not_taken_for_one_over_its_features() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.linear(x))

    torch.manual_seed(0)
    model = Rows().eval()
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2.0)
    x = torch.randn(4, 8, 6)  # BatchNorm1d normalises axis 1: the 8 rows, not the 8 features
    assert torch.allclose(fold_model(model)(x), model(x), atol=1e-6)
    error = (quantize_model(model, [x])(x) - model(x)).abs().max() / model(x).abs().max()
    assert error < 0.06


def test_layers_that_are_called_by_keyword() -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(input=self.conv(input=x))

    model = randomised(Keywords())
    folded = fold_model(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(2, 3, 16, 16)
    assert torch.allclose(folded(x), model(x), atol=1e-5)
    error = (quantize_model(model, [x])(x) - model(x)).abs().max() / model(x).abs().max()
    assert 0 < error < 0.06


def test_quantisers_stand_where_int8_begins() -> None:
    quantized = quantize_model(randomised(Residual()), batches())
    found = quantizer_of(quantized)
    assert found["x"] == ["x"]  # the model's input
    assert found["stem_0"] == []  # its ReLU comes first
    assert found["stem_2"] == ["stem_2"]
    assert found["pool"] == ["stem_2"]  # max pool keeps its input's scale
    assert found["second_0"] == ["second_0"]  # both inputs of the add
    assert found["shortcut_0"] == ["shortcut_0"]
    assert found["add"] == []  # its ReLU comes first
    assert found["relu"] == ["relu"]
    assert found["depthwise_2"] == ["depthwise_2"]  # after Hardswish
    assert found["mix_1"] == ["mix_1"]  # after SiLU
    assert found["adaptive_avg_pool2d"] == ["adaptive_avg_pool2d"]
    assert found["flatten"] == ["adaptive_avg_pool2d"]
    assert found["classifier"] == []  # the output stays float32
    assert all(len(names) <= 1 for names in found.values())  # one quantiser per tensor
    layers = [module for module in quantized.modules() if isinstance(module, (QuantizedConv2d, QuantizedLinear))]
    assert len(layers) == 7
    assert set(quantization_scales(quantized)) == {f"quantizers.{name}" for names in found.values() for name in names}


def test_split_shuffle_concat_and_gate_stay_int8() -> None:
    found = quantizer_of(quantize_model(randomised(Branches()), batches()))
    assert found["getitem"] == found["getitem_1"] == ["relu"]  # both halves of the chunk keep its scale
    assert found["relu_1"] == found["relu_2"] == ["cat"]  # joined with one scale
    assert found["cat"] == found["view"] == found["transpose"] == found["contiguous"] == found["view_1"] == ["cat"]
    assert found["size"] == []
    assert found["sigmoid"] == ["sigmoid"]  # both inputs of the multiplication
    assert found["mul"] == ["mul"]
    assert found["mean"] == ["mean"]


@pytest.mark.parametrize("network", [Residual, Branches])
@pytest.mark.parametrize("method", METHODS)
def test_int8_stays_close_to_float(network: type[nn.Module], method: str) -> None:
    model = randomised(network())
    quantized = quantize_model(model, batches(), method=method)
    x = batches(1)[0]
    error = (quantized(x) - model(x)).abs().max() / model(x).abs().max()
    # entropy clips the few hundred values of a pooled tensor, whose histogram is full of gaps
    assert error < (0.12 if method == "entropy" else 0.06)
    assert error > 0  # something was rounded


def test_every_quantised_value_is_a_level_of_int8() -> None:
    quantized = quantize_model(randomised(Residual()), batches())
    seen = []

    def hook(module: Quantizer, args: object, output: torch.Tensor) -> None:
        levels = output / module.scale
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert levels.min() >= -128.001
        assert levels.max() <= 127.001
        seen.append(levels)

    for module in quantized.modules():
        if isinstance(module, Quantizer):
            module.register_forward_hook(hook)
    quantized(torch.randn(2, 3, 16, 16) * 10)
    assert len(seen) == 11
    layer = quantized.get_submodule("first.0")
    weight, bias, scale = layer.quantized_parameters(torch.tensor(0.05))  # type: ignore[operator]
    levels = weight / scale[:, None, None, None]
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert levels.abs().flatten(1).amax(1).allclose(torch.tensor(127.0), atol=1e-3)  # each channel uses its whole range
    assert torch.allclose(bias / (scale * 0.05), (bias / (scale * 0.05)).round(), atol=1e-2)


def test_gradients_of_the_quantised_model_point_where_the_float_ones_do() -> None:
    model = randomised(Residual())
    quantized, folded = quantize_model(model, batches()), fold_model(model)
    x, labels = batches(1)[0], torch.arange(8) % 5
    for network in (quantized, folded):
        nn.functional.cross_entropy(network(x), labels).backward()
    expected = dict(folded.named_parameters())
    for name, parameter in quantized.named_parameters():
        cosine = nn.functional.cosine_similarity(parameter.grad.flatten(), expected[name].grad.flatten(), 0)  # type: ignore[union-attr]
        assert cosine > 0.95, name


def test_a_quantised_pruned_model_trains_and_keeps_its_zeros() -> None:
    torch.manual_seed(1)
    labels = torch.arange(16) % 5
    x = torch.randn(16, 3, 16, 16) + labels[:, None, None, None] - 2.0  # brightness tells the class
    pruned = prune_model(randomised(Residual()), 0.7, "4x4", example_inputs=torch.zeros(1, 3, 16, 16))
    quantized = quantize_model(pruned, [x]).train()
    layer = quantized.get_submodule("first.0")
    gone = layer.weight.detach() == 0  # type: ignore[operator]
    before = layer.weight.detach().clone()  # type: ignore[operator]
    optimizer = torch.optim.Adam(quantized.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(quantized(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(losses) < 0.7 * losses[0]
    assert torch.equal(layer.weight == 0, gone)  # type: ignore[arg-type]
    assert not torch.equal(layer.weight, before)  # type: ignore[arg-type]
    levels = layer.quantized_parameters(torch.tensor(0.05))[0]  # type: ignore[operator]
    assert (levels[gone] == 0).all()


@pytest.mark.parametrize("plain", [False, True])
def test_rebuild_restores_a_pruned_int8_model_exactly(plain: bool) -> None:
    pruned = prune_model(randomised(Residual()), 0.7, "4x4", example_inputs=torch.zeros(1, 3, 16, 16))
    quantized = quantize_model(pruned, batches(), skip=["classifier"])
    stored = finalize(quantized) if plain else quantized
    record = record_of(copy.deepcopy(stored))
    assert record["quantization"]["method"] == "mse"
    assert record["quantization"]["skip"] == ["classifier"]
    rebuilt = rebuild(Residual(), record, stored.state_dict())
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(rebuilt(x), quantized(x))
    assert isinstance(rebuilt.get_submodule("classifier"), nn.Linear)
    assert not isinstance(rebuilt.get_submodule("classifier"), QuantizedLinear)


def test_calibration_takes_pairs_and_generators() -> None:
    model = randomised(Residual())
    expected = quantization_scales(quantize_model(model, batches()))
    pairs = ((batch, torch.zeros(len(batch))) for batch in batches())
    assert quantization_scales(quantize_model(model, pairs)) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bad_values_in_calibration_name_the_batch(value: float) -> None:
    data = batches()
    data[2][3, 1, 4, 4] = value
    with pytest.raises(EdgelaneError, match="calibration batch 2: 1 of 6144 values of the input are NaN or infinite"):
        quantize_model(randomised(Residual()), data)


def test_values_that_overflow_inside_the_model_name_the_activation() -> None:
    with pytest.raises(
        EdgelaneError, match=r"calibration batch 0: \d+ of \d+ values of activation 'stem_2' are NaN or infinite"
    ):
        quantize_model(randomised(Residual()), [torch.full((1, 3, 16, 16), 3e38)])


@pytest.mark.parametrize("data", [[], [torch.zeros(0, 3, 16, 16)]])
def test_empty_calibration_is_refused(data: list[torch.Tensor]) -> None:
    with pytest.raises(EdgelaneError, match="needs at least one batch of images, got none"):
        quantize_model(randomised(Residual()), data)


def test_other_mistakes_are_named() -> None:
    model = randomised(Residual())
    with pytest.raises(EdgelaneError, match="expected one of minmax, moving_average, percentile, mse, entropy"):
        quantize_model(model, batches(), method="median")
    with pytest.raises(EdgelaneError, match=r"batch 0: the model does not run on shape \(1, 4, 16, 16\)"):
        quantize_model(model, [torch.zeros(1, 4, 16, 16)])
    with pytest.raises(EdgelaneError, match="batch 1: expected a tensor of inputs, got str"):
        quantize_model(model, [batches(1)[0], "image"])
    with pytest.raises(EdgelaneError, match="skip: the model has no layer named 'head'"):
        quantize_model(model, batches(), skip=["head"])
    with pytest.raises(EdgelaneError, match="quantised already"):
        quantize_model(quantize_model(model, batches()), batches())
    with pytest.raises(EdgelaneError, match="no convolution or linear layer"):
        quantize_model(nn.Sequential(nn.ReLU()), batches())


def test_an_untraceable_model_is_named_with_the_line() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return x if x.sum() > 0 else -x

    with pytest.raises(EdgelaneError, match=r"torch.fx cannot trace Branching at .*test_quantization\.py:\d+: "):
        quantize_model(Branching(), batches())
