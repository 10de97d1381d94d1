"""What a kernel does for a step, in numbers whose weighted sum is its time.

A strip convolution (ARCHITECTURE.md, "Layout") takes, for each nonzero block of its weights and each vector of
positions, one multiply-add for each channel of the block; around that it streams the blocks from wherever the weights
lie, reads the input, and finishes each output vector once. Each of these is a feature that does not fall with the
number of blocks, so a sum with weights that are not negative never falls with the density.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelane.latency.shapes import LayerShape

Vector = npt.NDArray[np.float64]

CHEAP_ACTIVATIONS = ("none", "relu", "clip")
WINOGRAD_TILE = 4  # output pixels along each side: F(4x4, 3x3)
CHANNEL_GROUP = 4  # int8 channels that lie side by side
PATTERN_BLOCKS = {"unstructured": (1, 1), "4x1": (4, 1), "1x4": (1, 4), "4x4": (4, 4)}  # (output, input channels)


def lanes_of(isa: str) -> int:
    """32-bit lanes of a vector of a kernel set."""
    return 16 if isa.startswith("avx512") else 8 if isa.startswith("avx") else 4


@dataclass(frozen=True)
class Work:
    """How a kernel is used: `block_oc` output channels share a weight's load, and `density` is the share of such blocks
    (of one input channel, or of four in int8) that hold a nonzero weight. 1 for steps without sparse weights.
    `near` and `far` are the shares of the weights that come from beyond a core's own cache and from beyond the last
    one, because the network does not fit into it.
    """

    shape: LayerShape
    block_oc: int = 1
    density: float = 1.0
    near: float = 0.0
    far: float = 0.0


def block_oc_of(kernel: str) -> int:
    """Output channels of a block, from a kernel's name: 8 of "conv2d_f32_8x1_avx512"."""
    match = re.search(r"_(?:staged)?(\d+)x\d+_", kernel)
    return int(match.group(1)) if match else 1


def block_density(pattern: str, sparsity: float, block_oc: int, block_ic: int, shape: LayerShape) -> float:
    """The expected share of blocks of `block_oc` output by `block_ic` input channels that hold a nonzero weight, where
    zeros of `pattern` lie at random.

    Such a block overlaps some of the pattern's blocks, each left with probability 1 - sparsity, and is empty when all
    of them are. Of a block at the edge of the weights only the part inside counts.
    """
    if pattern == "dense" or sparsity <= 0:
        return 1.0
    density = 1.0 - sparsity
    across = min(block_oc, shape.oc)
    deep = min(block_ic, max(1, shape.ic // shape.groups))
    group = pattern.split(":")
    if len(group) == 2:
        return _group_density(int(group[0]), int(group[1]), density, across, deep)
    oc, ic = PATTERN_BLOCKS[pattern]
    return 1.0 - (1.0 - density) ** (math.ceil(across / oc) * math.ceil(deep / ic))


def _group_density(n: int, m: int, density: float, block_oc: int, block_ic: int) -> float:
    """n:m leaves `n` of every `m` input channels; a sparsity short of that thins only a share of the groups."""
    thinned = min(1.0, (1.0 - density) / (1.0 - n / m))
    taken = min(block_ic, m)
    empty = math.comb(m - taken, n) / math.comb(m, n) if m - taken >= n else 0.0
    return 1.0 - float((thinned * empty) ** (block_oc * math.ceil(block_ic / m)))


def vectors_of(shape: LayerShape, lanes: int) -> int:
    """Vectors of positions of a whole map: rows follow each other with a gap, the border that they share."""
    height, width = shape.output[2:]
    return math.ceil(((height - 1) * _pitch(shape) + width) / lanes)


def _pitch(shape: LayerShape) -> int:
    """From a row to the next. Nearly every map is one that some 3x3 window reads, and has a border of at least 1."""
    width = shape.output[3] if max(shape.stride) > 1 else shape.input[3]
    return width + max(1, (shape.kernel[1] - 1) // 2 * shape.dilation[1])


def _planes(channels: int, dtype: str) -> int:
    return math.ceil(channels / CHANNEL_GROUP) if dtype == "int8" else channels


def features(work: Work, kernel: str, lanes: int) -> Vector:
    """The features of a step for one kernel; kernels of one kind have the same ones."""
    shape = work.shape
    if kernel.startswith("winograd"):
        return _winograd(work, lanes)
    if shape.is_depthwise and kernel.startswith("depthwise"):
        return _depthwise(shape, lanes)
    if shape.op == "conv2d":
        return _strip(work, lanes)
    if shape.op == "linear":
        return _linear(work)
    return _other(shape)


def _strip(work: Work, lanes: int) -> Vector:
    s = work.shape
    vectors = vectors_of(s, lanes)
    taps, batch = s.taps, s.input[0]
    rows = _planes(s.ic // s.groups, s.dtype) * taps
    oc_blocks = math.ceil(s.oc / work.block_oc)
    blocks = oc_blocks * rows * work.density
    adds = blocks * work.block_oc * vectors * batch
    copied = _planes(s.ic, s.dtype) * math.prod(s.input[2:]) * batch if max(s.stride) > 1 else 0
    outputs = s.oc * vectors * batch
    tiles = math.ceil(vectors / 6) * batch
    dear = 0.0 if s.activation in CHEAP_ACTIVATIONS else 1.0
    return np.array(
        [
            1.0,
            adds,
            adds if taps > 1 else 0.0,
            blocks * tiles,
            blocks * work.block_oc,
            blocks * work.block_oc * work.near,
            blocks * work.block_oc * work.far,
            outputs,
            outputs * dear,
            outputs if s.residual else 0.0,
            oc_blocks * tiles,
            _planes(s.ic, s.dtype) * math.prod(s.input[2:]) * batch,
            copied,
        ]
    )


def _winograd(work: Work, lanes: int) -> Vector:
    s = work.shape
    tiles = math.ceil(s.output[2] / WINOGRAD_TILE) * math.ceil(s.output[3] / WINOGRAD_TILE)
    vectors = math.ceil(tiles / lanes) * s.input[0]
    products = s.ic * s.oc
    dear = 0.0 if s.activation in CHEAP_ACTIVATIONS else 1.0
    outputs = s.oc * vectors
    return np.array(
        [
            1.0,
            products * vectors,
            products,
            products * work.near,
            products * work.far,
            s.ic * vectors,
            outputs,
            outputs * dear,
            outputs * float(s.residual),
        ]
    )


def _depthwise(s: LayerShape, lanes: int) -> Vector:
    planes = _planes(s.oc, s.dtype) * s.input[0]
    rows = planes * s.output[2]
    vectors = rows * math.ceil(s.output[3] / lanes)
    # int8 multiplies four taps of a row at a time.
    steps = s.kernel[0] * math.ceil(s.kernel[1] / CHANNEL_GROUP) if s.dtype == "int8" else s.taps
    slow = 0.0 if s.stride == (1, 1) else 1.0
    spread = 0.0 if s.dilation == (1, 1) else 1.0
    dear = 0.0 if s.activation in CHEAP_ACTIVATIONS else 1.0
    return np.array(
        [
            1.0,
            planes,
            rows,
            vectors,
            vectors * steps,
            vectors * steps * slow,
            vectors * steps * spread,
            rows * spread,
            vectors * dear,
            planes * math.prod(s.input[2:]),
            vectors * float(s.residual),
        ]
    )


def _linear(work: Work) -> Vector:
    s = work.shape
    dear = 0.0 if s.activation in CHEAP_ACTIVATIONS else 1.0
    out = s.oc * s.positions
    streamed = [s.weights, s.weights * work.near, s.weights * work.far]
    return np.array([1.0, *streamed, s.macs, s.ic * s.positions, out, out * dear])


def _other(s: LayerShape) -> Vector:
    channels = s.ic * s.input[0]
    read, written = math.prod(s.input), math.prod(s.output)
    return np.array([1.0, channels, read, written, written * s.taps])
