"""Small dense perception networks at camera resolution, of the operators that such networks are built from.

They stand for what runs in vehicles: no weights are trained, and nobody's network is copied. Between them they have
depthwise, dilated and asymmetric convolutions, PReLU, hard-swish and squeeze-and-excitation, transposed convolutions,
bilinear and nearest resizing, channel shuffle, concatenation and pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(
    ic: int,
    oc: int,
    kernel: int | tuple[int, int] = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    activation: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution that keeps the map's size (over the stride), BatchNorm, and an activation made for `oc` channels."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = ((height - 1) // 2 * dilation, (width - 1) // 2 * dilation)
    layers: list[nn.Module] = [
        nn.Conv2d(ic, oc, (height, width), stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(oc),
    ]
    if activation is not None:
        layers.append(activation(oc))
    return nn.Sequential(*layers)


def relu(_: int) -> nn.Module:
    return nn.ReLU(inplace=True)


def hard_swish(_: int) -> nn.Module:
    return nn.Hardswish(inplace=True)


def prelu(channels: int) -> nn.Module:
    return nn.PReLU(channels)


class DilatedPyramid(nn.Module):
    """A 1x1 reduction, parallel 3x3 convolutions of growing dilation, their sums, concatenation and a residual."""

    def __init__(self, ic: int, oc: int, stride: int = 1) -> None:
        super().__init__()
        width = oc // 4
        self.reduce = conv(ic, width, 3 if stride > 1 else 1, stride, activation=prelu)
        self.branches = nn.ModuleList(nn.Conv2d(width, width, 3, 1, d, d, bias=False) for d in (1, 2, 4, 8))
        self.finish = nn.Sequential(nn.BatchNorm2d(oc), nn.PReLU(oc))
        self.residual = stride == 1 and ic == oc

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        first, second, third, fourth = (branch(reduced) for branch in self.branches)
        third = second + third
        y = torch.cat([first, second, third, third + fourth], 1)
        return self.finish(y + x if self.residual else y)


class LaneAndDrivable(nn.Module):
    """Lanes and drivable area as two masks at the input's size: a dilated pyramid encoder with PReLU, and two decoders
    of transposed convolutions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2, activation=prelu)
        self.down1 = DilatedPyramid(16 + 3, 64, 2)
        self.level1 = nn.Sequential(*(DilatedPyramid(64, 64) for _ in range(2)))
        self.down2 = DilatedPyramid(128 + 3, 128, 2)
        self.level2 = nn.Sequential(*(DilatedPyramid(128, 128) for _ in range(3)))
        self.neck = conv(256, 32, activation=prelu)
        self.lane, self.drivable = self._decoder(), self._decoder()

    @staticmethod
    def _decoder() -> nn.Sequential:
        layers: list[nn.Module] = []
        for ic, oc in ((32, 16), (16, 8), (8, 2)):
            layers += [nn.ConvTranspose2d(ic, oc, 2, 2, bias=False), nn.BatchNorm2d(oc), nn.PReLU(oc)]
            layers += [conv(oc, oc, 3, activation=prelu)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half, quarter = F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)
        down1 = self.down1(torch.cat([self.stem(x), half], 1))
        level1 = torch.cat([self.level1(down1), down1], 1)
        down2 = self.down2(torch.cat([level1, quarter], 1))
        y = self.neck(torch.cat([self.level2(down2), down2], 1))
        return self.lane(y), self.drivable(y)


class ShuffleUnit(nn.Module):
    """Half of the channels pass, half go through 1x1, depthwise 3x3 and 1x1; then the channels are shuffled. With a
    stride both halves are computed from all channels.
    """

    def __init__(self, ic: int, oc: int, stride: int) -> None:
        super().__init__()
        half = oc // 2
        self.stride = stride
        self.main = nn.Sequential(
            conv(ic if stride > 1 else half, half, activation=relu),
            conv(half, half, 3, stride, groups=half),
            conv(half, half, activation=relu),
        )
        if stride > 1:
            self.side = nn.Sequential(conv(ic, ic, 3, stride, groups=ic), conv(ic, half, activation=relu))

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            y = torch.cat([self.side(x), self.main(x)], 1)
        else:
            kept, changed = torch.chunk(x, 2, 1)
            y = torch.cat([kept, self.main(changed)], 1)
        n, c, h, w = y.shape
        return torch.flatten(torch.transpose(y.view(n, 2, c // 2, h, w), 1, 2), 1, 2)


class ShuffleDetector(nn.Module):
    """Boxes from three scales: a backbone of shuffle units, a top-down neck with nearest resizing, and depthwise 5x5
    heads for classes and box sides.
    """

    def __init__(self, classes: int = 10, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 24, 3, 2, activation=relu), nn.MaxPool2d(3, 2, 1))
        channels = (24, 116, 232, 464)
        self.stages = nn.ModuleList(
            nn.Sequential(ShuffleUnit(ic, oc, 2), *(ShuffleUnit(oc, oc, 1) for _ in range(repeats)))
            for ic, oc, repeats in zip(channels, channels[1:], (3, 7, 3), strict=False)
        )
        self.lateral = nn.ModuleList(conv(c, width, activation=relu) for c in channels[1:])
        self.smooth = nn.ModuleList(conv(width, width, 3, groups=width, activation=relu) for _ in range(3))
        self.heads = nn.ModuleList(
            nn.Sequential(
                conv(width, width, 5, groups=width, activation=relu),
                conv(width, width, activation=relu),
                conv(width, width, 5, groups=width, activation=relu),
                nn.Conv2d(width, classes + 32, 1),
            )
            for _ in range(3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.stem(x)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            y = stage(y)
            maps.append(lateral(y))
        for i in (1, 0):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], scale_factor=2.0, mode="nearest")
        return tuple(head(smooth(m)) for head, smooth, m in zip(self.heads, self.smooth, maps, strict=True))


class Bottleneck(nn.Module):
    """1x1 down, a 3x3 (dilated, or as 5x1 and 1x5), 1x1 up, and a residual."""

    def __init__(self, channels: int, dilation: int = 1, asymmetric: bool = False) -> None:
        super().__init__()
        inner = channels // 4
        middle = (
            nn.Sequential(nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False), conv(inner, inner, (1, 5)))
            if asymmetric
            else conv(inner, inner, 3, dilation=dilation)
        )
        self.body = nn.Sequential(
            conv(channels, inner, activation=prelu), middle, nn.PReLU(inner), conv(inner, channels)
        )
        self.activation = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.body(x))


class Downsample(nn.Module):
    """A strided convolution beside a max pool, concatenated."""

    def __init__(self, ic: int, oc: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(ic, oc - ic, 3, 2, 1, bias=False)
        self.pool = nn.MaxPool2d(2, 2)
        self.finish = nn.Sequential(nn.BatchNorm2d(oc), nn.PReLU(oc))

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(torch.cat([self.convolution(x), self.pool(x)], 1))


class FastSegmenter(nn.Module):
    """Classes for each pixel: narrow bottlenecks with dilated and asymmetric convolutions and PReLU, transposed
    convolutions up, and a last bilinear step.
    """

    def __init__(self, classes: int = 12) -> None:
        super().__init__()
        dilations = (1, 2, 0, 4, 0, 8, 0, 16)  # 0: asymmetric
        self.encoder = nn.Sequential(
            Downsample(3, 16),
            Downsample(16, 64),
            *(Bottleneck(64) for _ in range(4)),
            Downsample(64, 128),
            *(Bottleneck(128, max(d, 1), d == 0) for d in dilations * 2),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(128, 64, 3, 2, 1, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            Bottleneck(64),
            nn.ConvTranspose2d(64, 16, 3, 2, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            Bottleneck(16),
            nn.Conv2d(16, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.decoder(self.encoder(x)), scale_factor=2.0, mode="bilinear", align_corners=False)


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, squeeze-and-excitation where asked for, 1x1 down, and a residual where shapes allow."""

    def __init__(self, ic: int, expanded: int, oc: int, kernel: int, stride: int, excite: bool, swish: bool) -> None:
        super().__init__()
        activation = hard_swish if swish else relu
        self.expand = conv(ic, expanded, activation=activation)
        self.depthwise = conv(expanded, expanded, kernel, stride, groups=expanded, activation=activation)
        self.excite = excite
        if excite:
            inner = max(8, expanded // 4 // 8 * 8)
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(expanded, inner, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(inner, expanded, 1),
                nn.Hardsigmoid(),
            )
        self.project = conv(expanded, oc)
        self.residual = stride == 1 and ic == oc

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        if self.excite:
            y = y * self.gate(y)
        y = self.project(y)
        return x + y if self.residual else y


class MobileScene(nn.Module):
    """Scene segmentation with distances: inverted residuals with hard-swish and squeeze-and-excitation, a pyramid neck
    with bilinear resizing, class scores and a sigmoid map.
    """

    def __init__(self, classes: int = 8, width: int = 64) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2, activation=hard_swish)
        # expanded, oc, kernel, stride, squeeze-and-excitation, hard-swish
        stages = (
            ((64, 24, 3, 2, False, False), (72, 24, 3, 1, False, False)),
            ((72, 40, 5, 2, True, False), (120, 40, 5, 1, True, False), (120, 40, 5, 1, True, False)),
            ((240, 80, 3, 2, False, True), (200, 80, 3, 1, False, True), (480, 112, 3, 1, True, True)),
            ((672, 160, 5, 2, True, True), (960, 160, 5, 1, True, True)),
        )
        self.stages = nn.ModuleList()
        self.lateral = nn.ModuleList()
        ic = 16
        for stage in stages:
            blocks = []
            for expanded, oc, kernel, stride, excite, swish in stage:
                blocks.append(InvertedResidual(ic, expanded, oc, kernel, stride, excite, swish))
                ic = oc
            self.stages.append(nn.Sequential(*blocks))
            self.lateral.append(conv(ic, width, activation=hard_swish))
        self.smooth = nn.Sequential(
            conv(width, width, 3, groups=width, activation=hard_swish), conv(width, width, activation=hard_swish)
        )
        self.classes = nn.Conv2d(width, classes, 1)
        self.distance = nn.Sequential(nn.Conv2d(width, 1, 3, padding=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.stem(x)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            y = stage(y)
            maps.append(lateral(y))
        merged = maps[-1]
        for m in maps[-2::-1]:
            merged = m + F.interpolate(merged, scale_factor=2.0, mode="bilinear", align_corners=False)
        merged = self.smooth(merged)
        scores = F.interpolate(self.classes(merged), scale_factor=4.0, mode="bilinear", align_corners=False)
        return scores, self.distance(merged)


@dataclass(frozen=True)
class Perception:
    """A network and its input's height and width."""

    build: Callable[[], nn.Module]
    height: int
    width: int


PERCEPTION = {
    "lane_and_drivable": Perception(LaneAndDrivable, 352, 640),
    "shuffle_detector": Perception(ShuffleDetector, 384, 640),
    "fast_segmenter": Perception(FastSegmenter, 240, 320),
    "mobile_scene": Perception(MobileScene, 384, 640),
}


@torch.no_grad()
def settle(model: nn.Module, height: int, width: int) -> nn.Module:
    """Take BatchNorm's statistics from a random batch, so that activations neither vanish nor grow with depth, and
    give the affine parts and the PReLU slopes values that differ. Returns the model in evaluation mode.

    Biases are positive, one to two standard deviations: around zero every ReLU of a random network makes small
    differences larger, and one rounding of int8 would decide the output of a deep one.
    """
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.weight.uniform_(0.7, 1.3, generator=generator)
            module.bias.uniform_(1.0, 2.0, generator=generator)
        elif isinstance(module, nn.PReLU):
            module.weight.uniform_(0.05, 0.4, generator=generator)
    model.train()
    model(torch.randn((2, 3, height, width), generator=generator))
    return model.eval()
