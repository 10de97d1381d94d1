"""NonMaxSuppression and RoiAlign."""

from __future__ import annotations

from typing import Any

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers


@lowers("NonMaxSuppression")
def non_max_suppression(node: Node, builder: Builder) -> Tensor:
    """Lower to non_max_suppression, whose output has as many rows as there can be; a Session cuts those not needed."""
    boxes, scores = node.x, node.input(1)
    limit = int(node.scalar(2, "its max_output_boxes_per_class")) if node.has(2) else 0
    if limit < 1:
        raise Unsupported("its max_output_boxes_per_class is 0, so its result is empty")
    thresholds: dict[str, Any] = {}
    if node.has(3):
        thresholds["iou_threshold"] = node.scalar(3, "its iou_threshold")
    if node.has(4):
        thresholds["score_threshold"] = node.scalar(4, "its score_threshold")
    n, classes, count = scores.shape
    return builder.step(
        "non_max_suppression",
        [boxes, scores],
        (n * classes * min(limit, count), 3),
        dtype="int64",
        max_per_class=min(limit, 2**31 - 1),
        center_point_box=node.flag("center_point_box"),
        **thresholds,
    )


@lowers("RoiAlign", accepts="any")
def roi_align(node: Node, builder: Builder) -> Tensor:
    """Lower to roi_align."""
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    coordinates = node.choice("coordinate_transformation_mode", ("half_pixel", "output_half_pixel"), default)
    return builder.step(
        "roi_align",
        [node.x, node.input(1), node.input(2)],
        node.shape,
        mode={"avg": "average", "max": "max"}[node.choice("mode", ("avg", "max"))],
        coordinates=coordinates,
        sampling_ratio=node.flag("sampling_ratio"),
        spatial_scale=node.real("spatial_scale", 1.0),
    )
