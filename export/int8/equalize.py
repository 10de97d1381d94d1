"""Cross-layer equalisation: channels between two convolutions are scaled so that both have weights of like size.

Nagel, van Baalen, Blankevoort and Welling 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.1: with s = sqrt(r1 / r2) of the largest magnitudes of a channel in the first and the second
layer, w1 / s and w2 * s compute the same where what stands between commutes with positive factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgelane.export.int8.images import Samples
from edgelane.export.int8.network import Array, Network, attribute, set_initializer
from edgelane.export.int8.placement import Graph
from edgelane.export.int8.running import Runner
from edgelane.export.int8.units import Layer, Unit

ROUNDS, CLOSE = 20, 1e-3  # until no factor is further from 1 than this
BATCH = 16
# One channel's values are scaled by a positive factor before or after these.
_COMMUTE = ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout")


@dataclass(frozen=True)
class Pair:
    """Two convolutions; `limit`: the upper bound of a Clip from 0 between them, or None."""

    first: Layer
    second: Layer
    limit: float | None


def equalize(graph: Graph, samples: Samples, indices: Sequence[int]) -> list[tuple[str, str]]:
    """Equalise the weights of the graph's network in place; return the names of the pairs.

    A Clip does not commute: a channel that reaches its limit on these samples keeps its scale, and no other is scaled
    to where it would. So the model computes the same on them.
    """
    pairs = find_pairs(graph)
    network = graph.network
    reached = _reached(network.model, [pair.first for pair in pairs if pair.limit is not None], samples, indices)
    weights = {layer.weight: _array(network, layer.weight) for pair in pairs for layer in (pair.first, pair.second)}
    biases = {pair.first.bias: _array(network, pair.first.bias) for pair in pairs if pair.first.bias}
    for _ in range(ROUNDS):
        largest = 0.0
        for pair in pairs:
            factor = _factor(pair, weights, reached)
            largest = max(largest, float(np.abs(np.log(factor)).max(initial=0)))
            first, second = pair.first, pair.second
            weights[first.weight] = weights[first.weight] / factor.reshape(-1, 1, 1, 1)
            if first.bias:
                biases[first.bias] = biases[first.bias] / factor
            if pair.limit is not None:
                reached[first.name] = reached[first.name] / factor
            weights[second.weight] = weights[second.weight] * _by_input(second, weights[second.weight], factor)
        if largest < CLOSE:
            break
    for name, value in {**weights, **biases}.items():
        set_initializer(network.model, name, value.astype(np.float32))
    return [(pair.first.name, pair.second.name) for pair in pairs]


def find_pairs(graph: Graph) -> list[Pair]:
    """Convolutions of which the second alone reads the first, through functions that commute, or a Clip from 0."""
    network, pairs = graph.network, []
    for layer in graph.layers:
        if layer.reason or layer.node.op_type != "Conv" or not _own(network, layer):
            continue
        value, limit = layer.output, None
        while True:
            if value in network.outputs or len(network.readers[value]) != 1:
                break
            unit = graph.readers.get(value, [None])[0]
            if unit is None:
                break
            if unit.layer is not None:
                second = unit.layer
                if not second.reason and second.node.op_type == "Conv" and _own(network, second):
                    pairs.append(Pair(layer, second, limit))
                break
            bound = _clip_from_zero(unit, network)
            if bound is not None:
                limit = bound if limit is None else min(limit, bound)
            elif len(unit.nodes) != 1 or unit.nodes[0].op_type not in _COMMUTE or unit.kind == "other":
                break
            value = unit.outputs[0]
    return pairs


def _own(network: Network, layer: Layer) -> bool:
    """Whether no other node reads a layer's constants."""
    return all(len(network.readers[name]) == 1 for name in (layer.weight, layer.bias) if name)


def _clip_from_zero(unit: Unit, network: Network) -> float | None:
    """The upper bound of a unit that is Clip(0, bound)."""
    node = unit.nodes[0]
    if len(unit.nodes) != 1 or node.op_type != "Clip" or len(node.input) < 3:
        return None
    low, high = (network.constant(name) if name else None for name in node.input[1:3])
    return float(high.reshape(())) if low is not None and high is not None and not low.any() else None


def _array(network: Network, name: str) -> Array:
    value = network.constant(name)
    assert value is not None
    return value.astype(np.float64)


def _factor(pair: Pair, weights: dict[str, Array], reached: dict[str, Array]) -> Array:
    """What each channel between the two layers is divided by, float64 [c]."""
    first = np.abs(weights[pair.first.weight]).max(axis=(1, 2, 3))
    second = _input_ranges(pair.second, weights[pair.second.weight])
    alive = (first > 0) & (second > 0)
    factor = np.sqrt(np.where(alive, first, 1.0) / np.where(alive, second, 1.0))
    if pair.limit is not None:
        most = reached[pair.first.name]
        factor = np.where(most >= pair.limit, 1.0, np.maximum(factor, most / pair.limit))
    return factor


def _input_ranges(layer: Layer, weight: Array) -> Array:
    """The largest magnitude by which a layer multiplies each input channel, [ic]."""
    groups = attribute(layer.node, "group", 1)
    split = np.abs(weight).reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    largest: Array = split.max(axis=(1, 3)).reshape(-1)
    return largest


def _by_input(layer: Layer, weight: Array, factor: Array) -> Array:
    """A factor for each input channel in the shape of a layer's weights."""
    groups = attribute(layer.node, "group", 1)
    spread: Array = np.repeat(factor.reshape(groups, weight.shape[1]), weight.shape[0] // groups, axis=0)
    return spread[:, :, None, None]


def _reached(
    model: onnx.ModelProto, layers: Sequence[Layer], samples: Samples, indices: Sequence[int]
) -> dict[str, Array]:
    """The largest value of each output channel of layers, at least 0, float64 [oc] by the layer's name."""
    if not layers:
        return {}
    runner = Runner(model, [layer.output for layer in layers])
    found: dict[str, Array] = {}
    for _, feeds in samples.batches(indices, BATCH):
        for layer, value in zip(layers, runner.run(feeds), strict=True):
            most = np.maximum(value.max(axis=(0, 2, 3)), 0.0).astype(np.float64)
            found[layer.name] = np.maximum(found.get(layer.name, most), most)
    return found
