"""Running a quantised graph other than as int8: in float32, with one layer int8, and both side by side, operation by
operation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear, Quantizer, fake_quantize
from edgelane.compression.layers import evaluating
from edgelane.errors import EdgelaneError
from edgelane.observers import check_finite


class FloatRun(fx.Interpreter):
    """Runs a graph of quantised layers in float32: nothing is rounded, but for the layers named `rounded`, which get
    int8 weights and an int8 input.
    """

    def __init__(self, graph_module: fx.GraphModule, rounded: Collection[str] = ()) -> None:
        super().__init__(graph_module)
        self.rounded = rounded
        self.batch = 0
        self.extra_traceback = False  # torch would rewrite the message of every exception that passes

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one module, without its rounding."""
        module: Any = self.fetch_attr(str(target))
        if isinstance(module, Quantizer):
            return args[0]
        if isinstance(module, (QuantizedConv2d, QuantizedLinear)):
            if target in self.rounded:
                return module(fake_quantize(args[0], args[1], -128, 127), args[1])
            return module.float_forward(args[0])
        return super().call_module(target, args, kwargs)


class PartlyInt8(nn.Module):
    """A quantised model of which only the layers named `rounded` are int8, and everything else is float32."""

    def __init__(self, quantized: fx.GraphModule, rounded: Collection[str]) -> None:
        super().__init__()
        self.quantized = quantized
        self._run = FloatRun(quantized, rounded)

    def forward(self, *inputs: Tensor) -> Any:
        """What the model takes and gives."""
        return self._run.run(*inputs)


def quantized_layers(graph_module: nn.Module) -> list[str]:
    """The names of the int8 layers of a quantised model, in order of execution. Raises EdgelaneError for any other."""
    names: list[str] = []
    if isinstance(graph_module, fx.GraphModule):
        modules = dict(graph_module.named_modules())
        for node in graph_module.graph.nodes:
            if node.op == "call_module" and isinstance(modules[node.target], (QuantizedConv2d, QuantizedLinear)):
                names.append(str(node.target))
    if not names:
        raise EdgelaneError(f"expected a model from quantize_model, found {type(graph_module).__name__}")
    return list(dict.fromkeys(names))


def input_batches(batches: Iterable[Any]) -> Iterator[Tensor]:
    """The inputs of calibration batches: tensors, or the first of (inputs, labels). Raises EdgelaneError for other
    things, for NaN and infinity (with the batch's index), and where there are no images at all.
    """
    seen = 0
    for index, batch in enumerate(batches):
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if not isinstance(images, Tensor):
            raise EdgelaneError(f"calibration batch {index}: expected a tensor of inputs, got {type(images).__name__}")
        check_finite(images.float().cpu().numpy(), "the input", index)
        seen += images.shape[0]
        yield images
    if seen == 0:
        raise EdgelaneError("calibration needs at least one batch of images, got none")


def run_calibration(run: FloatRun, batches: Iterable[Any]) -> None:
    """Show all calibration batches to `run`, whose `batch` counts them. Raises EdgelaneError for one that does not fit
    the model.
    """
    device = next(run.module.parameters()).device
    with evaluating(run.module):
        for index, images in enumerate(input_batches(batches)):
            run.batch = index
            try:
                run.run(images.to(device))
            except RuntimeError as error:
                raise EdgelaneError(
                    f"calibration batch {index}: the model does not run on shape {tuple(images.shape)}: "
                    f"{str(error).splitlines()[0]}"
                ) from error


@dataclass(frozen=True)
class LayerData:
    """One int8 layer as both networks meet it, batch by batch: what the int8 network feeds it, rounded, and what the
    float network computes there. `scale` is of the input.
    """

    name: str
    module: Any
    scale: Tensor
    inputs: list[Tensor]
    targets: list[Tensor]


@torch.no_grad()
def side_by_side(graph_module: fx.GraphModule, batches: Sequence[Tensor]) -> Iterator[LayerData]:
    """Run a quantised model in float32 and in int8 over all batches at once, and stop before each int8 layer runs.

    What is done to the layer's parameters at a stop is what the int8 network goes on with, so later layers see its
    effect; the float network is the one that it was in the beginning. A layer that is called several times stops at
    its first call. Needs memory for the activations of all batches that are alive at one place of the network.
    """
    device = next(graph_module.parameters()).device
    run = FloatRun(graph_module)
    original = {
        name: (module.weight.detach().clone(), None if module.bias is None else module.bias.detach().clone())
        for name, module in ((name, graph_module.get_submodule(name)) for name in quantized_layers(graph_module))
    }
    inputs = [batch.to(device) for batch in batches]
    placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    if len(placeholders) != 1:
        raise EdgelaneError(f"expected a model of one input, found {len(placeholders)}")
    exact: dict[fx.Node, list[Any]] = {placeholders[0]: inputs}
    int8: dict[fx.Node, list[Any]] = {placeholders[0]: inputs}
    met: set[str] = set()
    for node in graph_module.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        arguments = [
            [fx.node.map_arg((node.args, node.kwargs), lambda n, env=env, i=i: env[n][i]) for i in range(len(inputs))]
            for env in (exact, int8)
        ]
        if str(node.target) in original and node.op == "call_module":
            layer: Any = graph_module.get_submodule(str(node.target))
            weight, bias = original[str(node.target)]
            exact[node] = [layer.float_forward(args[0], weight, bias) for args, _ in arguments[0]]
            if node.target not in met:
                met.add(str(node.target))
                scale = arguments[1][0][0][1]
                yield LayerData(str(node.target), layer, scale, [args[0] for args, _ in arguments[1]], exact[node])
            int8[node] = [layer(*args) for args, _ in arguments[1]]
        else:
            call = getattr(run, node.op)
            exact[node] = [call(node.target, args, kwargs) for args, kwargs in arguments[0]]
            quantizer = node.op == "call_module" and isinstance(run.fetch_attr(str(node.target)), Quantizer)
            int8[node] = [
                run.fetch_attr(str(node.target))(*args) if quantizer else call(node.target, args, kwargs)
                for args, kwargs in arguments[1]
            ]
        for dead in run.user_to_last_uses.get(node, []):
            exact.pop(dead, None)
            int8.pop(dead, None)
