"""How a quantised module reaches ONNX: two custom torch operators, and what the exporter writes for each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from onnxscript import opset18 as op
from torch import Tensor, nn

from edgelane.compression.equalize import ChannelClamp
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear, Quantizer, fake_quantize
from edgelane.compression.masks import masked_layers, remove_mask


@torch.library.custom_op("edgelane::quantize_dequantize", mutates_args=())
def quantize_dequantize(x: Tensor, scale: Tensor) -> Tensor:
    """An activation rounded to int8 and back."""
    return fake_quantize(x, scale, -128, 127)


@torch.library.custom_op("edgelane::dequantize_weight", mutates_args=())
def dequantize_weight(weight: Tensor, scale: Tensor) -> Tensor:
    """int8 `[oc, ...]` to float32, with one scale per output channel."""
    return weight.float() * scale.reshape(-1, *[1] * (weight.dim() - 1))


@quantize_dequantize.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(x)


@dequantize_weight.register_fake
def _(weight: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(weight, dtype=torch.float32)


def _activation_to_onnx(x: Any, scale: Any) -> Any:
    zero = op.Constant(value=numpy_helper.from_array(np.array(0, np.int8)))  # says int8: without it Q means uint8
    return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero), scale, zero)  # type: ignore[type-var]


def _weight_to_onnx(weight: Any, scale: Any) -> Any:
    return op.DequantizeLinear(weight, scale, axis=0)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For torch.onnx.export's `custom_translation_table`."""
    return {
        torch.ops.edgelane.quantize_dequantize.default: _activation_to_onnx,
        torch.ops.edgelane.dequantize_weight.default: _weight_to_onnx,
    }


class _ExportedQuantizer(nn.Module):
    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.edgelane.quantize_dequantize(x, self.scale)
        return result


class _ExportedLayer(nn.Module):
    """A quantised convolution or linear layer whose weight is stored as int8."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, layer: Any, input_scale: Tensor) -> None:
        super().__init__()
        weight, bias, scale = layer.quantized_parameters(input_scale)
        levels = torch.round(weight / scale.reshape(-1, *[1] * (weight.dim() - 1)))
        self.register_buffer("weight", levels.to(torch.int8))
        self.register_buffer("weight_scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        layer = copy.deepcopy(layer)
        layer.weight = layer.bias = None
        self.__dict__["_layer"] = (
            layer  # only its stride, padding and so on: not a child, so the initialisers keep short names
        )

    def forward(self, x: Tensor, input_scale: Tensor) -> Tensor:
        weight = torch.ops.edgelane.dequantize_weight(self.weight, self.weight_scale)
        if isinstance(self._layer, QuantizedConv2d):
            return self._layer._conv_forward(x, weight, self.bias)
        return nn.functional.linear(x, weight, self.bias)


@torch.no_grad()
def replace_quantizers(model: nn.Module) -> nn.Module:
    """A copy of a quantised module that computes the same through the two operators above."""
    copied: Any = copy.deepcopy(model).eval()
    for _, module, _ in list(masked_layers(copied)):
        remove_mask(module)
    scales = {}
    for node in copied.graph.nodes:
        if node.op == "call_module" and isinstance(
            copied.get_submodule(node.target), (QuantizedConv2d, QuantizedLinear)
        ):
            quantizer, _, _ = node.args[1].target.rpartition(".")
            scales[node.target] = copied.get_submodule(quantizer).scale
    for name in _saturated_clamps(copied):
        _replace(copied, name, nn.ReLU())
    for name, module in list(copied.named_modules()):
        if name in scales:
            _replace(copied, name, _ExportedLayer(module, scales[name]))
        elif isinstance(module, Quantizer):
            _replace(copied, name, _ExportedQuantizer(module.scale))
    result: nn.Module = copied
    return result


def _saturated_clamps(model: Any) -> list[str]:
    """The clamps per channel behind which int8 saturates below every limit, so that a ReLU gives the same int8."""
    names = []
    for node in model.graph.nodes:
        module = model.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, ChannelClamp):
            readers = [model.get_submodule(user.target) for user in node.users if user.op == "call_module"]
            saturated = [isinstance(r, Quantizer) and bool((127 * r.scale <= module.limit).all()) for r in readers]
            if len(readers) == len(node.users) and all(saturated):
                names.append(node.target)
    return names


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)
