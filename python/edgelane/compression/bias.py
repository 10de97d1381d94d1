"""Bias correction: rounding shifts the mean of a layer's results, and the bias can take the shift back.

Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.2, in its
empirical form: E[W x] - E[W~ x~] per output channel over the calibration data, from the first layer to the last, so
that each layer's correction sees those before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from edgelane.compression.execution import side_by_side
from edgelane.compression.fake_quantize import QuantizedConv2d


@torch.no_grad()
def correct_biases(graph_module: fx.GraphModule, batches: Sequence[Tensor]) -> dict[str, float]:
    """Correct the bias of every int8 layer of a quantised model, in place; layers without a bias are left alone.

    Returns the largest shift of a channel that was taken out of each layer, in units of the layer's results.
    """
    shifts: dict[str, float] = {}
    for layer in side_by_side(graph_module, batches):
        if layer.module.bias is None:
            continue
        channels_last = not isinstance(layer.module, QuantizedConv2d)
        shift = torch.zeros_like(layer.module.bias, dtype=torch.float64)
        count = 0
        for x, target in zip(layer.inputs, layer.targets, strict=True):
            difference = target - layer.module(x, layer.scale)
            axes = [axis for axis in range(difference.dim()) if axis != (difference.dim() - 1 if channels_last else 1)]
            shift += difference.double().sum(axes)
            count += difference.numel() // shift.numel()
        shift /= count
        layer.module.bias += shift.to(layer.module.bias.dtype)
        shifts[layer.name] = float(shift.abs().max())
    return shifts
