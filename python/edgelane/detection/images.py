"""Images and feature maps in numpy: bilinear resizing, RoIAlign, masks pasted into an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def resize(maps: Floats, height: int, width: int) -> Floats:
    """[..., h, w] resized to [..., height, width], bilinear, without antialiasing: torch's `interpolate` with
    align_corners=False.
    """
    for axis, size in ((-2, height), (-1, width)):
        if maps.shape[axis] != size:
            maps = _resize_axis(maps, axis, size)
    return maps


def _resize_axis(maps: Floats, axis: int, size: int) -> Floats:
    old = maps.shape[axis]
    scale = np.float32(old) / np.float32(size)
    place = np.maximum((np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    low = np.minimum(place.astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    weight = (place - low.astype(np.float32)).reshape((-1,) + (1,) * (-1 - axis))
    return np.asarray(np.take(maps, low, axis) * (1 - weight) + np.take(maps, high, axis) * weight)


def roi_align(features: Sequence[Floats], boxes: Floats, pool: Mapping[str, Any]) -> Floats:
    """RoI features [n, c, size, size] of boxes [n, 4] from feature maps [c, h, w] of several scales.

    `pool`: "size" cells of a side; "sampling" points of a side of a cell, 0 for as many as it covers; "scales", each
    map's size over the image's; "canonical_scale" and "canonical_level" as in the Feature Pyramid Network paper
    (eq. 1), which says what map a box is read from.
    """
    levels = _levels(boxes, pool)
    result = np.empty((len(boxes), features[0].shape[0], pool["size"], pool["size"]), np.float32)
    for index, (box, level) in enumerate(zip(boxes, levels, strict=True)):
        map_ = features[level]
        x0, y0, x1, y1 = box * np.float32(pool["scales"][level])
        rows, row_weights = _samples(y0, y1, map_.shape[1], pool)
        columns, column_weights = _samples(x0, x1, map_.shape[2], pool)
        # A point's bilinear weights are products of one along each axis, and so is the mean over a cell's points.
        result[index] = row_weights @ (map_[:, rows, columns] @ column_weights.T)
    return result


def _levels(boxes: Floats, pool: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    scales = pool["scales"]
    first, last = (-round(math.log2(scale)) for scale in (scales[0], scales[-1]))
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    with np.errstate(divide="ignore"):
        octave = np.log2(sides / np.float32(pool["canonical_scale"]))
    level = np.floor(np.float32(pool["canonical_level"]) + octave + np.float32(1e-6))
    return np.asarray(np.clip(level, first, last).astype(np.int64) - first)


def _samples(start: np.float32, end: np.float32, size: int, pool: Mapping[str, Any]) -> tuple[slice, Floats]:
    """What cells along one axis average: the pixels between the first and the last that is read, and the weights
    [cells, pixels].
    """
    cells = pool["size"]
    length = max(end - start, np.float32(1))
    points = pool["sampling"] or math.ceil(length / cells)
    step = length / np.float32(cells)
    inner = (np.arange(points, dtype=np.float32) + np.float32(0.5)) * step / np.float32(points)
    places = start + np.arange(cells, dtype=np.float32)[:, None] * step + inner[None]
    inside = (places >= -1) & (places <= size)
    places = np.clip(places, 0, size - 1)
    low = np.minimum(places.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    upper = np.where(inside, places - low, 0).astype(np.float32)
    lower = np.where(inside, 1 - (places - low), 0).astype(np.float32)
    first, last = int(low.min()), int(high.max())
    weights = np.zeros((cells, last + 1 - first), np.float32)
    cell = np.broadcast_to(np.arange(cells)[:, None], low.shape)
    np.add.at(weights, (cell, low - first), lower)
    np.add.at(weights, (cell, high - first), upper)
    return slice(first, last + 1), weights / np.float32(points)


def paste(masks: Floats, boxes: Floats, height: int, width: int) -> Floats:
    """Masks [n, m, m] of probabilities, each spread over its box [n, 4], in images [n, height, width] of zeros."""
    side = masks.shape[-1]
    # One pixel of zeros around each mask, so that it fades out at the edge of its box.
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32((side + 2) / side)
    centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    whole = np.concatenate([centre - half, centre + half], axis=1).astype(np.int64)  # towards zero, as torchvision
    result = np.zeros((len(masks), height, width), np.float32)
    for mask, (x0, y0, x1, y1), target in zip(padded, whole, result, strict=True):
        image = resize(mask, max(int(y1 - y0 + 1), 1), max(int(x1 - x0 + 1), 1))
        left, top = max(int(x0), 0), max(int(y0), 0)
        right, bottom = min(int(x1) + 1, width), min(int(y1) + 1, height)
        if right > left and bottom > top:
            target[top:bottom, left:right] = image[top - y0 : bottom - y0, left - x0 : right - x0]
    return result
