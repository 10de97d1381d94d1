"""The float model with QuantizeLinear, DequantizeLinear and int8 weights in the form of `edgelane.export.onnx`.

An activation becomes a pair with int8, one scale and zero point 0; weights become int8 initialisers behind one
DequantizeLinear; biases stay float32, rounded to multiples of input scale times weight scale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelane.export.compiler.functions import reads
from edgelane.export.int8.fold import bias_name
from edgelane.export.int8.network import Array, Names, Network
from edgelane.export.int8.placement import Graph, Placement
from edgelane.export.int8.units import Layer

ACTIVATION_LEVELS = (-128, 127)
WEIGHT_MAX = 127
BIAS_MAX = 2.0**24


def weight_scale(
    weight: Array, axis: int, bias: Array | None, input_scale: np.float32, per_channel: bool = True
) -> Array:
    """float32 [oc]: the largest magnitude of each output channel becomes 127; [] where one scale is for all.

    The bias is an int32 multiple of `input_scale * scale`. Where that multiple would pass 2^24 (channels that pruning
    left all zero, or almost), the scale grows until the bias fits: exact in float32 and far from overflow.
    """
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = np.abs(weight).max(axis=others).astype(np.float32) / np.float32(WEIGHT_MAX)
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias).astype(np.float32) / (input_scale * np.float32(BIAS_MAX)))
    if not per_channel:
        scale = np.asarray(scale.max())
    return np.asarray(np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1)))


def quantized_weight(weight: Array, axis: int, scale: Array) -> Array:
    """int8 levels of `weight`."""
    spread = scale if scale.ndim == 0 else scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])
    return np.clip(np.rint(weight / spread), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def rounded_bias(bias: Array, scale: Array, input_scale: np.float32) -> Array:
    """float32 values on the int32 grid `scale * input_scale`."""
    step = (scale * input_scale).astype(np.float32)
    return (np.clip(np.rint(bias / step), -(2.0**31), 2.0**31 - 1) * step).astype(np.float32)


def float_model(graph: Graph, limits: Mapping[str, Array]) -> onnx.ModelProto:
    """The network's model with the limits of `Equalized`, which computes what it did before it was equalised."""
    nothing = Placement({}, {}, [])
    return _Writer(Int8(graph, nothing, {}, limits=limits), nothing, {}, ()).run() if limits else graph.network.model


class Int8:
    """A float network with the scales that calibration found, from which int8 models are made.

    placement: with all the layers in int8 that may be; scales: of its values; limits: see `Equalized`.
    """

    def __init__(
        self,
        graph: Graph,
        placement: Placement,
        scales: Mapping[str, float],
        residual: str = "both",
        per_channel: bool = True,
        limits: Mapping[str, Array] | None = None,
    ) -> None:
        self.network, self.graph, self.placement = graph.network, graph, placement
        self.limits = limits or {}
        self.scales = {value: scales[origin] for value, origin in placement.quantized.items()}
        self.residual, self.per_channel = residual, per_channel

    def place(self, float_layers: Collection[str]) -> Placement:
        """The placement with more layers in float."""
        return self.graph.place(float_layers, self.residual)

    def bias_of(self, layer: Layer, correction: Array) -> Array:
        """A layer's bias with a correction as its int8 version adds it, float32 [oc]."""
        weight, bias = self.network.constant(layer.weight), _corrected(self.network, layer, correction)
        assert weight is not None
        assert bias is not None
        input_scale = np.float32(self.scales[layer.input])
        return rounded_bias(bias, weight_scale(weight, layer.axis, bias, input_scale, self.per_channel), input_scale)

    def model(
        self,
        float_layers: Collection[str],
        *,
        corrections: Mapping[str, Array] | None = None,
        only: Collection[str] | None = None,
    ) -> onnx.ModelProto:
        """The int8 model.

        float_layers: names of all layers that stay float. corrections: what is added to the biases of layers, by name.
        only: names of layers that are int8, with their inputs, while all else stays float.
        """
        return _Writer(self, self.place(float_layers), corrections or {}, only).run()


def _corrected(network: Network, layer: Layer, correction: Array | None) -> Array | None:
    """A layer's bias with what is added to it, float32 [oc]; None where there is neither."""
    bias = network.constant(layer.bias) if layer.bias else None
    flat = None if bias is None else bias.reshape(-1)
    if correction is None:
        return flat
    return correction.astype(np.float32) if flat is None else flat + correction.astype(np.float32)


class _Writer:
    def __init__(
        self, int8: Int8, placement: Placement, corrections: Mapping[str, Array], only: Collection[str] | None
    ) -> None:
        self.network, self.placement, self.limits = int8.network, placement, int8.limits
        self.scales = {value: np.float32(scale) for value, scale in int8.scales.items()}
        self.per_channel = int8.per_channel
        self.corrections = corrections
        layers = placement.layers if only is None else [layer for layer in placement.layers if layer.name in only]
        self.by_node = {id(layer.node): layer for layer in layers}
        self.adds = {id(layer.add): layer for layer in layers if layer.add is not None}
        self.everywhere = only is None
        wanted = placement.quantized if only is None else dict.fromkeys(layer.input for layer in layers)
        self.quantized = {value: placement.quantized[value] for value in wanted}
        self.model = onnx.ModelProto()
        self.names = Names(self.network.model)
        self.rounded: dict[str, str] = {}  # value -> its dequantised version
        self.biases: dict[int, str] = {}  # id of an addition -> its new constant
        self.nodes: list[onnx.NodeProto] = []
        self.behind: list[onnx.NodeProto] = []  # of the node that is being copied
        self.new: list[tuple[str, Array]] = []
        self.scale_names: dict[str, str] = {}
        self.zero = ""

    def run(self) -> onnx.ModelProto:
        for value in self.network.inputs:
            self.add_pair(value)
        for node in self.network.nodes:
            layer = self.by_node.get(id(node))
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            if self.everywhere or layer is not None:
                copy.input[:] = [self.rounded.get(value, value) for value in node.input]
            if layer is not None:
                self.quantize_layer(layer, copy)
            if id(node) in self.adds:
                copy.input[:] = [
                    self.biases.get(id(node), v) if v == self.adds[id(node)].bias else v for v in copy.input
                ]
            self.keep_limit(copy)
            self.nodes += [copy, *self.behind]
            self.behind = []
            for value in node.output:
                self.add_pair(value)
        return self.finish()

    def add_pair(self, value: str) -> None:
        """QuantizeLinear and DequantizeLinear behind a value that is int8."""
        if value not in self.quantized:
            return
        origin = self.quantized[value]
        if origin not in self.scale_names:
            self.scale_names[origin] = self.constant(f"{origin}.scale", np.asarray(self.scales[value]))
        if not self.zero:
            self.zero = self.constant("zero_point_int8", np.array(0, np.int8))
        parameters = [self.scale_names[origin], self.zero]
        levels, rounded = self.names.new(f"{value}.int8"), self.names.new(f"{value}.rounded")
        for op, source, target in (("QuantizeLinear", value, levels), ("DequantizeLinear", levels, rounded)):
            name = self.names.new(f"{value}/{op}")
            self.nodes.append(helper.make_node(op, [source, *parameters], [target], name=name))
        self.rounded[value] = rounded

    def keep_limit(self, node: onnx.NodeProto) -> None:
        """Put Min behind a Relu whose result is limited and is not rounded to int8, which would limit it."""
        limit = self.limits.get(node.output[0]) if node.output else None
        if limit is None or node.output[0] in self.quantized:
            return
        value = node.output[0]
        node.output[0] = self.names.new(f"{value}.unlimited")
        bound = self.constant(f"{value}.limit", limit.reshape(-1, 1, 1))
        self.behind.append(
            helper.make_node("Min", [node.output[0], bound], [value], name=self.names.new(f"{value}/Min"))
        )

    def constant(self, name: str, value: Array) -> str:
        name = self.names.new(name)
        self.new.append((name, value))
        return name

    def quantize_layer(self, layer: Layer, node: onnx.NodeProto) -> None:
        """Put int8 weights and a rounded bias into the copy of a layer's node."""
        weight = self.network.constant(layer.weight)
        assert weight is not None
        bias = self.network.constant(layer.bias) if layer.bias else None
        flat = _corrected(self.network, layer, self.corrections.get(layer.name))
        input_scale = self.scales[layer.input]
        scale = weight_scale(weight, layer.axis, flat, input_scale, self.per_channel)
        levels = quantized_weight(weight, layer.axis, scale)
        stored = self.constant_of(layer.weight, levels)
        scale_name = self.constant(f"{layer.weight}_scale", scale)
        spread = self.names.new(f"{layer.weight}.rounded")
        name = self.names.new(f"{layer.node.name or layer.name}/DequantizeLinear")
        axis = {"axis": layer.axis} if scale.ndim else {}
        self.nodes.append(helper.make_node("DequantizeLinear", [stored, scale_name], [spread], name=name, **axis))
        node.input[1] = spread
        if flat is None:
            return
        rounded = rounded_bias(flat, scale, input_scale)
        if bias is None:
            self.add_bias(layer, node, rounded)
        elif layer.add is not None:
            self.biases[id(layer.add)] = self.constant_of(layer.bias, rounded.reshape(bias.shape))
        else:
            node.input[2] = self.constant_of(layer.bias, rounded.reshape(bias.shape))

    def add_bias(self, layer: Layer, node: onnx.NodeProto, bias: Array) -> None:
        """Give a layer without bias one; behind a MatMul it is an addition."""
        name = self.constant(bias_name(layer.weight), bias)
        if node.op_type != "MatMul":
            del node.input[2:]
            node.input.append(name)
            return
        product = self.names.new(f"{layer.output}.product")
        node.output[0] = product
        self.behind.append(
            helper.make_node("Add", [product, name], [layer.output], name=self.names.new(f"{layer.name}/Add"))
        )

    def constant_of(self, name: str, value: Array) -> str:
        """Store what an initialiser becomes for one layer: under its name, where nothing else reads it."""
        if len(self.network.readers[name]) == 1 and name not in self.network.outputs:
            self.new.append((name, value))
            return name
        return self.constant(name, value)

    def finish(self) -> onnx.ModelProto:
        source = self.network.model
        for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
            if source.HasField(name):
                setattr(self.model, name, getattr(source, name))
        self.model.opset_import.extend(source.opset_import)
        self.model.metadata_props.extend(source.metadata_props)
        graph = self.model.graph
        graph.name, graph.doc_string = source.graph.name, source.graph.doc_string
        graph.input.extend(source.graph.input)
        graph.output.extend(source.graph.output)
        graph.node.extend(self.nodes)
        used = {value for node in graph.node for value in reads(node)} | {info.name for info in graph.output}
        changed = {name for name, _ in self.new}
        kept = used - changed
        graph.initializer.extend(entry for entry in source.graph.initializer if entry.name in kept)
        graph.value_info.extend(entry for entry in source.graph.value_info if entry.name not in changed)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in self.new)
        return self.model
