from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from int8_networks import Inverted, images
from small_networks import Residual, randomised
from torch import nn

import edgelane
from edgelane.compression import quantization_scales, quantize_model
from edgelane.compression.fake_quantize import Quantizer
from edgelane.errors import EdgelaneError
from edgelane.export.lint import lint
from edgelane.export.onnx import export_module


class Joined(nn.Module):
    """Concatenations of which one feeds the other, behind a pool and a split; the parts' ranges differ 10 times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Conv2d(24, 8, 3, padding=1)
        self.last = nn.Conv2d(32, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        left, right = x.chunk(2, 1)
        one = torch.cat((left, right, torch.relu(10 * self.first(right))), 1)
        two = torch.cat((one, torch.relu(self.second(one))), 1)
        return self.last(nn.functional.max_pool2d(two, 2))


def steps_of(model: nn.Module, folder: Path) -> tuple[Counter[str], set[str]]:
    """What edgelane runs for an exported model, and the linter's rules that it breaks. The result must be torch's."""
    x = images(1)[0][:1]
    export_module(model, x, folder / "m.onnx", {})
    edgelane.compile(folder / "m.onnx", folder / "m.lane")
    session = edgelane.Session(folder / "m.lane")
    (found,) = session.run({"images": x.numpy()}).values()
    with torch.no_grad():
        expected = model(x).numpy()
    assert np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
    rules = {finding.rule for finding in lint(onnx.load(folder / "m.onnx"))}
    return Counter(step.op for step in session.steps()), rules


@pytest.mark.parametrize("residual", ["both", "fused"])
@pytest.mark.parametrize("network", [Residual, Inverted])
def test_an_addition_ends_in_the_convolution_before_it(network: type[nn.Module], residual: str, tmp_path: Path) -> None:
    model = randomised(network())
    quantized = quantize_model(model, images(), residual=residual)
    steps, rules = steps_of(quantized, tmp_path)
    assert steps["binary"] == steps["dequantize"] == steps["requantize"] == 0
    assert steps["quantize"] == 1  # the model's input
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert steps["conv2d"] == convolutions
    assert rules == ({"residual-split"} if residual == "both" else set())


def test_the_later_of_two_convolutions_goes_into_the_addition_unrounded() -> None:
    both, fused = (
        set(quantization_scales(quantize_model(randomised(Residual()), images(), residual=residual)))
        for residual in ("both", "fused")
    )
    assert both - fused == {"quantizers.shortcut_0"}
    assert fused < both


def test_an_operand_that_others_read_is_int8_in_both_forms() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.last(torch.relu(x + self.second(x)))

    scales = quantization_scales(quantize_model(Twice(), images(), residual="fused"))
    assert set(scales) == {"quantizers.x", "quantizers.first", "quantizers.relu"}


def test_joined_tensors_share_the_scale_of_the_widest_and_are_copied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Joined().eval()
    quantized = quantize_model(model, images(), method="minmax")
    scales = quantization_scales(quantized)
    assert set(scales) == {"quantizers.x", "quantizers.cat"}
    widest = 0.0
    for x in images():
        x = model.stem(x)
        one = torch.cat((x, torch.relu(10 * model.first(x[:, 8:]))), 1)
        widest = max(widest, one.max().item(), model.second(one).max().item())
    assert scales["quantizers.cat"] == pytest.approx(widest / 127, rel=1e-5)
    steps, rules = steps_of(quantized, tmp_path)
    assert steps["concat"] >= 1
    assert steps["dequantize"] == steps["requantize"] == 0
    assert steps["quantize"] == 1
    assert "concat-scales" not in rules


def test_the_moving_average_sees_joined_tensors_as_one() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(6, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.cat((torch.relu(x), 2 * torch.relu(-x)), 1))

    data = [torch.full((1, 3, 4, 4), value) for value in (1.0, -1.0)]  # the largest: 1, then 2
    scales = quantization_scales(quantize_model(Join(), data, method="moving_average"))
    assert scales["quantizers.cat"] * 127 == pytest.approx(0.9 * 1 + 0.1 * 2)


def test_what_does_nothing_stands_between_no_layers() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.idle, self.last = nn.Conv2d(3, 8, 1), nn.Identity(), nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(nn.functional.dropout(self.idle(self.first(x)), 0.5, self.training))

    quantized = quantize_model(Idle(), images())
    assert sum(isinstance(module, Quantizer) for module in quantized.modules()) == 2
    assert [node.target for node in quantized.graph.nodes if node.op == "call_module"] == [  # type: ignore[union-attr]
        "quantizers.x",
        "first",
        "quantizers.first",
        "last",
    ]


@pytest.mark.parametrize("skip", ["first.0", "second.0", "depthwise.0", "mix"])
def test_a_float_layer_in_the_middle(skip: str, tmp_path: Path) -> None:
    model = randomised(Residual())
    quantized = quantize_model(model, images(), skip=[skip])
    steps, rules = steps_of(quantized, tmp_path)
    assert steps["conv2d"] == 6
    assert "float-layer" in rules or "input-float" in rules or "weight-float" in rules
    x = images(1)[0]
    with torch.no_grad():
        assert (quantized(x) - model(x)).abs().max() < 0.06 * model(x).abs().max()


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(EdgelaneError, match="unknown residual 'one'; expected one of both, fused"):
        quantize_model(Residual(), images(), residual="one")
