"""Networks whose int8 form has something to show, with data for them."""

from __future__ import annotations

import torch
from small_networks import randomised
from torch import Tensor, nn


def images(count: int = 4, size: int = 16, seed: int = 5) -> list[Tensor]:
    """Calibration batches of 8 images."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 3, size, size, generator=generator) for _ in range(count)]


class Inverted(nn.Module):
    """MobileNetV2 in small: inverted residuals with ReLU6 as module and as function, 3 x 16 x 16 in, 5 out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(48, 48, 3, 1, 1, groups=48, bias=False), nn.BatchNorm2d(48))
        self.project = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Sequential(nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(nn.functional.relu6(self.depthwise(self.expand(x))))
        return self.classifier(self.pool(self.head(x)).flatten(1))


def unequal(spread: float = 40.0) -> Inverted:
    """`Inverted` as training can leave it: the channels in the middle have ranges that differ up to `spread` times."""
    model = randomised(Inverted())
    assert isinstance(model, Inverted)
    with torch.no_grad():
        factors = torch.logspace(-1, 0, 48, spread)
        for norm, reader in ((model.expand[1], model.depthwise[0]), (model.depthwise[1], model.project[0])):
            norm.weight.mul_(4 * factors)  # type: ignore[operator, union-attr]
            norm.bias.mul_(4 * factors)  # type: ignore[operator, union-attr]
            shape = (-1, 1, 1, 1) if reader.groups > 1 else (-1, 1, 1)  # its input channels
            reader.weight.div_(factors.reshape(shape))  # type: ignore[operator, union-attr]
            factors = factors.flip(0)
    return model


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Root of the squared error's share in the squared values."""
    with torch.no_grad():
        return float((found - expected).norm() / expected.norm())
