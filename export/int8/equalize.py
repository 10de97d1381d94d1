"""Cross-layer equalisation of an ONNX graph, as `edgelane.compression.equalize` does it and says why.

Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction": between two convolutions,
channels are divided by s and multiplied by s again, so that one scale for the activation serves all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgelane.export.int8.images import Samples
from edgelane.export.int8.network import Array, Network, attribute, set_initializer
from edgelane.export.int8.placement import Graph
from edgelane.export.int8.running import Runner
from edgelane.export.int8.units import Layer, Unit

BATCH = 16
_SPREAD = 256.0  # between the scales of a tensor's channels: below this share of the range int8 has no levels
# A positive factor in a channel passes through these unchanged.
_LINEAR = ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool")


@dataclass(frozen=True)
class Pair:
    """Two convolutions; `between`: the value that the second one reads; `clamps`: results of Clip from 0 on the way,
    each with its upper limit.
    """

    first: Layer
    second: Layer
    between: str
    clamps: dict[str, float]


@dataclass(frozen=True)
class Equalized:
    """`pairs`: names of the convolutions. `limits`: what was Clip is Relu, and its result should be no more than this
    in each channel, float32 [channels]. int8 saturates there anyway; where the result stays float, Min has to do it.
    """

    pairs: list[tuple[str, str]]
    limits: dict[str, Array]


def equalize(graph: Graph, samples: Samples, indices: Sequence[int], skip: Collection[str] = ()) -> Equalized:
    """Equalise the weights of the graph's network in place. `skip`: names of layers that stay as they are."""
    network = graph.network
    pairs = find_pairs(graph, skip)
    ranges = _ranges(network.model, [pair.between for pair in pairs], samples, indices)
    constants: dict[str, Array] = {}
    limits: dict[str, Array] = {}
    for pair in pairs:
        first, second = pair.first, pair.second
        for name in filter(None, (first.weight, first.bias, second.weight)):
            constants.setdefault(name, _float64(network, name))
        factor = _factor(pair, constants[second.weight], ranges[pair.between])
        constants[first.weight] = constants[first.weight] / factor.reshape(-1, 1, 1, 1)
        if first.bias:
            constants[first.bias] = constants[first.bias] / factor
        constants[second.weight] = constants[second.weight] * _by_input(second, constants[second.weight], factor)
        for value, limit in pair.clamps.items():
            limits[value] = (limit / factor).astype(np.float32)
    for name, changed in constants.items():
        set_initializer(network.model, name, changed.astype(np.float32))
    for node in network.model.graph.node:
        if node.output and node.output[0] in limits:
            node.op_type = "Relu"
            del node.input[1:]
    return Equalized([(pair.first.name, pair.second.name) for pair in pairs], limits)


def find_pairs(graph: Graph, skip: Collection[str]) -> list[Pair]:
    """Convolutions of which the second alone reads the first, with nothing between that minds a factor in a channel."""
    network, pairs = graph.network, []
    for first in graph.layers:
        value, clamps = first.output, dict[str, float]()
        while _takes_part(first, network, skip) and network.only_reader(value) is not None and graph.readers.get(value):
            unit = graph.readers[value][0]
            if unit.layer is not None:
                if _takes_part(unit.layer, network, skip):
                    pairs.append(Pair(first, unit.layer, value, clamps))
                break
            limit = clamp_limit(unit, network)
            if limit is not None:
                clamps[unit.outputs[0]] = limit
            elif len(unit.nodes) != 1 or unit.nodes[0].op_type not in _LINEAR or unit.kind == "other":
                break
            value = unit.outputs[0]
    return pairs


def _takes_part(layer: Layer, network: Network, skip: Collection[str]) -> bool:
    """Whether a layer is a convolution that may be int8 and whose constants no other node reads."""
    own = all(len(network.readers[name]) == 1 for name in (layer.weight, layer.bias) if name)
    return own and layer.node.op_type == "Conv" and not layer.reason and layer.name not in skip


def clamp_limit(unit: Unit, network: Network) -> float | None:
    """The upper bound of a unit that is Clip(0, bound)."""
    node = unit.nodes[0]
    if len(unit.nodes) != 1 or node.op_type != "Clip" or len(node.input) < 3:
        return None
    low, high = (network.constant(name) if name else None for name in node.input[1:3])
    return float(high.reshape(())) if low is not None and high is not None and not low.any() else None


def _float64(network: Network, name: str) -> Array:
    value = network.constant(name)
    assert value is not None
    return value.astype(np.float64)


def _factor(pair: Pair, weight: Array, ranges: Array) -> Array:
    """What the channels between a pair are divided by, float64 [c]. The largest range stays what it was."""
    largest = ranges.max()
    if largest == 0:
        return np.ones_like(ranges)
    ranges = np.maximum(ranges, largest / _SPREAD)
    if weight.shape[1] == 1:
        factor = ranges
    else:
        groups = attribute(pair.second.node, "group", 1)
        rows = np.abs(weight).reshape(groups, -1, weight.shape[1], weight[0, 0].size).max(3)
        shares = (rows / np.maximum(rows.max(2, keepdims=True), np.finfo(np.float32).tiny)).max(1).reshape(-1)
        factor = np.sqrt(ranges / np.maximum(shares, 1 / _SPREAD))
    factor = factor * ((ranges / factor).max() / largest)
    for limit in pair.clamps.values():
        factor = np.minimum(factor, max(1.0, limit / float(largest)))
    return np.asarray(factor)


def _by_input(layer: Layer, weight: Array, factor: Array) -> Array:
    """A factor for each input channel in the shape of a layer's weights."""
    groups = attribute(layer.node, "group", 1)
    spread: Array = np.repeat(factor.reshape(groups, weight.shape[1]), weight.shape[0] // groups, axis=0)
    return spread[:, :, None, None]


def _ranges(
    model: onnx.ModelProto, values: Sequence[str], samples: Samples, indices: Sequence[int]
) -> dict[str, Array]:
    """The largest magnitude of each channel of values [n, c, h, w], float64 [c]."""
    runner = Runner(model, values)
    found: dict[str, Array] = {}
    for _, feeds in samples.batches(indices, BATCH):
        for name, value in zip(values, runner.run(feeds), strict=True):
            largest = np.abs(value).max(axis=(0, 2, 3)).astype(np.float64)
            found[name] = np.maximum(found.get(name, largest), largest)
    return found
