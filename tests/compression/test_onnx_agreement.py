"""int8 of an exported float ONNX file, which needs no torch, is the int8 that the torch path exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from int8_networks import images, unequal
from onnx import numpy_helper
from small_networks import Branches, Residual, randomised
from torch import nn

from edgelane.compression import quantization_scales, quantize_model
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear
from edgelane.export.int8 import quantize_onnx
from edgelane.export.onnx import export_module


def rounded_values(path: Path) -> dict[str, float]:
    """The scale of each value that is rounded to int8, by the operators that lead to it."""
    model = onnx.load(path)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    makers = {value: node for node in model.graph.node for value in node.output}
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return {history_of(node.input[0], makers): float(constants[node.input[1]]) for node in pairs}


def history_of(value: str, makers: dict[str, Any], depth: int = 12) -> str:
    """The operators that lead to a value, without pairs of Q and DQ."""
    node = makers.get(value)
    if node is None or depth == 0:
        return value if node is None else "..."
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return history_of(node.input[0], makers, depth)
    inner = [history_of(source, makers, depth - 1) for source in node.input if source in makers or source == "images"]
    return f"{node.op_type}({', '.join(inner)})"


@pytest.mark.parametrize("network", [Residual, Branches])
def test_same_placement_scales_and_weights(network: type[nn.Module], tmp_path: Path) -> None:
    model = randomised(network())
    pictures = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    folder = tmp_path / "images"
    folder.mkdir()
    np.save(folder / "images.npy", pictures.numpy())
    export_module(model, pictures[:1], tmp_path / "float.onnx", {})
    order = np.random.default_rng(0).permutation(40)  # what the seed 0 chooses
    batches = [pictures[order[:32]], pictures[order[32:]]]
    export_module(quantize_model(model, batches), pictures[:1], tmp_path / "torch.onnx", {})
    quantize_onnx(tmp_path / "float.onnx", folder, tmp_path / "out.onnx")
    wanted, found = rounded_values(tmp_path / "torch.onnx"), rounded_values(tmp_path / "out.onnx")
    assert len(found) > 8
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-4)
    torch_weights, weights = integers(tmp_path / "torch.onnx"), integers(tmp_path / "out.onnx")
    assert len(weights) >= 6
    assert weights.keys() == torch_weights.keys()
    for name, levels in weights.items():
        assert np.array_equal(levels, torch_weights[name]), name
    for method in ("minmax", "moving_average", "percentile", "entropy"):
        report = quantize_onnx(tmp_path / "float.onnx", folder, tmp_path / "out.onnx", method=method)
        scales = quantization_scales(quantize_model(model, batches, method=method))
        assert sorted(set(report["scales"].values())) == pytest.approx(sorted(scales.values()), rel=1e-4)


def test_same_equalisation_and_corrections(tmp_path: Path) -> None:
    model, batches = unequal(), images(4)
    folder = tmp_path / "images"
    folder.mkdir()
    everything = torch.cat(batches)
    np.save(folder / "images.npy", everything.numpy())
    export_module(model, everything[:1], tmp_path / "float.onnx", {})
    order = np.random.default_rng(0).permutation(32)
    quantized = quantize_model(model, [everything[order]], equalize=True, bias_correction=True)
    report = quantize_onnx(
        tmp_path / "float.onnx", folder, tmp_path / "out.onnx", equalize=True, bias_correction=True, residual="both"
    )
    assert len(report["equalized"]) == 2
    scales = quantization_scales(quantized)
    assert sorted(set(report["scales"].values())) == pytest.approx(sorted(scales.values()), rel=1e-3)
    levels, found = integers(tmp_path / "out.onnx"), 0
    for name, layer in quantized.named_modules():
        if isinstance(layer, (QuantizedConv2d, QuantizedLinear)):
            found += 1
            weight = layer.weight.detach()
            per_channel = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1))
            assert np.abs(levels[f"{name}.weight"] - (weight / per_channel * 127).numpy()).max() < 0.51
    assert found == len(levels) == 6
    plain = onnx.load(tmp_path / "out.onnx")
    biases = {entry.name: numpy_helper.to_array(entry) for entry in plain.graph.initializer if "bias" in entry.name}
    for name, value in biases.items():
        expected = quantized.get_parameter(name).detach().numpy()
        assert np.abs(value - expected).max() < 0.02 * np.abs(expected).max(), name


def integers(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The int8 weights."""
    stored = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
    return {name: value for name, value in stored.items() if value.dtype == np.int8 and value.ndim > 1}
