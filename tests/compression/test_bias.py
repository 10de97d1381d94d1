import pytest
import torch
from int8_networks import Inverted, images
from small_networks import Residual, randomised
from torch import nn

from edgelane.compression import finalize, quantize_model, rebuild, record_of
from edgelane.compression.bias import correct_biases
from edgelane.compression.fold import fold_model


def test_the_shift_of_one_channel_worked_out_by_hand() -> None:
    layer = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        layer[0].weight.copy_(torch.tensor([[1.0, 10.4 / 127]]))  # the second is rounded to 10 / 127
        layer[0].bias.zero_()
    data = torch.tensor([[127.0, 100.0], [-127.0, 60.0]])  # a scale of 1: nothing else is rounded
    quantized = quantize_model(layer, [data], method="minmax")
    assert correct_biases(quantized, [data])["0"] == pytest.approx(0.4 / 127 * 80, rel=1e-4)  # type: ignore[arg-type]
    assert quantized.get_submodule("0").bias.item() == pytest.approx(0.4 / 127 * 80, rel=1e-4)


def test_correction_takes_the_mean_shift_out_on_data_not_seen() -> None:
    model = randomised(Inverted())
    exact = fold_model(model)
    unseen = torch.cat(images(16, seed=9))

    def shift(quantized: nn.Module) -> float:
        with torch.no_grad():
            return float((quantized(unseen) - exact(unseen)).mean(0).norm())

    plain, corrected = (
        quantize_model(model, images(16), method="percentile", bias_correction=wanted) for wanted in (False, True)
    )
    assert shift(corrected) < 0.5 * shift(plain)
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(corrected), strict=True))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]


def test_a_layer_without_bias_gets_one_that_comes_back_from_a_checkpoint() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 8, 3, bias=False), nn.Linear(8, 4, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.relu(self.conv(x)).mean([2, 3]))

    torch.manual_seed(0)
    quantized = quantize_model(Bare(), images(), bias_correction=True)
    assert quantized.get_submodule("out").bias.abs().max() > 0
    rebuilt = rebuild(Bare(), record_of(quantized), finalize(quantized).state_dict())
    x = images(1)[0]
    assert torch.equal(rebuilt(x), quantized(x))


def test_pruned_and_skipped_layers_stay_as_they_are() -> None:
    model = randomised(Residual())
    quantized = quantize_model(model, images(), bias_correction=True, skip=["first.0"])
    folded = fold_model(model)
    assert torch.equal(quantized.get_submodule("first.0").bias, folded.get_submodule("first.0").bias)
    assert not torch.equal(quantized.get_submodule("second.0").bias, folded.get_submodule("second.0").bias)
