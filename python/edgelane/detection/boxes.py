"""Boxes in numpy: anchors, decoding, clipping, suppression. A box is float32 x0, y0, x1, y1 in pixels.

The formulas are those of torchvision's `torchvision.models.detection` and `torchvision.ops`, in float32 as there, so
that a detector keeps the boxes that it keeps in torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
# Beyond this factor exp() of a predicted width is held back: torchvision's BoxCoder.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def anchors(level: Mapping[str, Any]) -> Floats:
    """The anchors [h * w * k, 4] of one feature map, row by row, for each cell its `base` boxes.

    `level`: "grid" [h, w] cells; "stride" and "offset" [y, x] in pixels; "base" [k, 4], boxes about a cell's centre.
    """
    (height, width), stride, offset = level["grid"], level["stride"], level["offset"]
    y = np.arange(height, dtype=np.float32) * np.float32(stride[0]) + np.float32(offset[0])
    x = np.arange(width, dtype=np.float32) * np.float32(stride[1]) + np.float32(offset[1])
    centres = np.stack([np.tile(x, height), np.repeat(y, width)] * 2, axis=1)
    base = np.asarray(level["base"], np.float32)
    return np.asarray((centres[:, None] + base[None]).reshape(-1, 4), np.float32)


def decode(codes: Floats, reference: Floats, weights: Sequence[float]) -> Floats:
    """Boxes [n, ..., 4] from relative codes [n, ..., 4] (dx, dy, dw, dh, scaled by `weights`) and boxes [n, 4]."""
    codes = np.divide(codes, np.asarray(weights, np.float32), dtype=np.float32)
    shape = (len(reference),) + (1,) * (codes.ndim - 2) + (2,)
    size = (reference[:, 2:] - reference[:, :2]).reshape(shape)
    centre = reference[:, :2].reshape(shape) + np.float32(0.5) * size
    middle = codes[..., :2] * size + centre
    half = np.exp(np.minimum(codes[..., 2:], np.float32(MAX_LOG_SCALE))) * size * np.float32(0.5)
    return np.asarray(np.concatenate([middle - half, middle + half], axis=-1), np.float32)


def decode_distances(codes: Floats, reference: Floats) -> Floats:
    """Boxes [n, 4] from distances to the left, upper, right and lower side [n, 4], in sizes of the boxes [n, 4]."""
    size = reference[:, 2:] - reference[:, :2]
    centre = np.float32(0.5) * (reference[:, :2] + reference[:, 2:])
    distances = codes * np.tile(size, 2)
    return np.asarray(np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1), np.float32)


def clip(boxes: Floats, height: int, width: int) -> Floats:
    """Boxes [..., 4] cut to an image."""
    return np.clip(boxes, np.float32(0), np.array([width, height, width, height], np.float32))


def large_enough(boxes: Floats, minimum: float) -> npt.NDArray[np.bool_]:
    """Which boxes [n, 4] have both sides of `minimum` pixels or more."""
    return np.asarray(((boxes[:, 2:] - boxes[:, :2]) >= np.float32(minimum)).all(axis=1))


def best(scores: Floats, count: int) -> Indices:
    """Indices of the `count` highest scores, highest first."""
    return np.argsort(-scores, kind="stable")[:count]


def suppress(boxes: Floats, scores: Floats, threshold: float) -> Indices:
    """Indices of the boxes that non-maximum suppression keeps, best first: none of them overlaps a better one by more
    than `threshold` (intersection over union).
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.arange(len(boxes))
    kept = []
    while left.size:
        first, left = left[0], left[1:]
        kept.append(order[first])
        size = np.minimum(boxes[first, 2:], boxes[left, 2:]) - np.maximum(boxes[first, :2], boxes[left, :2])
        common = np.maximum(size, 0).prod(axis=1)
        # As torchvision divides, so that a box of no area, whose ratio is NaN, suppresses nothing.
        with np.errstate(invalid="ignore"):
            ratio = common / (areas[first] + areas[left] - common)
        left = left[~(ratio > np.float32(threshold))]
    return np.array(kept, np.int64)


def suppress_by_class(boxes: Floats, scores: Floats, labels: Indices, threshold: float) -> Indices:
    """`suppress` within each class; the indices of what is kept of all classes, best first."""
    kept = [np.zeros(0, np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept.append(members[suppress(boxes[members], scores[members], threshold)])
    indices = np.sort(np.concatenate(kept))
    return np.asarray(indices[np.argsort(-scores[indices], kind="stable")])
