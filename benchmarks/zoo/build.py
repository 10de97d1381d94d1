"""Models with random weights that compute something: no constant parameter, no dead or exploding activation.

Initialisers leave many parameters at 0 or 1 (biases, norms, layer scales), with which a network that skips half of its
nodes computes the same. `settle` gives every one of them values of its own, and each BatchNorm statistics that fit what
reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.zoo.catalog import Entry

Array = npt.NDArray[Any]


class Logits(torch.nn.Module):
    """Takes the one output that matters out of the dictionary that segmentation models return."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(x)["out"]
        return result


class Complete(torch.nn.Module):
    """A detector as torchvision exports it, for one image [1, 3, h, w]: boxes, labels, scores, masks."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (found,) = self.model([x[0]])
        return tuple(found.values())


def build(entry: Entry, size: int, seed: int = 0) -> torch.nn.Module:
    """The model in evaluation mode, for images [1, 3, size, size]."""
    torch.manual_seed(seed)
    if entry.complete:
        return _complete(entry.name.removesuffix("-complete"))
    model = _create(entry).eval()
    settle(model, images(4, size))
    return model


def _complete(name: str) -> torch.nn.Module:
    from edgelane.export.detection import raw

    size = 320 if name.startswith("ssd") else 128
    model = detector(name, {} if name.startswith("ssd") else {"min_size": size, "max_size": size})
    settle(raw(model), np.stack([model.transform.normalize(torch.from_numpy(x)).numpy() for x in images(4, size)]))
    randomize(model)
    return Complete(model).eval()


def _create(entry: Entry) -> torch.nn.Module:
    import torchvision

    name = entry.name
    if entry.source == "timm":
        import timm

        model: torch.nn.Module = timm.create_model(name, pretrained=False)
        return model
    if entry.source == "segmentation":
        function = getattr(torchvision.models.segmentation, name)
        return Logits(function(weights=None, weights_backbone=None, num_classes=21))
    if entry.source == "detection":
        from edgelane.export.detection import raw

        return raw(detector(name))
    extra = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    made: torch.nn.Module = torchvision.models.get_model(name, weights=None, **extra)
    return made


def detector(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """A torchvision detector with random weights, COCO's 91 classes."""
    import torchvision

    function = getattr(torchvision.models.detection, name)
    model = function(weights=None, weights_backbone=None, **(options or {}))
    return model.eval()


def images(count: int, size: int, seed: int = 1) -> Array:
    """Random float32 images [count, 3, size, size]: noise on smooth shapes, about zero mean and unit deviation."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal((count, 3, size, size), dtype=np.float32)


def settle(model: torch.nn.Module, batch: Array) -> None:
    """Give constant parameters random values, and each BatchNorm statistics that fit what reaches it from `batch`."""
    randomize(model)
    fit_norms(model, batch)


def randomize(model: torch.nn.Module) -> None:
    """Give every parameter whose elements are all equal random values about what it is."""
    with torch.no_grad():
        for parameter in model.parameters():
            value = float(parameter.flatten()[0])
            if not bool((parameter == value).all()):
                continue
            if value == 0:
                parameter.uniform_(-0.1, 0.1)
            elif abs(value) <= 0.01:  # layer scales, which start at 1e-6 and are of this size when trained
                parameter.uniform_(0.1, 0.3)
            else:
                parameter.uniform_(0.7, 1.3).mul_(value)


def fit_norms(model: torch.nn.Module, batch: Array) -> None:
    """Give each BatchNorm random parameters and statistics that fit what reaches it from `batch`.

    The mean is taken off in part only, and channels that are nearly silent stay so. Whitening every channel instead
    would multiply a difference of 1e-6 in the input by hundreds until the output, which no trained network does: the
    comparison would be one of rounding noise.
    """

    def fit(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
        mean = inputs[0].mean(axes)
        norm.running_mean.copy_(mean * torch.empty_like(mean).uniform_(0.0, 0.5))
        power = (inputs[0] ** 2).mean(axes)
        power = power.clamp(min=float(power.mean()))
        norm.running_var.copy_(power * torch.empty_like(mean).uniform_(2.0, 4.0))
        if norm.weight is not None:
            torch.nn.init.uniform_(norm.weight, 0.7, 1.3)
            torch.nn.init.uniform_(norm.bias, -0.5, 0.5)

    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    with torch.no_grad():
        model(torch.from_numpy(batch))
    for hook in hooks:
        hook.remove()
