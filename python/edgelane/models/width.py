"""torchvision's classification networks with fewer channels than they are known with."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from edgelane.errors import EdgelaneError

_WIDTH_MULT = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
_RESNETS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
SCALABLE = (*_WIDTH_MULT, *_RESNETS)
CHANNEL_MULTIPLE = 8


def build(name: str, width: float, **options: Any) -> nn.Module:
    """The network with `width` times its channels, to multiples of 8, from random weights.

    MobileNets by their own multiplier. A ResNet's constructor has none (`width_per_group` leaves basic blocks and the
    stages' outputs alone): its stem, stages and classifier are made anew by its own builder.
    Raises EdgelaneError for a network whose width cannot be chosen.
    """
    if name in _WIDTH_MULT:
        model: nn.Module = torchvision.models.get_model(name, weights=None, width_mult=width, **options)
        return model
    if name not in _RESNETS:
        raise EdgelaneError(f"{name} has one width; a width can be chosen for {', '.join(SCALABLE)}")
    return _narrow_resnet(name, width, options["num_classes"])


def _narrow_resnet(name: str, width: float, num_classes: int) -> nn.Module:
    model: Any = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    block = type(model.layer1[0])
    stem, *planes = (_scaled(count, width) for count in (64, 64, 128, 256, 512))
    model.inplanes = stem
    model.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
    model.bn1 = nn.BatchNorm2d(stem)
    for stage, (count, blocks) in enumerate(zip(planes, _RESNETS[name], strict=True), 1):
        setattr(model, f"layer{stage}", model._make_layer(block, count, blocks, stride=1 if stage == 1 else 2))
    model.fc = nn.Linear(planes[-1] * block.expansion, num_classes)
    for module in model.modules():  # as torchvision starts a ResNet
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def _scaled(channels: int, width: float) -> int:
    return max(CHANNEL_MULTIPLE, CHANNEL_MULTIPLE * round(channels * width / CHANNEL_MULTIPLE))
