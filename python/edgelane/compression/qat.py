"""Quantisation-aware training: the int8 network itself is trained, in the form in which it will run.

BatchNorm is folded already, weights and biases are rounded in every forward pass (the weights' scales follow the
weights), and the gradient passes straight through. The steps of the activations are learned too: LSQ (Esser et al.
2020, "Learned Step Size Quantization") gives their gradient, and the parameter is their logarithm (as in Jain et al.
2020, "Trained Quantization Thresholds"), so that a step stays positive and the learning rate means a relative change.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression.equalize import ChannelClamp
from edgelane.compression.execution import quantized_layers
from edgelane.compression.fake_quantize import Quantizer
from edgelane.compression.record import record_of, set_record
from edgelane.errors import EdgelaneError

_LOW, _HIGH = -128.0, 127.0


class _LearnedStep(torch.autograd.Function):
    """scale * clamp(round(x / scale), -128, 127), with LSQ's gradient of the scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return torch.round(x / scale).clamp_(_LOW, _HIGH) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        real = x / scale
        levels = real.round()
        inside = (levels >= _LOW) & (levels <= _HIGH)
        slope = torch.where(inside, levels - real, levels.clamp(_LOW, _HIGH))
        share = 1.0 / math.sqrt(max(1, x.numel() // max(1, x.shape[0])) * _HIGH)
        return gradients[0] * inside, (gradients[0] * slope).sum() * share


class LearnedQuantizer(Quantizer):
    """Rounds one activation tensor to int8 with a step that is trained."""

    def __init__(self, scale: Tensor) -> None:
        nn.Module.__init__(self)
        self.log_scale = nn.Parameter(scale.detach().float().log())

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        """The step, a scalar above 0."""
        return self.log_scale.exp()

    def forward(self, x: Tensor) -> Tensor:
        """The values of `x` that int8 can hold."""
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = _LearnedStep.apply(x.float(), self.scale)
            return result


def prepare_qat(quantized: nn.Module) -> nn.Module:
    """A copy of a model from `quantize_model` of which weights, biases and steps of activations can be trained.

    Masks of a pruned model hold and do not move. Train it as any model, such as with `edgelane.training.fit`, with a
    learning rate of about a tenth of the original one or less; it exports like any quantised model at every moment, and
    `finalize` makes its steps constants again. Raises EdgelaneError for a model that is not quantised.
    """
    quantized_layers(quantized)
    if any(isinstance(module, LearnedQuantizer) for module in quantized.modules()):
        raise EdgelaneError("the model is prepared for quantisation-aware training already")
    prepared = copy.deepcopy(quantized)
    learn_scales(prepared)
    _replace(prepared, ChannelClamp, lambda clamp: nn.ReLU())  # int8 saturates below their limits, and may grow now
    for parameter in prepared.parameters():
        parameter.requires_grad_(True)
    record = record_of(prepared)
    set_record(prepared, quantization={**record.get("quantization", {}), "qat": True})
    return prepared


def learn_scales(model: nn.Module) -> None:
    """Make the steps of all activations parameters, in place."""
    _replace(model, Quantizer, lambda module: LearnedQuantizer(module.scale))


def fix_scales(model: nn.Module) -> None:
    """Make learned steps constants, in place."""
    _replace(
        model, LearnedQuantizer, lambda module: Quantizer(float(module.scale.detach())).to(module.log_scale.device)
    )


def _replace(model: nn.Module, kind: type[nn.Module], make: Any) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, kind):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, make(module).train(module.training))
