"""edgelane.detection on compiled detectors against torchvision's own results: boxes, labels, scores, masks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectors import expected, picture, prepared, small

import edgelane
from edgelane.detection import Detections, Detector
from edgelane.errors import EdgelaneError
from edgelane.export.detection import export_detector
from edgelane.runtime.predict import Classifier

# The contract for whole networks, 1e-4, of a probability and of an image's side.
SCORE_TOLERANCE, PIXEL_TOLERANCE = 1e-4, 0.04
FAMILIES = ("ssdlite", "retinanet", "fcos", "mask")
# Height and width of the network's input: those of the images below, resized and padded to 32 as torchvision does.
SIZES = {"ssdlite": (320, 320)}
SIZE = (128, 192)
LONG = {
    "ssd300_vgg16": (300, 300),
    "retinanet_resnet50_fpn": (128, 192),
    "retinanet_resnet50_fpn_v2": (128, 192),
    "fcos_resnet50_fpn": (128, 192),
    "fasterrcnn_mobilenet_v3_large_fpn": (128, 192),
    "fasterrcnn_resnet50_fpn": (128, 192),
    "fasterrcnn_resnet50_fpn_v2": (128, 192),
    "maskrcnn_resnet50_fpn": (128, 192),
    "maskrcnn_resnet50_fpn_v2": (128, 192),
}


def compiled(model: Any, folder: Path, size: tuple[int, int]) -> Detector:
    for path in export_detector(model, folder / "detector.onnx", size):
        edgelane.compile(path, path.with_suffix(".lane"), golden=False)
    return Detector(folder / "detector.lane")


def check(found: Detections, wanted: dict[str, Any]) -> None:
    """Equal in number and order; two neighbours may change places where their scores are equal up to rounding."""
    assert len(wanted["scores"]) >= 5, "torchvision finds next to nothing: nothing is compared"
    assert len(set(wanted["labels"].tolist())) >= 2
    assert len(found.scores) == len(wanted["scores"])
    np.testing.assert_allclose(found.scores, wanted["scores"], rtol=0, atol=SCORE_TOLERANCE)
    distance = np.abs(found.boxes[:, None] - wanted["boxes"][None]).max(axis=2)
    distance[found.labels[:, None] != wanted["labels"][None]] = np.inf
    match = distance.argmin(axis=1)
    assert distance.min(axis=1).max() <= PIXEL_TOLERANCE
    assert len(set(match.tolist())) == len(match)
    assert np.abs(found.scores - wanted["scores"][match]).max() <= SCORE_TOLERANCE
    if "masks" in wanted:
        assert found.masks is not None
        assert found.masks.shape == wanted["masks"][:, 0].shape
        # A box's edge that falls on a whole pixel may be rounded to its neighbour: that mask's rim is then shifted.
        difference = np.abs(found.masks - wanted["masks"][match, 0])
        assert (difference > 1e-3).mean() < 1e-3
        assert wanted["masks"].max() > 0.9


Pair = tuple[Any, Detector]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Return a function that makes torchvision's model and edgelane's detector of a family, once for all tests."""

    @functools.cache
    def make(family: str) -> Pair:
        model = small(family)
        return model, compiled(model, tmp_path_factory.mktemp(family), SIZES.get(family, SIZE))

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_same_as_torchvision(family: str, pairs: Callable[[str], Pair]) -> None:
    model, detector = pairs(family)
    for height, width in ((100, 140), (256, 384)):
        image = picture(height, width, seed=height)
        check(detector(image), expected(model, image))


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_every_model(name: str, tmp_path: Path) -> None:
    import torch
    from torchvision.models import detection

    torch.manual_seed(0)
    sizes = {} if "ssd" in name else {"min_size": 128, "max_size": 192}
    model = prepared(getattr(detection, name)(weights=None, weights_backbone=None, num_classes=12, **sizes))
    detector = compiled(model, tmp_path, LONG[name])
    image = picture(200, 290)
    check(detector(image), expected(model, image))


def test_files_that_are_no_detectors(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "plain.onnx"
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1, 3, 32, 32]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "plain", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.save(model, path)
    edgelane.compile(path, tmp_path / "plain.lane", golden=False)
    with pytest.raises(EdgelaneError, match="does not say how its outputs become boxes"):
        Detector(tmp_path / "plain.lane")

    for settings, message in (
        ('{"family": "yolo"}', "expected a detector of the family ssd, retinanet, fcos, rcnn, found 'yolo'"),
        ('{"family": "ssd", "stretch": true}', "lacks anchors, candidates, detections"),
    ):
        entry = model.metadata_props.add()
        entry.key, entry.value = "edgelane.detection", settings
        onnx.save(model, path)
        edgelane.compile(path, tmp_path / "plain.lane", golden=False)
        with pytest.raises(EdgelaneError, match=message):
            Detector(tmp_path / "plain.lane")
        del model.metadata_props[:]


def test_models_that_are_not_exported(tmp_path: Path) -> None:
    import torch
    from torchvision.models import detection

    with pytest.raises(EdgelaneError, match=r"expected a torchvision detector \(SSD, .*\), found ReLU"):
        export_detector(torch.nn.ReLU(), tmp_path / "x.onnx", (64, 64))
    ssd = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(EdgelaneError, match="takes images of 320 x 320, found 64 x 64"):
        export_detector(ssd, tmp_path / "x.onnx", (64, 64))
    other = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None)
    with pytest.raises(EdgelaneError, match="multiples of 32, found 64 x 65"):
        export_detector(other, tmp_path / "x.onnx", (64, 65))
    assert not list(tmp_path.iterdir())


def test_a_detector_is_no_classifier(pairs: Callable[[str], Pair]) -> None:
    _, detector = pairs("ssdlite")
    wanted = r"trained for detection, expected classification; edgelane\.detection\.Detector runs this one"
    with pytest.raises(EdgelaneError, match=wanted):
        Classifier(detector.path)


def test_images_that_are_none(pairs: Callable[[str], Pair]) -> None:
    _, detector = pairs("ssdlite")
    for image in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(EdgelaneError, match=r"expected an RGB image, uint8 \[h, w, 3\], found"):
            detector(image)


def test_heads_that_are_missing(pairs: Callable[[str], Pair], tmp_path: Path) -> None:
    _, detector = pairs("mask")
    (tmp_path / "alone.lane").write_bytes(detector.path.read_bytes())
    with pytest.raises(EdgelaneError, match=r"alone\.box_head\.lane"):
        Detector(tmp_path / "alone.lane")
