"""Post-training int8: fold, swap in quantised layers, calibrate, insert quantisers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, fx, nn

from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear, Quantizer
from edgelane.compression.fold import fold_batch_norms, trace
from edgelane.compression.layers import evaluating
from edgelane.compression.masks import add_mask, mask_of, remove_mask
from edgelane.compression.placement import Placement, place
from edgelane.compression.record import record_of, set_record
from edgelane.errors import EdgelaneError
from edgelane.observers import Observer, check_finite, check_method

QUANTIZERS = "quantizers"  # the submodule of a quantised model that holds one Quantizer for each scale


def quantize_model(
    model: nn.Module, calibration_batches: Iterable[Any], *, method: str = "mse", skip: Sequence[str] = ()
) -> nn.Module:
    """An int8 copy of `model`: BatchNorm folded, weights int8 per output channel, activations int8 per tensor, all
    symmetric.

    calibration_batches: input tensors, or (input, label) pairs as a DataLoader gives them: a few hundred images from
        the training data without augmentation. Each is seen once.
    method: how a tensor's range follows from the values seen: "mse" (least squared rounding and clipping error),
        "minmax", "moving_average", "percentile" (99.99 % of the magnitudes) or "entropy"; see `edgelane.observers`.
    skip: names of layers, or of modules that hold them, that stay float32.

    The copy computes in float32 exactly the values that int8 can hold; gradients pass straight through, and masks of a
    pruned model stay, so it can be fine-tuned. It exports to explicit QuantizeLinear / DequantizeLinear.
    Raises EdgelaneError for an unknown method or name, no batches, NaN or infinity in a batch (named by index), a model
    without a convolution or linear layer, and one that torch.fx cannot trace.
    """
    check_method(method)
    if "quantization" in record_of(model):
        raise EdgelaneError("the model is quantised already")
    graph_module, placement = _prepare(model, skip)
    observers = {origin: Observer() for origin in placement.quantized.values()}
    _calibrate(graph_module, calibration_batches, observers)
    _insert(graph_module, placement, {origin: observer.scale(method) for origin, observer in observers.items()})
    set_record(graph_module, quantization={"method": method, "skip": list(skip)})
    return graph_module


def requantize_structure(model: nn.Module, skip: Sequence[str]) -> nn.Module:
    """The modules that `quantize_model` makes, with every scale 1: a state_dict gives the rest."""
    graph_module, placement = _prepare(model, skip)
    _insert(graph_module, placement, dict.fromkeys(placement.quantized.values(), 1.0))
    return graph_module


def _prepare(model: nn.Module, skip: Sequence[str]) -> tuple[fx.GraphModule, Placement]:
    record = record_of(model)
    graph_module = trace(model)
    fold_batch_norms(graph_module)
    _swap_layers(graph_module, skip)
    set_record(graph_module, **record)
    return graph_module, place(graph_module)


def _swap_layers(graph_module: fx.GraphModule, skip: Sequence[str]) -> None:
    called = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"]
    for name in skip:
        if not any(_covers(name, target) for target in called):
            raise EdgelaneError(f"skip: the model has no layer named {name!r}")
    swapped = 0
    for name in dict.fromkeys(called):
        if any(_covers(entry, name) for entry in skip):
            continue
        quantized = _quantized(graph_module.get_submodule(name))
        if quantized is not None:
            parent, _, child = name.rpartition(".")
            setattr(graph_module.get_submodule(parent), child, quantized)
            swapped += 1
    if not swapped:
        raise EdgelaneError("the model has no convolution or linear layer to quantise")


def _quantized(layer: Any) -> nn.Module | None:
    """The quantised layer with the parameters and the mask of a Conv2d or Linear; None for any other module."""
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
    if mask is not None:
        add_mask(quantized, mask)
    quantized.train(layer.training)
    return quantized


class _Calibration(fx.Interpreter):
    """Runs the float graph and shows the tensors that will be int8 to their observers."""

    def __init__(self, graph_module: fx.GraphModule, observers: dict[fx.Node, Observer]) -> None:
        super().__init__(graph_module)
        self.observers = observers
        self.batch = 0
        self.extra_traceback = False  # torch would rewrite the message of every exception that passes

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        observer = self.observers.get(n)
        if observer is not None:
            values = result.float().cpu().numpy()
            check_finite(values, "the input" if n.op == "placeholder" else f"activation {n.name!r}", self.batch)
            observer.add(values)
        return result

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module: Any = self.fetch_attr(str(target))
        if isinstance(module, QuantizedConv2d):
            return module._conv_forward(args[0], module.weight, module.bias)
        if isinstance(module, QuantizedLinear):
            return nn.functional.linear(args[0], module.weight, module.bias)
        return super().call_module(target, args, kwargs)


def _calibrate(graph_module: fx.GraphModule, batches: Iterable[Any], observers: dict[fx.Node, Observer]) -> None:
    calibration = _Calibration(graph_module, observers)
    device = next(graph_module.parameters()).device
    seen = 0
    with evaluating(graph_module):
        for index, batch in enumerate(batches):
            images = batch[0] if isinstance(batch, (tuple, list)) else batch
            if not isinstance(images, Tensor):
                raise EdgelaneError(
                    f"calibration batch {index}: expected a tensor of inputs, got {type(images).__name__}"
                )
            check_finite(images.float().cpu().numpy(), "the input", index)
            calibration.batch = index
            try:
                calibration.run(images.to(device))
            except RuntimeError as error:
                raise EdgelaneError(
                    f"calibration batch {index}: the model does not run on shape {tuple(images.shape)}: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            seen += images.shape[0]
    if seen == 0:
        raise EdgelaneError("calibration needs at least one batch of images, got none")


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


def _covers(name: str, layer: str) -> bool:
    return layer == name or layer.startswith(f"{name}.")


def quantization_scales(model: nn.Module) -> dict[str, float]:
    """The step of each int8 activation tensor of a quantised model, by the name of the operation that makes it."""
    return {name: float(module.scale) for name, module in model.named_modules() if isinstance(module, Quantizer)}
