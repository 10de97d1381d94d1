"""Bias correction: what rounding shifts the mean of each output channel by goes into the biases.

Nagel, van Baalen, Blankevoort and Welling 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2, in its empirical form: the mean of the float result less that of the int8 result, layer by
layer in order of execution, so that each correction sees those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import onnx
from onnx import helper

from edgelane.export.compiler.functions import reads
from edgelane.export.int8.images import Samples
from edgelane.export.int8.network import Array, Network
from edgelane.export.int8.rewrite import Int8, float_model
from edgelane.export.int8.running import Runner, model_of
from edgelane.export.int8.units import Layer

BATCH = 16
MEMORY_BYTES = 1 << 30  # of the values that lie between two layers, of all samples together
ALIVE = 4  # such values are taken to need as much memory as this many of the largest layer's results


def bias_corrections(
    int8: Int8,
    float_layers: Collection[str],
    samples: Samples,
    indices: Sequence[int],
    progress: Callable[[float], None],
) -> dict[str, Array]:
    """What to add to the bias of each int8 layer, float32 [oc] by the layer's name.

    The int8 model runs once, piece by piece from one layer to the next, on as many samples as memory allows.
    """
    network = int8.network
    layers = int8.place(float_layers).layers
    zeros = {layer.name: np.zeros(_channels(network, layer), np.float32) for layer in layers}
    walk = _Walk(int8.model(float_layers, corrections=zeros))
    layers = sorted(layers, key=lambda layer: walk.places[layer.output])
    wanted = _float_means(float_model(int8.graph, int8.limits), layers, samples, indices, walk)
    corrections: dict[str, Array] = {}
    for number, layer in enumerate(layers):
        found = _Means([layer])
        values = walk.advance(layer.output)
        for value in values:
            found.add([value])
        own = network.constant(layer.bias) if layer.bias else None
        before = int8.bias_of(layer, zeros[layer.name])  # rounded already: what is added to it replaces that rounding
        exact = before + (wanted.of(layer) - found.of(layer)).astype(np.float32)
        corrections[layer.name] = exact if own is None else exact - own.reshape(-1)
        shift = int8.bias_of(layer, corrections[layer.name]) - before
        for value in values:
            value += shift.reshape(-1, *[1] * (value.ndim - 2)) if _axis(layer) == 1 else shift
        progress((number + 1) / len(layers))
    return corrections


def _channels(network: Network, layer: Layer) -> int:
    weight = network.constant(layer.weight)
    assert weight is not None
    return int(weight.shape[layer.axis])


def _axis(layer: Layer) -> int:
    """Of the output channels in a layer's result."""
    return 1 if layer.node.op_type == "Conv" else -1


class _Means:
    """The mean of each output channel of layers, before their activation functions."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.sums: dict[str, Array] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Sequence[Array]) -> None:
        """Count the layers' results for one batch."""
        for layer, value in zip(self.layers, values, strict=True):
            rows = np.moveaxis(value, _axis(layer), -1).reshape(-1, value.shape[_axis(layer)])
            self.sums[layer.name] = self.sums.get(layer.name, np.zeros(())) + rows.sum(0, dtype=np.float64)
            self.counts[layer.name] = self.counts.get(layer.name, 0) + len(rows)

    def of(self, layer: Layer) -> Array:
        """float64 [oc]."""
        return self.sums[layer.name] / self.counts[layer.name]


def _float_means(
    model: onnx.ModelProto, layers: Sequence[Layer], samples: Samples, indices: Sequence[int], walk: _Walk
) -> _Means:
    """The means of the float model on as many samples as memory allows, which the walk gets as its inputs."""
    runner, means = Runner(model, [layer.output for layer in layers]), _Means(layers)
    taken = 0
    for _, feeds in samples.batches(indices, BATCH):
        values = runner.run(feeds)
        taken += ALIVE * max(value.nbytes for value in values)
        if walk.batches and taken > MEMORY_BYTES:
            break
        means.add(values)
        walk.begin(feeds)
    return means


class _Walk:
    """A model that is run piece by piece over several batches. Between two pieces values may be changed in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.nodes = model, list(model.graph.node)
        self.places = {value: place for place, node in enumerate(self.nodes) for value in node.output}
        self._last = {value: place for place, node in enumerate(self.nodes) for value in reads(node)}
        self._done = 0
        self.batches: list[dict[str, Array]] = []  # values that are still read, of each batch

    def begin(self, feeds: dict[str, Array]) -> None:
        """Add a batch of inputs."""
        self.batches.append(dict(feeds))

    def advance(self, value: str) -> list[Array]:
        """Run up to the node that makes `value`; return it for each batch."""
        end = self.places[value] + 1
        nodes = self.nodes[self._done : end]
        read = {name for node in nodes for name in reads(node)}
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
            for name, array in self.batches[0].items()
            if name in read
        ]
        made = [name for node in nodes for name in node.output if name == value or self._last.get(name, -1) >= end]
        runner = Runner(model_of(self.model, nodes, inputs, made), made)
        for batch in self.batches:
            batch.update(zip(made, runner.run(batch), strict=True))
            for name in [name for name in batch if name != value and self._last.get(name, -1) < end]:
                del batch[name]
        self._done = end
        return [batch[value] for batch in self.batches]
