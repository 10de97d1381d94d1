from pathlib import Path

import numpy as np
import pytest
import torch
from int8_networks import Inverted, images
from PIL import Image
from small_networks import Branches, Residual, randomised
from torch import nn

import edgelane
from edgelane.compression import finalize, prepare_qat, prune_model, quantize_model, rebuild, record_of
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear, Quantizer
from edgelane.compression.masks import masked_layers
from edgelane.compression.qat import LearnedQuantizer
from edgelane.data import load
from edgelane.errors import EdgelaneError
from edgelane.export.onnx import export_module
from edgelane.training import TrainingConfig, fit


def train(model: nn.Module, steps: int = 30) -> list[float]:
    """Brightness tells the class."""
    labels = torch.arange(16) % 5
    x = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(3)) + labels[:, None, None, None] - 2.0
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.01)
    losses = []
    model.train()
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return losses


def test_gradient_of_the_step_worked_out_by_hand() -> None:
    quantizer = LearnedQuantizer(torch.tensor(0.5))
    x = torch.tensor([[0.6, -0.9, 100.0, -100.0]], requires_grad=True)
    (quantizer(x) * torch.tensor([[1.0, 2.0, 3.0, 4.0]])).sum().backward()
    # x / s = 1.2, -1.8, 200, -200: slopes 1 - 1.2, -2 + 1.8, 127, -128; times s for the logarithm, by 1 / sqrt(4 * 127)
    slope = -0.2 - 0.2 * 2 + 127 * 3 - 128 * 4
    assert quantizer.log_scale.grad == pytest.approx(slope * 0.5 / np.sqrt(4 * 127), rel=1e-4)
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 2, 0, 0]]


@pytest.mark.parametrize("network", [Residual, Branches, Inverted])
def test_before_training_it_is_the_quantised_model(network: type[nn.Module]) -> None:
    quantized = quantize_model(randomised(network()), images())
    prepared = prepare_qat(quantized)
    x = images(1, seed=7)[0]
    assert torch.allclose(prepared(x), quantized(x), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, LearnedQuantizer) for module in quantized.modules())


def test_steps_shrink_where_they_are_far_too_large() -> None:
    quantized = quantize_model(nn.Sequential(nn.Conv2d(3, 4, 1)), images())
    quantized.get_submodule("quantizers.input_1").scale.fill_(0.8)  # type: ignore[union-attr, operator]
    prepared = prepare_qat(quantized)
    optimizer = torch.optim.Adam(prepared.parameters(), 3e-2)
    exact = quantized.get_submodule("0")
    for _ in range(60):
        x = torch.cat(images())
        loss = (prepared(x) - exact.float_forward(x).detach()).pow(2).mean()  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert prepared.get_submodule("quantizers.input_1").scale < 0.3


def test_a_pruned_network_trains_exports_and_comes_back(tmp_path: Path) -> None:
    pruned = prune_model(randomised(Residual()), 0.6, "4x4", example_inputs=torch.zeros(1, 3, 16, 16))
    model = prepare_qat(quantize_model(pruned, images()))
    gone = {name: layer.weight == 0 for name, layer, _ in masked_layers(model)}
    scales = {name: module.scale.item() for name, module in model.named_modules() if isinstance(module, Quantizer)}
    assert gone
    losses = train(model)
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(layer.weight == 0, gone[name]) for name, layer, _ in masked_layers(model))
    trained = {name: module.scale.item() for name, module in model.named_modules() if isinstance(module, Quantizer)}
    assert all(trained[name] > 0 for name in scales)
    assert all(trained[name] != scales[name] for name in scales)
    for module in model.modules():
        if isinstance(module, (QuantizedConv2d, QuantizedLinear)):
            _, bias, scale = module.quantized_parameters(torch.tensor(0.05))
            levels = bias.double() / (scale.double() * 0.05)
            assert (levels - levels.round()).abs().max() < 1e-2

    x = images(1, seed=7)[0]
    expected = model(x).detach()
    for stored in (model, finalize(model)):
        rebuilt = rebuild(Residual(), record_of(stored), stored.state_dict())
        assert torch.allclose(rebuilt(x), expected, rtol=0, atol=1e-4)
    assert not any(isinstance(module, LearnedQuantizer) for module in finalize(model).modules())

    parity = export_module(model, x, tmp_path / "m.onnx", {})  # raises where ONNX Runtime computes something else
    assert parity.to_dict()
    edgelane.compile(tmp_path / "m.onnx", tmp_path / "m.lane")
    session = edgelane.Session(tmp_path / "m.lane")
    (found,) = session.run({"images": x.numpy()}).values()
    assert np.abs(found - expected.numpy()).max() <= 0.02 * np.abs(expected.numpy()).max()
    assert not any(step.op == "dequantize" for step in session.steps())


def test_fit_trains_it_unchanged(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for channel, name in enumerate("abc"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            pixels = generator.integers(0, 120, (16, 16, 3)).astype(np.uint8)
            pixels[4:12, 4:12, channel] = 180
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    data = load(str(tmp_path / "data"), image_size=16)
    network = randomised(Residual())
    network.classifier = nn.Linear(24, 3)
    model = prepare_qat(quantize_model(network, images()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainingConfig(epochs=2, batch_size=8, learning_rate=3e-3, precision="32", workers=0, warmup_epochs=0.5)
    result = fit(model, data, config, tmp_path / "run")
    assert result is model
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert {"quantizers.x.log_scale", "stem.0.weight", "stem.0.bias"} <= set(moved)
    assert torch.isfinite(model(images(1)[0])).all()


def test_half_precision_rounds_to_the_same_levels() -> None:
    model = prepare_qat(quantize_model(randomised(Residual()), images()))
    quantizer = model.get_submodule("quantizers.x")
    x = images(1)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(x), quantizer(x.float()))
        assert quantizer(x).dtype == torch.float32


def test_mistakes_are_named() -> None:
    with pytest.raises(EdgelaneError, match="expected a model from quantize_model, found Residual"):
        prepare_qat(Residual())
    with pytest.raises(EdgelaneError, match="prepared for quantisation-aware training already"):
        prepare_qat(prepare_qat(quantize_model(randomised(Residual()), images())))
