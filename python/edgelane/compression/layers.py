"""The layers that hold weights, in the order in which a model runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgelane.errors import EdgelaneError

# What `model(*example_inputs)` takes: one tensor, or a sequence of them.
Inputs: TypeAlias = "Tensor | Sequence[Tensor]"

_OPS: dict[type[nn.Module], str] = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.Linear: "linear",
}


@dataclass
class WeightLayer:
    """One convolution or linear layer, as the example inputs met it."""

    name: str
    module: Any
    op: str
    positions: int  # uses of each weight for one input: output pixels, or rows of a linear layer, summed over calls

    @property
    def groups(self) -> int:
        """Groups of the convolution; 1 for a linear layer."""
        return int(getattr(self.module, "groups", 1))

    @property
    def is_depthwise(self) -> bool:
        """A convolution in which each filter sees one input channel."""
        return self.groups > 1 and self.groups == self.module.in_channels


def as_tuple(example_inputs: Inputs) -> tuple[Tensor, ...]:
    """The positional arguments of the model. Raises EdgelaneError for anything but tensors."""
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    if not inputs or not all(isinstance(value, Tensor) for value in inputs):
        raise EdgelaneError(
            "example_inputs must be a tensor such as torch.zeros(1, 3, 224, 224), or a sequence of tensors"
        )
    return inputs


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards each module is back in the mode that it had of its own."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def weight_layers(model: nn.Module, example_inputs: Inputs) -> list[WeightLayer]:
    """Every convolution and linear layer that `model(*example_inputs)` runs, in order of the first call.

    Raises EdgelaneError when the model does not run on these inputs.
    """
    inputs = as_tuple(example_inputs)
    batch = max(1, inputs[0].shape[0] if inputs[0].dim() else 1)
    found: dict[str, WeightLayer] = {}
    handles = []

    def watch(name: str, op: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            # A transposed convolution uses each weight once per input pixel, the others once per output pixel.
            counted = args[0] if op == "conv_transpose2d" else output
            channels = counted.shape[-1] if op == "linear" else counted.shape[1]
            layer = found.setdefault(name, WeightLayer(name, module, op, 0))
            layer.positions += counted.numel() // max(1, channels) // batch

        return hook

    for name, module in model.named_modules():
        op = next((label for kind, label in _OPS.items() if isinstance(module, kind)), None)
        if op is not None:
            handles.append(module.register_forward_hook(watch(name, op)))
    try:
        with evaluating(model):
            model(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgelaneError(f"the model does not run on example_inputs of shape {shapes}: {reason}") from error
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def covers(name: str, layer: str) -> bool:
    """Whether `name`, a layer's or that of a module that holds layers, stands for `layer`."""
    return layer == name or layer.startswith(f"{name}.")
