"""Random convolutional networks: what `calibrate` times.

A layer alone finds its weights and its input in the cache; within a network others have been there since it ran last.
So layers are timed where they will be used: one after the other in networks like real ones, whose maps shrink as
channels grow, with residuals, depthwise layers, pools, gates, joins and resizes between them. Shapes, patterns and
densities are drawn at random, so that a few dozen networks cover them all evenly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from edgelane.latency.builder import BLOCKS, Builder

IMAGE_SIZES = ((32, 32), (64, 64), (96, 96), (96, 96), (128, 128), (160, 160), (224, 224), (224, 224), (192, 320))
LARGE_SIZES = ((224, 224), (256, 256), (192, 320), (352, 640))
ACTIVATIONS = {"relu": 0.6, "none": 0.17, "clip": 0.1, "hard_swish": 0.08, "silu": 0.05}  # their shares
MAX_MACS = 1.6e8  # of a layer, no zero skipped: about those of ResNet-50's largest
MAX_WEIGHTS = 2_600_000  # of a layer
NETWORK_MACS = 9e8
LAYERS = 22  # of a network, at most


@dataclass(frozen=True)
class Setting:
    """How much is measured: networks for each dtype, and how often all of them take a turn."""

    networks: int = 120
    rounds: int = 6
    repeats: int = 3
    seed: int = 0


def networks(setting: Setting, dtype: str) -> Iterator[onnx.ModelProto]:
    """The calibration networks of one dtype; the same for the same setting."""
    for index in range(setting.networks):
        yield RandomNetwork(np.random.default_rng((setting.seed, index, dtype == "int8")), dtype, index).model()


class RandomNetwork:
    """One network, drawn from `rng`."""

    def __init__(self, rng: np.random.Generator, dtype: str, index: int) -> None:
        self.rng = rng
        sizes = LARGE_SIZES if index % 6 == 5 else IMAGE_SIZES
        height, width = sizes[int(rng.integers(len(sizes)))]
        self.b = Builder(rng, dtype, (1, 3, height, width))
        self.base, self.top = float(np.exp(rng.uniform(np.log(12), np.log(96)))), height / 4
        self.small_head = bool(rng.random() < 0.5)
        # A third of the networks is mostly dense, as many in 4x4, and so on: a network's weights fit a cache or do not.
        self.dense_share = float(rng.choice((0.15, 0.4, 0.8)))
        self.macs = 0.0

    def model(self) -> onnx.ModelProto:
        """Stem, stages of random blocks on shrinking maps, and a head."""
        b, rng = self.b, self.rng
        x = b.quantized("images")
        kernel = int(rng.choice((3, 3, 5, 7)))
        width = int(rng.choice((8, 16, 24, 32, 48, 64)))
        x = self._done(b.conv(x, width, kernel, 2), "relu")
        if b.shape[x][2] >= 64 and rng.random() < 0.5:
            x = b.quantized(b.pool(x, "MaxPool", 3, 2))
        for _ in range(LAYERS):
            if self.macs > NETWORK_MACS:
                break
            x = self._block(x)
        return b.model([self._head(x)])

    def _block(self, x: str) -> str:
        b, rng = self.b, self.rng
        h = b.shape[x][2]
        kinds = ["conv", "bottleneck", "inverted", "gate", "concat", "pool", "unary", "resize", "add"]
        weights = np.array([0.3, 0.16, 0.24, 0.06, 0.06, 0.07, 0.03, 0.04 if h <= 32 else 0, 0.04])
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
        return str(getattr(self, f"_{kind}")(x))

    # ---- blocks ----

    def _conv(self, x: str) -> str:
        kernel = int(self.rng.choice((1, 3, 5), p=(0.45, 0.5, 0.05)))
        stride = 2 if self.b.shape[x][2] > 6 and self.rng.random() < 0.3 else 1
        dilation = 2 if kernel == 3 and stride == 1 and self.rng.random() < 0.08 else 1
        return self._layer(x, self._channels(x, kernel, stride), kernel, stride, dilation=dilation)

    def _bottleneck(self, x: str) -> str:
        """1x1 down, 3x3, 1x1 up, and what came in added."""
        c = self.b.shape[x][1]
        inner = max(8, c // int(self.rng.choice((1, 2, 4))) // 8 * 8)
        y = self._layer(x, inner, 1)
        y = self._layer(y, inner, 3)
        return self._layer(y, c, 1, residual=x)

    def _inverted(self, x: str) -> str:
        """1x1 up, depthwise, 1x1 down."""
        b, rng = self.b, self.rng
        _, c, h, _ = b.shape[x]
        expanded = min(c * int(rng.choice((1, 2, 4, 6))), 1280)
        expanded = self._fit(x, expanded, 1, 1)
        y = self._layer(x, expanded, 1) if expanded != c else x
        kernel = int(rng.choice((3, 3, 5, 7), p=(0.45, 0.2, 0.25, 0.1)))
        stride = 2 if h > 6 and rng.random() < 0.35 else 1
        dilation = 2 if stride == 1 and kernel < 7 and rng.random() < 0.15 else 1
        inner = b.shape[y][1]
        y = self._done(b.conv(y, inner, kernel, stride, groups=inner, dilation=dilation), self._kind())
        oc = c if stride == 1 and rng.random() < 0.6 else self._channels(y, 1, 1)
        return self._layer(y, oc, 1, residual=x if b.shape[x][1:] == (oc, *b.shape[y][2:]) else None)

    def _gate(self, x: str) -> str:
        """Squeeze-and-excitation."""
        b = self.b
        _, c, _, _ = b.shape[x]
        y = b.quantized(b.node("GlobalAveragePool", [x], (1, c, 1, 1)))
        y = self._done(b.conv(y, max(8, c // 4 // 8 * 8)), "relu")
        y = self._done(b.conv(y, c), "hard_sigmoid")
        return b.quantized(b.node("Mul", [x, y], b.shape[x]))

    def _concat(self, x: str) -> str:
        b = self.b
        parts = [self._layer(x, self._channels(x, 1, 1), 1), self._layer(x, self._channels(x, 3, 1), 3), x]
        parts = parts[: int(self.rng.integers(2, 4))]
        _, _, h, w = b.shape[x]
        joined = sum(b.shape[part][1] for part in parts)
        return b.quantized(b.node("Concat", parts, (1, joined, h, w), axis=1))

    def _pool(self, x: str) -> str:
        stride = 2 if self.b.shape[x][2] > 6 else 1
        op = str(self.rng.choice(("MaxPool", "AveragePool")))
        kernel = int(self.rng.choice((2, 3))) if stride == 2 else 3
        return self.b.quantized(self.b.pool(x, op, kernel, stride))

    def _unary(self, x: str) -> str:
        """An activation that follows no layer, so that nothing fuses it."""
        y = self.b.quantized(self.b.pool(x, "MaxPool", 3, 1))
        return self._done(y, str(self.rng.choice(("relu", "sigmoid", "hard_swish", "silu"))))

    def _resize(self, x: str) -> str:
        return self.b.quantized(self.b.resize(x, 2, str(self.rng.choice(("linear", "nearest")))))

    def _add(self, x: str) -> str:
        """An addition that follows no layer."""
        b = self.b
        y = b.quantized(b.pool(x, "MaxPool", 3, 1))
        return b.quantized(b.node("Add", [x, y], b.shape[x]))

    def _head(self, x: str) -> str:
        """Scores of classes, or of pixels at eight times the map's size."""
        b, rng = self.b, self.rng
        _, c, h, _ = b.shape[x]
        if self.small_head:
            y = b.conv(x, int(rng.integers(2, 24)))
            return b.resize(y, 8, "linear") if h <= 40 else y
        y = b.quantized(b.node("GlobalAveragePool", [x], (1, c, 1, 1)))
        y = b.quantized(b.node("Flatten", [y], (1, c), axis=1))
        if rng.random() < 0.4:
            y = b.quantized(b.activation(b.linear(y, int(rng.choice((128, 256, 512, 1024)))), "relu"))
        return b.node("Softmax", [b.linear(y, int(rng.choice((3, 10, 43, 100, 1000))))], (1, 1), axis=1)

    # ---- layers ----

    def _layer(
        self, x: str, oc: int, kernel: int, stride: int = 1, *, dilation: int = 1, residual: str | None = None
    ) -> str:
        """A convolution in a random pattern and density, an activation, and a residual where shapes allow."""
        b, rng = self.b, self.rng
        oc = self._fit(x, oc, kernel, stride) if residual is None else oc
        pattern, density = "dense", 1.0
        if rng.random() > self.dense_share:
            pattern = str(rng.choice(list(BLOCKS)))
            density = float(np.exp(rng.uniform(np.log(0.03), np.log(0.7))))
        y = b.conv(x, oc, kernel, stride, dilation=dilation, pattern=pattern, density=density)
        _, _, h, w = b.shape[y]
        self.macs += oc * b.shape[x][1] * kernel * kernel * h * w
        if residual is not None and b.shape[residual] == b.shape[y]:
            y = b.quantized(y)
            y = b.node("Add", [y, residual], b.shape[y])
        return self._done(y, self._kind())

    def _kind(self) -> str:
        return str(self.rng.choice(list(ACTIVATIONS), p=list(ACTIVATIONS.values())))

    def _done(self, x: str, activation: str) -> str:
        return self.b.quantized(self.b.activation(x, activation))

    def _channels(self, x: str, kernel: int, stride: int) -> int:
        """Output channels: as in real networks, the more the smaller the map, within a factor of three."""
        side = max(1, self.b.shape[x][2] // stride)
        wanted = self.base * self.top / side * float(np.exp(self.rng.uniform(np.log(0.33), np.log(3.0))))
        step = 8 if self.rng.random() < 0.85 else 1
        return self._fit(x, int(np.clip(round(wanted / step) * step, 8, 2048)), kernel, stride)

    def _fit(self, x: str, oc: int, kernel: int, stride: int) -> int:
        """As many of `oc` channels as the limits of a layer allow."""
        _, ic, h, w = self.b.shape[x]
        weights = ic * kernel * kernel
        most = min(MAX_WEIGHTS / weights, MAX_MACS / (weights * h * w / stride**2))
        return max(8, oc if oc <= most else int(most) // 8 * 8)
