"""From raw outputs to detections: SSD, RetinaNet, FCOS, and the two stages of Faster R-CNN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelane.detection.boxes import (
    Floats,
    Indices,
    best,
    clip,
    decode,
    decode_distances,
    large_enough,
    suppress_by_class,
)

Raw = Mapping[str, Floats]
Found = tuple[Floats, Floats, Indices]  # boxes [n, 4], scores [n], labels [n], best first


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    exponentials = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1, exponentials) / (1 + exponentials), np.float32)


def softmax(values: Floats) -> Floats:
    """Along the last axis."""
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def ssd(raw: Raw, levels: Sequence[Floats], size: tuple[int, int], settings: Mapping[str, Any]) -> Found:
    """SSD and SSDlite: softmax over classes, of each the best; class 0 is the background."""
    scores = softmax(raw["cls_logits"][0])
    boxes = clip(decode(raw["bbox_regression"][0], np.concatenate(levels), settings["weights"]), *size)
    found = []
    for label in range(1, scores.shape[1]):
        column = scores[:, label]
        above = np.flatnonzero(column > np.float32(settings["score_threshold"]))
        chosen = above[best(column[above], settings["candidates"])]
        found.append((boxes[chosen], column[chosen], np.full(len(chosen), label, np.int64)))
    return _without_overlaps(_joined(found), settings)


def retinanet(raw: Raw, levels: Sequence[Floats], size: tuple[int, int], settings: Mapping[str, Any]) -> Found:
    """RetinaNet: a sigmoid for each class, of each level the best."""
    scores = sigmoid(raw["cls_logits"][0])

    def boxes(rows: Indices, reference: Floats) -> Floats:
        return decode(raw["bbox_regression"][0][rows], reference, settings["weights"])

    return _best_of_levels(scores, boxes, levels, size, settings)


def fcos(raw: Raw, levels: Sequence[Floats], size: tuple[int, int], settings: Mapping[str, Any]) -> Found:
    """FCOS: the geometric mean of class and centredness, distances to the sides instead of boxes."""
    scores = np.sqrt(sigmoid(raw["cls_logits"][0]) * sigmoid(raw["bbox_ctrness"][0]))

    def boxes(rows: Indices, reference: Floats) -> Floats:
        return decode_distances(raw["bbox_regression"][0][rows], reference)

    return _best_of_levels(scores, boxes, levels, size, settings)


def _best_of_levels(
    scores: Floats,
    decoded: Callable[[Indices, Floats], Floats],
    levels: Sequence[Floats],
    size: tuple[int, int],
    settings: Mapping[str, Any],
) -> Found:
    classes, first, found = scores.shape[1], 0, []
    for level in levels:
        flat = scores[first : first + len(level)].reshape(-1)
        above = np.flatnonzero(flat > np.float32(settings["score_threshold"]))
        chosen = above[best(flat[above], settings["candidates"])]
        rows = chosen // classes
        found.append((clip(decoded(first + rows, level[rows]), *size), flat[chosen], chosen % classes))
        first += len(level)
    return _without_overlaps(_joined(found), settings)


def _joined(found: Sequence[Found]) -> Found:
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return boxes, scores, labels


def _without_overlaps(found: Found, settings: Mapping[str, Any]) -> Found:
    boxes, scores, labels = found
    kept = suppress_by_class(boxes, scores, labels, settings["overlap"])[: settings["detections"]]
    return boxes[kept], scores[kept], labels[kept]


def proposals(raw: Raw, levels: Sequence[Floats], size: tuple[int, int], settings: Mapping[str, Any]) -> Floats:
    """The first stage of Faster R-CNN: boxes [n, 4] that may hold something, best first."""
    objectness, deltas = raw["objectness"][0], raw["deltas"][0]
    first, found = 0, []
    for number, level in enumerate(levels):
        chosen = best(objectness[first : first + len(level)], settings["candidates"])
        boxes = clip(decode(deltas[first + chosen], level[chosen], settings["weights"]), *size)
        found.append((boxes, sigmoid(objectness[first + chosen]), np.full(len(chosen), number, np.int64)))
        first += len(level)
    boxes, scores, numbers = _joined(found)
    kept = large_enough(boxes, settings["smallest"]) & (scores >= np.float32(settings["score_threshold"]))
    boxes, scores, numbers = boxes[kept], scores[kept], numbers[kept]
    return _without_overlaps((boxes, scores, numbers), settings)[0]


def classified(
    logits: Floats, deltas: Floats, regions: Floats, size: tuple[int, int], settings: Mapping[str, Any]
) -> Found:
    """The second stage of Faster R-CNN: logits [n, classes] and deltas [n, 4 classes] of regions [n, 4]; class 0 is
    the background.
    """
    count, classes = logits.shape
    boxes = clip(decode(deltas.reshape(count, classes, 4), regions, settings["weights"]), *size)[:, 1:].reshape(-1, 4)
    scores = softmax(logits)[:, 1:].reshape(-1)
    labels = np.tile(np.arange(1, classes, dtype=np.int64), count)
    kept = (scores > np.float32(settings["score_threshold"])) & large_enough(boxes, settings["smallest"])
    return _without_overlaps((boxes[kept], scores[kept], labels[kept]), settings)


ONE_STAGE = {"ssd": ssd, "retinanet": retinanet, "fcos": fcos}
__all__ = ["ONE_STAGE", "classified", "proposals"]
