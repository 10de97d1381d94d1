"""Post-training int8: fold, equalise, swap in quantised layers, calibrate, insert quantisers, correct, round."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import fx, nn

from edgelane.compression.bias import correct_biases
from edgelane.compression.equalize import equalize_channels, insert_clamps
from edgelane.compression.execution import FloatRun, input_batches, run_calibration
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear, Quantizer
from edgelane.compression.fold import drop_no_ops, fold_batch_norms, trace
from edgelane.compression.layers import covers
from edgelane.compression.masks import add_mask, mask_of, remove_mask
from edgelane.compression.placement import RESIDUALS, Placement, place
from edgelane.compression.record import record_of, set_record
from edgelane.compression.rounding import AdaRound, round_weights
from edgelane.errors import EdgelaneError
from edgelane.observers import Observer, check_finite, check_method

QUANTIZERS = "quantizers"  # the submodule of a quantised model that holds one Quantizer for each scale
ROUNDINGS = ("nearest", "adaround")


def quantize_model(
    model: nn.Module,
    calibration_batches: Iterable[Any],
    *,
    method: str = "mse",
    skip: Sequence[str] = (),
    equalize: bool = False,
    bias_correction: bool = False,
    rounding: str | AdaRound = "nearest",
    residual: str = "both",
) -> nn.Module:
    """An int8 copy of `model`: BatchNorm folded, weights int8 per output channel, activations int8 per tensor, all
    symmetric.

    calibration_batches: input tensors, or (input, label) pairs as a DataLoader gives them: a few hundred images from
        the training data without augmentation. Each is taken once; the last three steps keep them all in memory.
    method: how a tensor's range follows from the values seen: "mse" (least squared rounding and clipping error),
        "minmax", "moving_average", "percentile" (99.99 % of the magnitudes) or "entropy"; see `edgelane.observers`.
    skip: names of layers, or of modules that hold them, that stay float32.
    equalize: first level out the channels' ranges between layers, for depthwise networks; see `equalize`.
    rounding: "nearest", or "adaround": learn for each weight whether it goes up or down; an AdaRound says how long.
    bias_correction: then take out the mean shift that rounding gives each channel.
    residual: "both", or "fused" for TensorRT; see `placement`.

    The copy computes in float32 exactly the values that int8 can hold; gradients pass straight through, and masks of a
    pruned model stay, so it can be fine-tuned (see `prepare_qat`). It exports to explicit QuantizeLinear /
    DequantizeLinear.
    Raises EdgelaneError for an unknown method or name, no batches, NaN or infinity in a batch (named by index), a model
    without a convolution or linear layer, and one that torch.fx cannot trace.
    """
    check_method(method)
    _check_choice("rounding", "adaround" if isinstance(rounding, AdaRound) else rounding, ROUNDINGS)
    _check_choice("residual", residual, RESIDUALS)
    _check_float(model)
    learned = rounding if isinstance(rounding, AdaRound) else AdaRound() if rounding == "adaround" else None
    batches: Iterable[Any] = calibration_batches
    if equalize or bias_correction or learned:
        batches = list(input_batches(batches))
    record: dict[str, Any] = {"method": method, "skip": list(skip), "residual": residual}
    record["bias_correction"] = bias_correction
    record["rounding"] = "adaround" if learned else "nearest"

    graph_module = _folded(model)
    if equalize:
        record["equalized"] = equalize_channels(graph_module, batches, _covered(graph_module, skip))
    placement = _swap_and_place(graph_module, record)
    observers = {origin: Observer() for origin in placement.sources}
    run_calibration(_Calibration(graph_module, placement, observers), batches)
    _insert(graph_module, placement, {origin: observer.scale(method) for origin, observer in observers.items()})
    if learned:
        round_weights(graph_module, batches, learned)  # type: ignore[arg-type]
    if bias_correction:
        correct_biases(graph_module, batches)  # type: ignore[arg-type]
    set_record(graph_module, quantization=record)
    return graph_module


def check_quantizable(model: nn.Module, skip: Sequence[str] = ()) -> None:
    """Raise the EdgelaneError that `quantize_model` would for this model and `skip`, without quantising."""
    _check_float(model)
    _covered(_folded(model), skip)


def _check_float(model: nn.Module) -> None:
    if "quantization" in record_of(model):
        raise EdgelaneError("the model is quantised already")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise EdgelaneError(f"unknown {name} {value!r}; expected one of {', '.join(choices)}")


def requantize_structure(model: nn.Module, quantization: Mapping[str, Any]) -> nn.Module:
    """The modules that `quantize_model` made when it left the record `quantization`, with every scale 1: a state_dict
    gives the rest.
    """
    graph_module = _folded(model)
    insert_clamps(graph_module, quantization.get("equalized", ()), quantization.get("qat", False))
    placement = _swap_and_place(graph_module, quantization)
    _insert(graph_module, placement, dict.fromkeys(placement.sources, 1.0))
    return graph_module


def _folded(model: nn.Module) -> fx.GraphModule:
    record = record_of(model)
    graph_module = trace(model)
    drop_no_ops(graph_module)
    fold_batch_norms(graph_module)
    set_record(graph_module, **record)
    return graph_module


def _swap_and_place(graph_module: fx.GraphModule, quantization: Mapping[str, Any]) -> Placement:
    skip = _covered(graph_module, quantization["skip"])
    _swap_layers(graph_module, skip, with_bias=quantization.get("bias_correction", False))
    return place(graph_module, quantization.get("residual", "both"))


def _covered(graph_module: fx.GraphModule, names: Sequence[str]) -> set[str]:
    """The called modules that these names of modules mean. Raises EdgelaneError for a name that means none."""
    called = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"]
    covered: set[str] = set()
    for name in names:
        found = [layer for layer in called if covers(name, layer)]
        if not found:
            raise EdgelaneError(f"skip: the model has no layer named {name!r}")
        covered.update(found)
    return covered


def _swap_layers(graph_module: fx.GraphModule, skip: Collection[str], with_bias: bool) -> None:
    called = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"]
    swapped = 0
    for name in dict.fromkeys(called):
        if name in skip:
            continue
        quantized = _quantized(graph_module.get_submodule(name), with_bias)
        if quantized is not None:
            parent, _, child = name.rpartition(".")
            setattr(graph_module.get_submodule(parent), child, quantized)
            swapped += 1
    if not swapped:
        raise EdgelaneError("the model has no convolution or linear layer to quantise")


def _quantized(layer: Any, with_bias: bool) -> nn.Module | None:
    """The quantised layer with the parameters and the mask of a Conv2d or Linear, `with_bias` one of 0 where there is
    none; None for any other module.
    """
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        geometry = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        arguments = {key: getattr(layer, key) for key in geometry}
        quantized: Any = QuantizedConv2d(**arguments, bias=layer.bias is not None, device="meta")
    elif isinstance(layer, nn.Linear):
        quantized = QuantizedLinear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    else:
        return None
    mask = mask_of(layer)
    remove_mask(layer)
    quantized.weight, quantized.bias = layer.weight, layer.bias
    if with_bias and layer.bias is None:
        quantized.bias = nn.Parameter(layer.weight.detach().new_zeros(layer.weight.shape[0]))
    if mask is not None:
        add_mask(quantized, mask)
    quantized.train(layer.training)
    return quantized


class _Calibration(FloatRun):
    """Runs the float graph and shows the tensors that will be int8 to their observers."""

    def __init__(
        self, graph_module: fx.GraphModule, placement: Placement, observers: Mapping[fx.Node, Observer]
    ) -> None:
        super().__init__(graph_module)
        self._origin = {node: origin for origin, nodes in placement.sources.items() for node in nodes}
        self._observers = observers
        self._parts: dict[fx.Node, list[Any]] = {}
        self._missing = {origin: len(nodes) for origin, nodes in placement.sources.items()}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        origin = self._origin.get(n)
        if origin is not None:
            values = result.float().cpu().numpy()
            check_finite(values, "the input" if n.op == "placeholder" else f"activation {n.name!r}", self.batch)
            parts = self._parts.setdefault(origin, [])
            parts.append(values.reshape(-1))
            if len(parts) == self._missing[origin]:  # what is joined is one tensor, also to the moving average
                self._observers[origin].add(np.concatenate(self._parts.pop(origin)))
        return result


def _insert(graph_module: fx.GraphModule, placement: Placement, scales: dict[fx.Node, float]) -> None:
    """Put a Quantizer behind every int8 tensor, and hand its scale to the layers that read it."""
    graph = graph_module.graph
    quantizers = nn.ModuleDict({origin.name: Quantizer(scale) for origin, scale in scales.items()})
    graph_module.add_module(QUANTIZERS, quantizers.to(next(graph_module.parameters()).device))
    rounded: dict[fx.Node, fx.Node] = {}  # quantiser node -> node that names its scale
    for node, origin in placement.quantized.items():
        with graph.inserting_after(node):
            quantizer = graph.call_module(f"{QUANTIZERS}.{origin.name}", (node,))
        node.replace_all_uses_with(
            quantizer, delete_user_cb=lambda user, q=quantizer: user is not q and user.op != "output"
        )  # type: ignore[misc]
        rounded[quantizer] = origin
    modules = dict(graph_module.named_modules())
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(modules[node.target], (QuantizedConv2d, QuantizedLinear)):
            with graph.inserting_before(node):
                scale = graph.get_attr(f"{QUANTIZERS}.{rounded[node.args[0]].name}.scale")
            node.args = (node.args[0], scale)
    graph.lint()
    graph_module.recompile()


def quantization_scales(model: nn.Module) -> dict[str, float]:
    """The step of each int8 activation tensor of a quantised model, by the name of the operation that makes it."""
    return {name: float(module.scale) for name, module in model.named_modules() if isinstance(module, Quantizer)}
