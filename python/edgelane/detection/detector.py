"""A detector: a session, for Faster and Mask R-CNN those of its heads beside it, and what its metadata describe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.detection import heads
from edgelane.detection.boxes import Floats, Indices, anchors
from edgelane.detection.images import paste, resize, roi_align
from edgelane.errors import EdgelaneError
from edgelane.runtime.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image

BOX_HEAD, MASK_HEAD = "box_head", "mask_head"
FAMILIES = (*heads.ONE_STAGE, "rcnn")


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best first."""

    boxes: Floats  # [n, 4]: x0, y0, x1, y1 in the image's pixels
    labels: Indices  # [n]
    scores: Floats  # [n], 0 to 1
    masks: Floats | None = None  # [n, height, width], probabilities; of Mask R-CNN only


class Detector:
    """`X.lane` as `edgelane.export.detection.export_detector` and `edgelane.compile` make it. A detector with two
    stages reads `X.box_head.lane` beside it, and Mask R-CNN `X.mask_head.lane`.

    Raises EdgelaneError for a file that is not a detector, or whose heads are missing or of other sizes.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1, isa: str | None = None) -> None:
        self.path = Path(path)
        self.session = Session(path, threads=threads, isa=isa)
        self.settings = _settings(self.session.metadata.get("detection"), self.path)
        self._levels = [anchors(level) for level in self.settings["anchors"]]
        self._heads = {
            name: Session(self.path.with_suffix(f".{name}.lane"), threads=threads, isa=isa)
            for name in (BOX_HEAD, MASK_HEAD)
            if name in self.settings
        }
        self._check()

    def __call__(self, image: Image | npt.NDArray[np.uint8]) -> Detections:
        """What is in one RGB image (PIL, or uint8 [h, w, 3])."""
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise EdgelaneError(f"expected an RGB image, uint8 [h, w, 3], found {pixels.dtype} {list(pixels.shape)}")
        height, width = pixels.shape[:2]
        network_input, size = self.prepare(pixels)
        raw = self.session.run({self.session.inputs[0].name: network_input})
        masks = None
        if self.settings["family"] == "rcnn":
            boxes, scores, labels, masks = self._second_stage(raw, size)
        else:
            boxes, scores, labels = heads.ONE_STAGE[self.settings["family"]](raw, self._levels, size, self.settings)
        ratio = np.array([width, height] * 2, np.float32) / np.array([size[1], size[0]] * 2, np.float32)
        boxes = np.multiply(boxes, ratio, dtype=np.float32)
        return Detections(boxes, labels, scores, None if masks is None else paste(masks, boxes, height, width))

    def prepare(self, pixels: npt.NDArray[np.uint8]) -> tuple[Floats, tuple[int, int]]:
        """The network's input [1, 3, H, W] of an image [h, w, 3], and the height and width that the image has in it."""
        settings = self.settings
        mean, std = (np.asarray(settings[name], np.float32)[:, None, None] for name in ("mean", "std"))
        values = (pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255) - mean) / std
        size = self._size_in_input(*values.shape[1:])
        result = np.zeros((1, 3, settings["height"], settings["width"]), np.float32)
        result[0, :, : size[0], : size[1]] = resize(values, *size)
        return result, size

    def _size_in_input(self, height: int, width: int) -> tuple[int, int]:
        settings = self.settings
        if settings["stretch"]:
            return settings["height"], settings["width"]
        short, long = min(height, width), max(height, width)
        scale = min(settings["shortest_side"] / short, settings["longest_side"] / long)
        scale = min(scale, settings["height"] / height, settings["width"] / width)
        return max(int(height * scale), 1), max(int(width * scale), 1)

    def _second_stage(self, raw: Mapping[str, Floats], size: tuple[int, int]) -> tuple[Floats, Floats, Indices, Any]:
        settings = self.settings
        regions = heads.proposals(raw, self._levels, size, settings["proposals"])
        names = sorted((name for name in raw if name.startswith("features_")), key=lambda name: int(name[9:]))
        features = [raw[name][0] for name in names]
        pooled = roi_align(features, regions, settings[BOX_HEAD]["pool"])
        logits, deltas = self._run_head(BOX_HEAD, pooled)
        boxes, scores, labels = heads.classified(logits, deltas, regions, size, settings)
        if MASK_HEAD not in settings:
            return boxes, scores, labels, None
        pooled = roi_align(features, boxes, settings[MASK_HEAD]["pool"])
        (masks,) = self._run_head(MASK_HEAD, pooled)
        return boxes, scores, labels, heads.sigmoid(masks[np.arange(len(labels)), labels])

    def _run_head(self, name: str, rows: Floats) -> list[Floats]:
        """The outputs of a head, which takes a fixed number of RoIs at a time, for any number of them."""
        session = self._heads[name]
        (spec,) = session.inputs
        batch = spec.shape[0]
        found: list[list[Floats]] = [[np.zeros((0, *output.shape[1:]), np.float32)] for output in session.outputs]
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            given = np.zeros(spec.shape, np.float32)
            given[: len(part)] = part
            outputs = session.run({spec.name: given})
            for parts, output in zip(found, session.outputs, strict=True):
                parts.append(outputs[output.name][: len(part)].copy())
        return [np.concatenate(parts) for parts in found]

    def _check(self) -> None:
        """Raise EdgelaneError unless the files' shapes are those that their metadata describe."""
        settings, session = self.settings, self.session
        expected = (1, 3, settings["height"], settings["width"])
        if [tuple(spec.shape) for spec in session.inputs] != [expected]:
            found = [list(spec.shape) for spec in session.inputs]
            raise EdgelaneError(f"{self.path} takes {found}, but its metadata say one input {list(expected)}")
        shapes = {spec.name: tuple(spec.shape) for spec in session.outputs}
        count = sum(len(level) for level in self._levels)
        for name in ("deltas", "objectness") if settings["family"] == "rcnn" else ("bbox_regression", "cls_logits"):
            if name not in shapes or shapes[name][:2] != (1, count):
                raise EdgelaneError(
                    f"{self.path}: expected the output {name} with {count} anchors, found {shapes.get(name, 'none')}"
                )
        for name, head in self._heads.items():
            side = settings[name]["pool"]["size"]
            if len(head.inputs) != 1 or tuple(head.inputs[0].shape[2:]) != (side, side):
                raise EdgelaneError(
                    f"{self.path.with_suffix(f'.{name}.lane')}: expected one input [n, c, {side}, {side}]"
                )


def _settings(found: Any, path: Path) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise EdgelaneError(
            f"{path} does not say how its outputs become boxes; export the detector with "
            "`edgelane.export.detection.export_detector`, or use edgelane.Session"
        )
    family = found.get("family")
    if family not in FAMILIES:
        raise EdgelaneError(f"{path}: expected a detector of the family {', '.join(FAMILIES)}, found {family!r}")
    wanted = {"height", "width", "mean", "std", "stretch", "anchors", "overlap", "detections", "score_threshold"}
    wanted |= {"proposals", BOX_HEAD} if family == "rcnn" else {"candidates"}
    wanted |= set() if family == "fcos" else {"weights"}
    wanted |= set() if found.get("stretch") else {"shortest_side", "longest_side"}
    missing = sorted(wanted - found.keys())
    if missing:
        raise EdgelaneError(f"{path}: its description of the detector lacks {', '.join(missing)}")
    return found
