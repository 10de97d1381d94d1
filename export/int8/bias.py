"""Bias correction: what rounding shifts the mean of each output channel by goes into the biases.

Nagel, van Baalen, Blankevoort and Welling 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2, with means measured on images: layer by layer in order of execution, so that each correction
sees those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx

from edgelane.export.int8.images import Samples
from edgelane.export.int8.network import Array
from edgelane.export.int8.rewrite import Int8
from edgelane.export.int8.running import Runner
from edgelane.export.int8.units import Layer

BATCH = 16


def bias_corrections(
    int8: Int8,
    float_layers: Collection[str],
    samples: Samples,
    indices: Sequence[int],
    progress: Callable[[float], None],
) -> dict[str, Array]:
    """What to add to the bias of each int8 layer, float32 [oc] by the layer's name."""
    layers = int8.place(float_layers).layers
    wanted = _means(int8.network.model, layers, samples, indices)
    corrections: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        model = int8.model(float_layers, corrections=corrections)
        found = _means(model, [layer], samples, indices)[layer.name]
        corrections[layer.name] = (wanted[layer.name] - found).astype(np.float32)
        progress((number + 1) / len(layers))
    return corrections


def _means(
    model: onnx.ModelProto, layers: Sequence[Layer], samples: Samples, indices: Sequence[int]
) -> dict[str, Array]:
    """The mean of each output channel of layers, before their activation functions, float64 [oc]."""
    runner = Runner(model, [layer.output for layer in layers])
    sums = {layer.name: np.zeros(()) for layer in layers}
    counts = dict.fromkeys(sums, 0)
    for _, feeds in samples.batches(indices, BATCH):
        for layer, value in zip(layers, runner.run(feeds), strict=True):
            axis = 1 if layer.node.op_type == "Conv" else value.ndim - 1
            others = tuple(other for other in range(value.ndim) if other != axis)
            sums[layer.name] = sums[layer.name] + value.sum(axis=others, dtype=np.float64)
            counts[layer.name] += value.size // value.shape[axis]
    return {name: total / max(counts[name], 1) for name, total in sums.items()}
