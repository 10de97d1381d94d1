"""Networks for segmentation: torchvision's own as plain tensors in and out, and light ones on its backbones."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import Conv2dNormActivation

PYRAMID_CHANNELS = 64

# Backbone of each pyramid network → the modules whose outputs it reads, at strides 4, 8, 16 and 32.
PYRAMIDS = {
    "fpn_resnet18": ("resnet18", ("layer1", "layer2", "layer3", "layer4")),
    "fpn_resnet34": ("resnet34", ("layer1", "layer2", "layer3", "layer4")),
    "fpn_mobilenet_v2": ("mobilenet_v2", ("3", "6", "13", "17")),
}


def names() -> list[str]:
    """The names `build` takes, sorted."""
    return sorted([*torchvision.models.list_models(module=torchvision.models.segmentation), *PYRAMIDS])


def build(name: str, num_classes: int, backbone: nn.Module | None = None) -> nn.Module:
    """The network `name`. `backbone`: the classification network that a pyramid takes its features from."""
    if name in PYRAMIDS:
        assert backbone is not None
        features: Any = backbone.features if hasattr(backbone, "features") else backbone
        return Segmenter(*_pyramid(features, PYRAMIDS[name][1], num_classes))
    theirs: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)
    return Segmenter(theirs.backbone, theirs.classifier)


class Segmenter(nn.Module):
    """float32 [n, 3, h, w] to logits [n, classes, h, w], the head's output enlarged bilinearly.

    `backbone` gives named features; `classifier` takes those named "out", or all of them where there is no such name.
    The names of all parameters are torchvision's, so that its weights fit.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """The logits, in training and evaluation alike: torchvision's auxiliary heads are left out."""
        features = self.backbone(x)
        scores = self.classifier(features.get("out", features))
        return functional.interpolate(scores, size=x.shape[-2:], mode="bilinear", align_corners=False)


class PyramidHead(nn.Module):
    """A feature pyramid (Lin et al. 2017) of which one 3x3 convolution and a classifier read the finest level.

    As Kirillov et al. (2019, "Panoptic Feature Pyramid Networks") use it for segmentation, with one branch: each level
    goes through a 1x1 convolution and is added to the enlarged coarser one. Features of strides 4 to 32; logits at 4.
    """

    def __init__(self, channels: list[int], num_classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            Conv2dNormActivation(count, PYRAMID_CHANNELS, 1, activation_layer=None) for count in channels
        )
        self.mix = Conv2dNormActivation(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(PYRAMID_CHANNELS, num_classes, 1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """`features`: named maps, finest first. Returns [n, classes, h / 4, w / 4]."""
        levels = [lateral(level) for lateral, level in zip(self.lateral, features.values(), strict=True)]
        x = levels.pop()
        for level in reversed(levels):
            x = level + functional.interpolate(x, size=level.shape[-2:], mode="nearest")
        return self.classifier(self.dropout(self.mix(functional.relu(x))))


def _pyramid(features: nn.Module, layers: tuple[str, ...], num_classes: int) -> tuple[nn.Module, nn.Module]:
    getter = IntermediateLayerGetter(features, {name: name for name in layers})
    with torch.no_grad():
        getter.eval()
        channels = [level.shape[1] for level in getter(torch.zeros(1, 3, 64, 64)).values()]
        getter.train()
    return getter, PyramidHead(channels, num_classes)
