"""torchvision's detectors cut where their outputs still have fixed shapes: backbone and heads, up to the raw outputs.

What follows in torchvision (score filters, top-k, suppression) makes tensors whose sizes depend on the image. edgelane
does that part in numpy (`edgelane.detection`), as the metadata written here describe; the networks are ordinary ONNX.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edgelane.detection.detector import BOX_HEAD, MASK_HEAD
from edgelane.errors import EdgelaneError
from edgelane.export.onnx import write_program
from edgelane.files import atomic_path

INPUT, FEATURES = "images", "features_"
ONE_STAGE_OUTPUTS = ("cls_logits", "bbox_regression", "bbox_ctrness")
# RoIs that a head takes at once: enough for a matrix product, few enough that a handful of boxes costs little.
BOX_BATCH, MASK_BATCH = 100, 10


def export_detector(model: nn.Module, target: str | os.PathLike[str], size: tuple[int, int]) -> list[Path]:
    """Write a torchvision SSD, SSDlite, RetinaNet, FCOS, Faster or Mask R-CNN as ONNX files with fixed shapes.

    `size`: height and width of the network's input in pixels, multiples of 32; SSD has a size of its own.
    Returns the files: `target` (X.onnx), and for R-CNN X.box_head.onnx and X.mask_head.onnx. Compile each to the same
    name with the suffix .lane; `edgelane.detection.Detector("X.lane")` then needs numpy alone.

    Raises EdgelaneError for another kind of model, for key points, and for a size that the model cannot take.
    """
    target = Path(target)
    model = model.eval()
    family = _family(model)
    settings = _settings(model, family, size)
    example = torch.zeros(1, 3, *size)
    network = raw(model)
    _write(network, example, target, network.outputs, settings)
    files = [target]
    if family != "rcnn":
        return files
    parts: list[tuple[str, nn.Module, int, Sequence[str]]] = [
        (BOX_HEAD, BoxHead(model), BOX_BATCH, ["logits", "deltas"])
    ]
    if model.roi_heads.has_mask():
        parts.append((MASK_HEAD, MaskHead(model), MASK_BATCH, ["masks"]))
    for name, head, batch, outputs in parts:
        side = settings[name]["pool"]["size"]
        files.append(target.with_suffix(f".{name}.onnx"))
        _write(head, torch.zeros(batch, model.backbone.out_channels, side, side), files[-1], outputs, None)
    return files


def raw(model: nn.Module) -> RawOneStage | RawTwoStage:
    """The part of a detector whose outputs have fixed shapes. Raises EdgelaneError for another kind of model."""
    return RawTwoStage(model) if _family(model) == "rcnn" else RawOneStage(model)


class RawOneStage(nn.Module):
    """SSD, SSDlite, RetinaNet or FCOS: float32 [1, 3, h, w], normalised, to (cls_logits [1, anchors, classes],
    bbox_regression [1, anchors, 4]) and for FCOS bbox_ctrness [1, anchors, 1].
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head
        self.outputs = ONE_STAGE_OUTPUTS[: 3 if _family(detector) == "fcos" else 2]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        result = self.head(_levels(self.backbone(images)))
        return tuple(result[name] for name in self.outputs)


class RawTwoStage(nn.Module):
    """Faster or Mask R-CNN up to the proposals: float32 [1, 3, h, w], normalised, to (objectness [1, anchors],
    deltas [1, anchors, 4], then the feature maps that RoIAlign reads, finest first).
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.rpn.head
        self.names = list(detector.roi_heads.box_roi_pool.featmap_names)
        with torch.no_grad():
            made = self.backbone(torch.zeros(1, 3, 64, 64))
        self.names = [name for name in made if name in self.names] if isinstance(made, dict) else []
        self.outputs = ("objectness", "deltas", *(f"{FEATURES}{index}" for index in range(max(len(self.names), 1))))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        features = self.backbone(images)
        objectness, deltas = self.head(_levels(features))
        return (
            torch.cat([_rows(level, 1).flatten(1) for level in objectness], 1),
            torch.cat([_rows(level, 4) for level in deltas], 1),
            *([features[name] for name in self.names] if self.names else [features]),
        )


class BoxHead(nn.Module):
    """The second stage of Faster and Mask R-CNN: RoI features [n, c, 7, 7] to (class logits [n, classes], box deltas
    [n, 4 classes]).
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.head, self.predictor = detector.roi_heads.box_head, detector.roi_heads.box_predictor

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        logits, deltas = self.predictor(self.head(features))
        return logits, deltas


class MaskHead(nn.Module):
    """The mask branch of Mask R-CNN: RoI features [n, c, 14, 14] to mask logits [n, classes, 28, 28]."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.head, self.predictor = detector.roi_heads.mask_head, detector.roi_heads.mask_predictor

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.predictor(self.head(features))
        return logits


def _levels(features: Any) -> list[Tensor]:
    return [features] if isinstance(features, Tensor) else list(features.values())


def _rows(level: Tensor, width: int) -> Tensor:
    """[1, a * width, h, w] as [1, h * w * a, width]: torchvision's order of anchors."""
    batch, channels, height, columns = level.shape
    split = level.reshape(batch, channels // width, width, height, columns)
    return split.permute(0, 3, 4, 1, 2).reshape(batch, -1, width)


def _family(model: Any) -> str:
    from torchvision.models.detection.fcos import FCOS
    from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
    from torchvision.models.detection.retinanet import RetinaNet
    from torchvision.models.detection.ssd import SSD

    kinds = {SSD: "ssd", RetinaNet: "retinanet", FCOS: "fcos", GeneralizedRCNN: "rcnn"}
    for kind, family in kinds.items():
        if isinstance(model, kind):
            if family == "rcnn" and model.roi_heads.has_keypoint():
                raise EdgelaneError("a detector of key points cannot be exported, expected Faster or Mask R-CNN")
            return family
    names = ", ".join(kind.__name__ for kind in kinds)
    raise EdgelaneError(f"expected a torchvision detector ({names}), found {type(model).__name__}")


def _settings(model: Any, family: str, size: tuple[int, int]) -> dict[str, Any]:
    """What `edgelane.detection` needs to know: see `edgelane.detection.detector`."""
    transform = model.transform
    own = transform.fixed_size  # width, height
    divisor = transform.size_divisible if own is None else 1
    if own is not None and tuple(size) != (own[1], own[0]):
        raise EdgelaneError(f"this detector takes images of {own[1]} x {own[0]}, found {size[0]} x {size[1]}")
    if any(side < 1 or side % divisor for side in size):
        raise EdgelaneError(f"height and width must be multiples of {divisor}, found {size[0]} x {size[1]}")
    with torch.no_grad():
        features = _levels(model.backbone(torch.zeros(1, 3, *size)))
    grids = [(level.shape[2], level.shape[3]) for level in features]
    first = model.rpn if family == "rcnn" else model
    settings: dict[str, Any] = {
        "family": family,
        "height": size[0],
        "width": size[1],
        "mean": list(transform.image_mean),
        "std": list(transform.image_std),
        "stretch": own is not None,
        "anchors": _anchors(first.anchor_generator, grids, size),
        **({} if own else {"shortest_side": transform.min_size[-1], "longest_side": transform.max_size}),
    }
    last = model.roi_heads if family == "rcnn" else model
    settings |= {
        "score_threshold": last.score_thresh,
        "overlap": last.nms_thresh,
        "detections": last.detections_per_img,
    }
    if family != "fcos":
        settings["weights"] = list(last.box_coder.weights)
    if family != "rcnn":
        settings["candidates"] = model.topk_candidates
        return settings
    settings["smallest"] = 1e-2  # pixels; torchvision's RoIHeads has it as a constant
    settings["proposals"] = {
        "candidates": first.pre_nms_top_n(),
        "detections": first.post_nms_top_n(),
        "overlap": first.nms_thresh,
        "score_threshold": first.score_thresh,
        "smallest": first.min_size,
        "weights": list(first.box_coder.weights),
    }
    settings[BOX_HEAD] = {"pool": _pool(last.box_roi_pool, grids, size)}
    if last.has_mask():
        settings[MASK_HEAD] = {"pool": _pool(last.mask_roi_pool, grids, size)}
    return settings


def _anchors(generator: Any, grids: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Each level's grid, stride, offset and base boxes: see `edgelane.detection.boxes.anchors`."""
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

    levels = []
    for index, grid in enumerate(grids):
        if isinstance(generator, DefaultBoxGenerator):
            step = None if generator.steps is None else generator.steps[index]
            stride = [size[axis] / grid[axis] if step is None else float(step) for axis in range(2)]
            offset = [0.5 * value for value in stride]
            pairs = generator._wh_pairs[index].clamp(0, 1) if generator.clip else generator._wh_pairs[index]
            half = 0.5 * pairs.double() * torch.tensor([size[1], size[0]])
            base = torch.cat([-half, half], 1)
        else:
            stride = [float(size[axis] // grid[axis]) for axis in range(2)]
            offset = [0.0, 0.0]
            base = generator.cell_anchors[index]
        levels.append({"grid": list(grid), "stride": stride, "offset": offset, "base": base.tolist()})
    return levels


def _pool(pool: Any, grids: Sequence[tuple[int, int]], size: tuple[int, int]) -> dict[str, Any]:
    if pool.output_size[0] != pool.output_size[1]:
        raise EdgelaneError(f"RoIs must be square, found {pool.output_size}")
    count = len(pool.featmap_names)
    return {
        "size": pool.output_size[0],
        "sampling": max(pool.sampling_ratio, 0),
        "scales": [2.0 ** round(math.log2(grid[0] / size[0])) for grid in grids[:count]],
        "canonical_scale": pool.canonical_scale,
        "canonical_level": pool.canonical_level,
    }


def _write(
    model: nn.Module, example: Tensor, path: Path, outputs: Sequence[str], settings: dict[str, Any] | None
) -> None:
    name = type(model).__name__
    program = write_program(model.eval(), (example,), name, input_names=[INPUT], output_names=list(outputs))
    proto = program.model_proto
    if settings is not None:
        for key, value in (("detection", json.dumps(settings, allow_nan=False)), ("task", "detection")):
            entry = proto.metadata_props.add()
            entry.key, entry.value = f"edgelane.{key}", value
    with atomic_path(path) as temporary:
        onnx.save(proto, temporary)
