"""torchvision detectors with random weights that find something: spread scores, boxes that are not their anchors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.zoo.build import randomize, settle
from torch import nn

from edgelane.export.detection import raw

CLASSES = 6


def small(family: str) -> Any:
    """A detector of torchvision's classes on a small backbone, in evaluation mode, with weights of its own."""
    from torchvision.models import detection
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    if family == "ssdlite":
        model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
        return prepared(model)
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    size = {"min_size": 128, "max_size": 192}
    sides = (8, 16, 32, 64, 128)  # of the anchors on the five levels
    if family == "fcos":
        generator = AnchorGenerator(tuple((side,) for side in sides), ((1.0,),) * 5)
        return prepared(detection.FCOS(body, CLASSES, anchor_generator=generator, **size))
    generator = AnchorGenerator(tuple((side, side * 1.5) for side in sides), ((0.5, 1.0, 2.0),) * 5)
    if family == "retinanet":
        return prepared(detection.RetinaNet(body, CLASSES, anchor_generator=generator, **size))
    # As many proposals as two and a half batches of the box head.
    size["rpn_post_nms_top_n_test"] = 250
    return prepared(detection.MaskRCNN(body, CLASSES, rpn_anchor_generator=generator, **size))


def prepared(model: Any) -> Any:
    """The model with settled weights whose last layers spread their results as a trained detector's do."""
    model.eval()
    size = model.transform.fixed_size[0] if model.transform.fixed_size else 128
    image = picture(size, size)
    settle(raw(model), np.stack([model.transform.normalize(_tensor(image)).numpy()]))
    if hasattr(model, "roi_heads"):
        randomize(model.roi_heads)
        spread(model, [model.rpn.head.cls_logits], image, 0.0, 2.0)
        spread(model, [model.rpn.head.bbox_pred], image, 0.0, 0.3)
        predictor = model.roi_heads.box_predictor
        spread(model, [predictor.cls_score], image, 0.0, 2.0)
        spread(model, [predictor.bbox_pred], image, 0.0, 2.0)
        if model.roi_heads.has_mask():
            spread(model, [model.roi_heads.mask_predictor.mask_fcn_logits], image, 0.0, 2.0)
        return model
    head = model.head
    if type(model).__name__ == "SSD":
        spread(model, list(head.classification_head.module_list), image, 0.0, 2.0)
        spread(model, list(head.regression_head.module_list), image, 0.0, 2.0)
    elif type(model).__name__ == "RetinaNet":
        spread(model, [head.classification_head.cls_logits], image, -3.0, 2.0)
        spread(model, [head.regression_head.bbox_reg], image, 0.0, 0.3)
    else:
        spread(model, [head.classification_head.cls_logits], image, -2.0, 2.0)
        spread(model, [head.regression_head.bbox_reg], image, 1.0, 0.5)
        spread(model, [head.regression_head.bbox_ctrness], image, 0.0, 2.0)
    return model


def spread(model: Any, layers: list[nn.Module], image: npt.NDArray[np.uint8], mean: float, deviation: float) -> None:
    """Scale the last of each layer's weights so that over an image each of its channels has this mean and deviation."""
    for layer in layers:
        last: Any = [part for part in layer.modules() if isinstance(part, nn.Conv2d | nn.Linear)][-1]
        seen: list[torch.Tensor] = []
        hook = last.register_forward_hook(
            lambda _module, _inputs, result, seen=seen: seen.append(result.transpose(0, 1).flatten(1))
        )
        expected(model, image)
        hook.remove()
        values = torch.cat(seen, dim=1)
        scale = deviation / values.std(dim=1, correction=0).clamp(min=0.05)
        with torch.no_grad():
            last.weight.mul_(scale.reshape(-1, *[1] * (last.weight.dim() - 1)))
            last.bias.mul_(scale).add_(mean - scale * values.mean(dim=1))


def picture(height: int, width: int, seed: int = 7) -> npt.NDArray[np.uint8]:
    """An RGB image of random rectangles, so that places differ."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 80, (height, width, 3), dtype=np.uint8)
    for _ in range(12):
        top, left = generator.integers(0, height), generator.integers(0, width)
        bottom, right = top + generator.integers(8, height), left + generator.integers(8, width)
        pixels[top:bottom, left:right] += generator.integers(0, 80, 3, dtype=np.uint8)
    return pixels


def _tensor(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)


def expected(model: Any, image: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """What torchvision itself finds."""
    with torch.no_grad():
        (found,) = model([_tensor(image)])
    return {name: value.numpy() for name, value in found.items()}
