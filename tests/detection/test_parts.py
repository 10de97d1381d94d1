"""The numpy parts of edgelane.detection against torchvision's operators, on boxes that are hard for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision.ops as ops
from torch.nn.functional import interpolate
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder
from torchvision.models.detection.roi_heads import paste_masks_in_image

from edgelane.detection import boxes as own
from edgelane.detection import images

Floats = npt.NDArray[np.float32]


def random_boxes(count: int, side: float, seed: int = 0) -> Floats:
    """Boxes inside and across the edges of an image, some thin, some of no area."""
    generator = np.random.default_rng(seed)
    corner = generator.uniform(-0.2, 1.0, (count, 2)) * side
    size = generator.uniform(0, 0.6, (count, 2)) * side * generator.choice([0.0, 0.02, 1.0, 1.0, 1.0], (count, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 0.95])
def test_suppression(threshold: float) -> None:
    boxes = random_boxes(300, 50)
    boxes[50:60] = boxes[0]  # the same box, some with the same score
    scores = np.random.default_rng(1).random(300).astype(np.float32)
    scores[50:55] = scores[0]
    labels = np.random.default_rng(2).integers(0, 4, 300)
    given = torch.from_numpy(boxes), torch.from_numpy(scores)
    np.testing.assert_array_equal(own.suppress(boxes, scores, threshold), ops.nms(*given, threshold).numpy())
    wanted = ops.boxes._batched_nms_vanilla(*given, torch.from_numpy(labels), threshold)
    np.testing.assert_array_equal(own.suppress_by_class(boxes, scores, labels, threshold), wanted.numpy())


def test_suppression_of_nothing() -> None:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert own.suppress_by_class(*nothing, 0.5).shape == (0,)


def test_decoding() -> None:
    reference, codes = random_boxes(64, 100), np.random.default_rng(3).normal(0, 3, (64, 8)).astype(np.float32)
    wanted = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode(torch.from_numpy(codes), [torch.from_numpy(reference)])
    found = own.decode(codes.reshape(64, 2, 4), reference, (10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-3)
    wanted = BoxLinearCoder(normalize_by_size=True).decode(torch.from_numpy(codes[:, :4]), torch.from_numpy(reference))
    np.testing.assert_allclose(own.decode_distances(codes[:, :4], reference), wanted.numpy(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(7, 5), (13, 31), (40, 1), (1, 60)])
def test_resize(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(4).random((2, 13, 31), np.float32)
    wanted = interpolate(torch.from_numpy(maps)[None], size=size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(images.resize(maps, *size), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_roi_align(sampling: int) -> None:
    features = np.random.default_rng(5).normal(size=(3, 11, 17)).astype(np.float32)
    boxes = random_boxes(60, 70)
    pool = {"size": 5, "sampling": sampling, "scales": [0.25], "canonical_scale": 224, "canonical_level": 4}
    rois = torch.cat([torch.zeros(60, 1), torch.from_numpy(boxes)], 1)
    wanted = ops.roi_align(torch.from_numpy(features)[None], rois, (5, 5), 0.25, sampling or -1)
    np.testing.assert_allclose(images.roi_align([features], boxes, pool), wanted.numpy(), atol=1e-5)


def test_levels_of_a_pyramid() -> None:
    from collections import OrderedDict

    boxes = np.abs(random_boxes(80, 300))
    boxes[:, 2:] = boxes[:, :2] + np.abs(boxes[:, 2:] - boxes[:, :2])
    sides = (64, 32, 16, 8)
    maps = [np.random.default_rng(side).normal(size=(2, side, side)).astype(np.float32) for side in sides]
    align = ops.MultiScaleRoIAlign(list("0123"), 7, 2)
    given = OrderedDict((str(index), torch.from_numpy(map_)[None]) for index, map_ in enumerate(maps))
    wanted = align(given, [torch.from_numpy(boxes)], [(256, 256)])
    pool = {
        "size": 7,
        "sampling": 2,
        "scales": [side / 256 for side in sides],
        "canonical_scale": 224,
        "canonical_level": 4,
    }
    np.testing.assert_allclose(images.roi_align(maps, boxes, pool), wanted.numpy(), atol=1e-5)


def test_masks() -> None:
    boxes = own.clip(random_boxes(40, 60), 50, 70)
    boxes = boxes[own.large_enough(boxes, 0.01)]
    masks = np.random.default_rng(6).random((len(boxes), 28, 28), np.float32)
    wanted = paste_masks_in_image(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (50, 70))[:, 0]
    np.testing.assert_allclose(images.paste(masks, boxes, 50, 70), wanted.numpy(), atol=1e-5)
