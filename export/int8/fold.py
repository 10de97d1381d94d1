"""BatchNorm and other constant factors and shifts per channel, folded into the layers before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgelane.export.int8.network import Array, Names, Network, attribute, is_standard, set_initializer

_SHIFTS, _FACTORS = ("Add", "Sub"), ("Mul", "Div")


def fold_into_layers(model: onnx.ModelProto, types: dict[str, onnx.TypeProto]) -> None:
    """Fold, in place, each BatchNorm, Mul, Div, Add or Sub with constants per channel that alone reads a layer.

    w' = w * factor, b' = b * factor + shift, in float64. A zero weight stays zero. The factors of a Gemm (alpha, beta)
    go into its constants, too.
    """
    names = Names(model)
    while True:
        network = Network(model, types)
        changed: set[str] = set()  # values of this round: `network` does not know them any more
        for node in network.nodes:
            for layer in _candidates(node, network):
                found = _affine(node, layer, network)
                if found is None or changed.intersection((*layer.output, *layer.input)):
                    continue
                changed.update((*layer.output, *layer.input, *node.output))
                _fold(model, network, layer, *found, names)
                layer.output[0] = node.output[0]
                model.graph.node.remove(node)
                break
        if not changed:
            break
    for node in model.graph.node:
        if node.op_type == "Gemm":
            _unit_gemm(model, Network(model, types), node, names)


def _candidates(node: onnx.NodeProto, network: Network) -> list[Any]:
    """The nodes that make what `node` could apply a factor and a shift to; of Sub and Div only the first operand is."""
    values = node.input[:2] if node.op_type in ("Add", "Mul") else node.input[:1]
    return [network.producers[value] for value in values if value in network.producers]


def _affine(node: onnx.NodeProto, layer: onnx.NodeProto, network: Network) -> tuple[Array, Array] | None:
    """Factor and shift per output channel of `layer` that `node` applies, float64 [oc], where it can be folded."""
    alone = id(network.only_reader(layer.output[0])) == id(node)
    if not (alone and is_standard(node) and is_standard(layer)):
        return None
    if list(node.input).count(layer.output[0]) != 1:
        return None
    channels = _channels(layer, network)
    if channels is None:
        return None
    if node.op_type == "BatchNormalization":
        if attribute(node, "training_mode", 0) or any(node.output[1:]):
            return None
        values = [network.constant(name) for name in node.input[1:5]]
        if any(value is None or value.shape != (channels,) for value in values):
            return None
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
        factor = gamma / np.sqrt(variance + float(attribute(node, "epsilon", 1e-5)))
        return factor, beta - mean * factor
    if node.op_type not in (*_SHIFTS, *_FACTORS) or layer.op_type == "Gemm":
        return None
    other = next((name for name in node.input if name != layer.output[0]), "")
    constant = network.constant(other)
    weight = network.constant(layer.input[1])
    rank = 0 if weight is None else weight.ndim
    if constant is None or constant.dtype != np.float32 or constant.ndim > rank:
        return None
    shape = (1,) * (rank - constant.ndim) + constant.shape
    if shape[1] not in (1, channels) or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    value = np.broadcast_to(constant.astype(np.float64).reshape(-1), (channels,))
    if node.op_type in _SHIFTS:
        return np.ones(channels), value if node.op_type == "Add" else -value
    return (value if node.op_type == "Mul" else 1.0 / value), np.zeros(channels)


def _channels(layer: onnx.NodeProto, network: Network) -> int | None:
    """The output channels of a layer with constant weights and bias; None for any other node."""
    if layer.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(layer.input) < 2:
        return None
    weight = network.constant(layer.input[1])
    if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
        return None
    if layer.op_type == "Conv":
        channels = weight.shape[0]
    elif layer.op_type == "ConvTranspose":
        channels = weight.shape[1] * attribute(layer, "group", 1)
    else:
        channels = weight.shape[0 if attribute(layer, "transB", 0) else 1]
        if attribute(layer, "alpha", 1.0) != 1 or attribute(layer, "beta", 1.0) != 1:
            return None
    bias = layer.input[2] if len(layer.input) > 2 else ""
    if bias:
        value = network.constant(bias)
        if value is None or value.size != channels:
            return None
    return int(channels)


def _fold(
    model: onnx.ModelProto, network: Network, layer: onnx.NodeProto, factor: Array, shift: Array, names: Names
) -> None:
    weight = network.constant(layer.input[1])
    assert weight is not None
    if layer.op_type == "ConvTranspose":
        groups = attribute(layer, "group", 1)
        spread = np.repeat(factor.reshape(groups, 1, -1), weight.shape[0] // groups, axis=1)
        spread = spread.reshape(weight.shape[:2] + (1,) * (weight.ndim - 2))
    elif layer.op_type == "Gemm" and not attribute(layer, "transB", 0):
        spread = factor[None, :]
    else:
        spread = factor.reshape(-1, *[1] * (weight.ndim - 1))
    name = layer.input[2] if len(layer.input) > 2 else ""
    old = network.constant(name) if name else None
    bias = (0.0 if old is None else old.astype(np.float64).reshape(-1)) * factor + shift
    _write(model, network, layer, 1, (weight.astype(np.float64) * spread).astype(np.float32), names)
    if name:
        _write(model, network, layer, 2, bias.astype(np.float32), names)
    else:
        del layer.input[2:]
        layer.input.append(names.new(bias_name(layer.input[1])))
        set_initializer(model, layer.input[2], bias.astype(np.float32))


def bias_name(weight: str) -> str:
    """What the bias beside a weight of this name is called."""
    return f"{weight.removesuffix('.weight')}.bias"


def _write(
    model: onnx.ModelProto, network: Network, node: onnx.NodeProto, index: int, value: Array, names: Names
) -> None:
    """Change a constant of a node, and of this node alone."""
    name = node.input[index]
    if len(network.readers[name]) > 1 or name in network.outputs:
        name = node.input[index] = names.new(name)
    set_initializer(model, name, value)


def _unit_gemm(model: onnx.ModelProto, network: Network, node: onnx.NodeProto, names: Names) -> None:
    """Let alpha and beta be 1, where weights and bias are constants."""
    for key, index in (("alpha", 1), ("beta", 2)):
        factor = float(attribute(node, key, 1.0))
        value = network.constant(node.input[index]) if len(node.input) > index else None
        if factor == 1 or value is None or value.dtype != np.float32:
            continue
        _write(model, network, node, index, (value.astype(np.float64) * factor).astype(np.float32), names)
        next(entry for entry in node.attribute if entry.name == key).f = 1.0


def drop_no_ops(model: onnx.ModelProto, types: dict[str, onnx.TypeProto]) -> None:
    """Take out, in place, Identity and Dropout, so that a layer and what it is fused with are neighbours."""
    network = Network(model, types)
    for node in network.nodes:
        if not is_standard(node) or node.op_type not in ("Identity", "Dropout") or any(node.output[1:]):
            continue
        mode = network.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        readers = network.readers[node.output[0]]
        inner = any(node.output[0] not in reader.input for reader in readers)  # a graph inside a node reads it
        if mode is None or mode.any() or inner or node.output[0] in network.outputs:
            continue
        for reader in readers:
            reader.input[:] = [node.input[0] if value == node.output[0] else value for value in reader.input]


def canonical_pools(model: onnx.ModelProto, types: dict[str, onnx.TypeProto]) -> None:
    """Write a mean over height and width that keeps them as GlobalAveragePool, which int8 kernels know."""
    network = Network(model, types)
    for node in model.graph.node:
        keeps = is_standard(node) and node.op_type == "ReduceMean" and attribute(node, "keepdims", 1) == 1
        if keeps and is_spatial_mean(node, network):
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]


def is_spatial_mean(node: onnx.NodeProto, network: Network) -> bool:
    """Whether a ReduceMean is over height and width of [n, c, h, w]."""
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1:
        axes = network.constant(node.input[1])
    dims = network.dims(node.input[0])
    return (
        axes is not None
        and dims is not None
        and len(dims) == 4
        and sorted(int(axis) % 4 for axis in np.ravel(axes)) == [2, 3]
    )
