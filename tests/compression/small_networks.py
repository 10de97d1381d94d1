"""Small networks that hold every structure compression must understand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Stem, a residual block with a strided shortcut, a depthwise convolution, and a classifier: 3 x 16 x 16 in, 5 out."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.first = nn.Sequential(nn.Conv2d(width, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32))
        self.shortcut = nn.Sequential(nn.Conv2d(width, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
        self.depthwise = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32), nn.Hardswish())
        self.mix = nn.Sequential(nn.Conv2d(32, 24, 1), nn.SiLU())
        self.classifier = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = torch.relu(self.second(self.first(x)) + self.shortcut(x))
        x = self.mix(self.depthwise(x))
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Branches(nn.Module):
    """Squeeze-and-excite, concatenation, chunk and channel shuffle: 3 x 16 x 16 in, 4 out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.classifier = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        left, right = x.chunk(2, dim=1)
        x = torch.cat((torch.relu(self.left(left)), torch.relu(self.right(right))), 1)
        batch, channels, height, width = x.size()
        x = (
            x.view(batch, 2, channels // 2, height, width)
            .transpose(1, 2)
            .contiguous()
            .view(batch, channels, height, width)
        )
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean([2, 3], keepdim=True)))))
        return self.classifier((x * gate).mean([2, 3]))


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode with BatchNorm statistics of its own, as training leaves them."""
    torch.manual_seed(seed)
    model.train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
        for _ in range(4):
            model(torch.randn(16, 3, 16, 16))
    return model.eval()
