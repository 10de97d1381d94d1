"""AdaRound: whether each weight goes up or down to int8 is learned, layer by layer, on calibration data.

Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization": w~ = s * (floor(w / s) + h(v)) with
the rectified sigmoid h(v) = clip(1.2 * sigmoid(v) - 0.1, 0, 1), and v minimises the error of the layer's results before
their activation function plus a regulariser sum(1 - |2 h - 1|^beta), beta falling from 20 to 2, that drives h to 0 or
1. The float network gives the results to reach, the int8 network, rounded so far, the inputs.

Here the squared error of a channel is divided by (s * rms of the input)^2: in units of the weights' own steps, so that
one weight of the regulariser suits every layer and 8 bits as well as 4. Learned are the rows of the matrix product that
the layer is, at random places of the images, in place of whole convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional

from edgelane.compression.execution import LayerData, side_by_side
from edgelane.compression.fake_quantize import WEIGHT_MAX, QuantizedConv2d
from edgelane.compression.masks import stored_weight
from edgelane.errors import EdgelaneError

_STRETCH, _OFFSET = 1.2, -0.1  # of the rectified sigmoid
_FLOATS = 1 << 26  # of sampled inputs that one layer keeps


@dataclass(frozen=True)
class AdaRound:
    """How learned rounding learns. Raises EdgelaneError for values out of range."""

    steps: int = 1000
    """Optimiser steps for each layer."""
    rows: int = 128
    """Rows (output pixels) in a step."""
    learning_rate: float = 3e-2
    regularizer: float = 1.0
    """Weight of the regulariser for each weight, against squared errors in steps."""
    warmup: float = 0.2
    """The share of steps without the regulariser."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rows < 1 or self.learning_rate <= 0 or not 0 <= self.warmup < 1:
            raise EdgelaneError(
                "AdaRound: expected steps >= 1, rows >= 1, learning_rate > 0 and 0 <= warmup < 1, found "
                f"{self.steps}, {self.rows}, {self.learning_rate} and {self.warmup}"
            )


@dataclass(frozen=True)
class RoundingGain:
    """The mean squared error of a layer's results before their activation: rounded to nearest, and as learned."""

    nearest: float
    learned: float


def round_weights(
    graph_module: fx.GraphModule, batches: Sequence[Tensor], config: AdaRound | None = None
) -> dict[str, RoundingGain]:
    """Replace the weights of every int8 layer of a quantised model, in place, by what they are learned to round to.

    The new weights lie on the int8 grid that the layer had, so it rounds them to themselves. Zeros stay zero, and a
    channel for which rounding to nearest has the smaller error is rounded to nearest. Returns the gain of each layer.
    """
    config = config or AdaRound()
    generator = torch.Generator().manual_seed(config.seed)
    return {layer.name: _round_layer(layer, config, generator) for layer in side_by_side(graph_module, batches)}


def _round_layer(layer: LayerData, config: AdaRound, generator: torch.Generator) -> RoundingGain:
    module = layer.module
    with torch.no_grad():
        _, bias, scale = module.quantized_parameters(layer.scale)
        weight = module.weight.detach().float()
        x, wanted = _samples(layer, generator)  # [groups, rows, taps], [groups, rows, channels]
        groups, _, taps = x.shape
        steps = (weight.reshape(groups, -1, taps) / scale.reshape(groups, -1, 1)).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        if bias is not None:
            wanted = wanted - bias.reshape(groups, 1, -1)
        # In units of the steps: the product of x / rms and whole numbers.
        rms = x.pow(2).mean((1, 2), keepdim=True).sqrt()
        rms = torch.where(rms > 0, rms, 1.0)  # channels that are never anything but zero
        x, wanted = x / rms, wanted / (rms * scale.reshape(groups, 1, -1))
        nearest = steps.round()
        learned = _learn(steps, x, wanted, config, generator)
        before, after = _error(x, nearest, wanted), _error(x, learned, wanted)
        better = after < before
        levels = torch.where(better[..., None], learned, nearest)
        stored_weight(module).copy_((levels * scale.reshape(groups, -1, 1)).reshape(weight.shape))
        unit = (rms * scale.reshape(groups, 1, -1)).pow(2).reshape(groups, -1)
        return RoundingGain(float((before * unit).mean()), float((torch.minimum(before, after) * unit).mean()))


def _samples(layer: LayerData, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of the layer as a matrix product: inputs and float results at random places of all images."""
    module, inputs, targets = layer.module, layer.inputs, layer.targets
    if not isinstance(module, QuantizedConv2d):
        x = torch.cat([value.reshape(-1, module.in_features) for value in inputs])
        y = torch.cat([value.reshape(-1, module.out_features) for value in targets])
        kept = torch.randperm(len(x), generator=generator)[: _row_limit(module.in_features)].to(x.device)
        return x[kept][None], y[kept][None]
    taps = math.prod(module.weight.shape[1:])
    images = sum(len(value) for value in inputs)
    each = max(1, _row_limit(taps * module.groups) // images)
    rows, results = [], []
    for x, y in zip(inputs, targets, strict=True):
        padded = functional.pad(x, module._reversed_padding_repeated_twice)
        for image, result in zip(padded, y, strict=True):
            places = torch.randperm(result[0].numel(), generator=generator)[:each].to(x.device)
            columns = functional.unfold(image[None], module.kernel_size, module.dilation, 0, module.stride)[0]
            rows.append(columns[:, places].reshape(module.groups, taps, -1))
            results.append(result.flatten(1)[:, places].reshape(module.groups, -1, len(places)))
    return torch.cat(rows, 2).transpose(1, 2).contiguous(), torch.cat(results, 2).transpose(1, 2).contiguous()


def _row_limit(width: int) -> int:
    return max(1024, min(1 << 15, _FLOATS // width))


def _learn(steps: Tensor, x: Tensor, wanted: Tensor, config: AdaRound, generator: torch.Generator) -> Tensor:
    """The whole numbers that `steps` [groups, channels, taps] become: `x @ steps.T` is to be `wanted`."""
    # Zeros stay, and so does the largest weight of a channel, from which the channel's scale follows.
    free = ((steps != 0) & (steps.abs() < WEIGHT_MAX - 0.01)).flatten().nonzero()[:, 0]
    weight = steps.round()
    down = steps.flatten()[free].floor()
    share = ((steps.flatten()[free] - down - _OFFSET) / _STRETCH).clamp(1e-6, 1 - 1e-6)
    v = torch.logit(share).requires_grad_()
    optimizer = torch.optim.Adam([v], config.learning_rate, fused=True)
    warmup = config.warmup * config.steps
    count = min(config.rows, x.shape[1])
    for step in range(config.steps):
        rows = torch.randint(x.shape[1], (count,), generator=generator).to(x.device)
        sigmoid = torch.sigmoid(v.detach())
        h = (sigmoid * _STRETCH + _OFFSET).clamp(0, 1)
        weight.view(-1).index_copy_(0, free, down + h)
        error = x[:, rows] @ weight.transpose(1, 2) - wanted[:, rows]
        # The gradient by hand: a fraction of the weights is free where layers are sparse, and few passes are left.
        slope = (error.transpose(1, 2) @ x[:, rows]).flatten()[free] * (2 / count)
        if step >= warmup:
            beta = 2 + 9 * (1 + math.cos(math.pi * (step - warmup) / (config.steps - warmup)))
            side = 2 * h - 1
            slope -= 2 * beta * config.regularizer * side.sign() * side.abs().pow(beta - 1)
        v.grad = slope * (_STRETCH * sigmoid * (1 - sigmoid)) * ((h > 0) & (h < 1))
        optimizer.step()
    up = torch.sigmoid(v.detach()) * _STRETCH + _OFFSET >= 0.5
    weight.view(-1).index_copy_(0, free, down + up)
    return weight


def _error(x: Tensor, levels: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of each channel, [groups, channels]."""
    return (x @ levels.transpose(1, 2) - wanted).pow(2).mean(1)
