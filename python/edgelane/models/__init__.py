"""Networks by name: torchvision's for classification and segmentation, and light ones for segmentation."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from edgelane.errors import EdgelaneError
from edgelane.tasks import check_trained

if TYPE_CHECKING:
    from torch import Tensor, nn

# By default these two have auxiliary classifiers: more outputs in training, which a deployed network does not have.
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
_AUXILIARY_KEYS = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")
WIDEST = 4
_PRETRAINED_CLASSES = {"classification": 1000, "segmentation": 21}  # ImageNet; Pascal VOC


def names(task: str = "classification") -> list[str]:
    """The names `create` takes for the task, sorted."""
    import torchvision

    check_trained(task, "a task")
    if task == "segmentation":
        from edgelane.models import segmentation

        return segmentation.names()
    return sorted(torchvision.models.list_models(module=torchvision.models))


def create(
    name: str, num_classes: int, *, task: str = "classification", pretrained: bool = False, width: float = 1.0
) -> nn.Module:
    """Build the network `name` with `num_classes` outputs, in training mode.

    The module takes float32 [n, 3, h, w] and returns float32 [n, num_classes], for the task "segmentation" [n,
    num_classes, h, w], in training and evaluation alike: auxiliary heads are left out. `pretrained` downloads
    torchvision's best weights (or takes them from torch's cache): for segmentation those for COCO with the classes of
    Pascal VOC, or ImageNet's for the backbone of the light networks (fpn_*). All layers keep them except a final layer
    whose size differs. `width`: times the usual number of channels, for MobileNetV2 and V3, ResNets and the fpn_*
    networks on them.

    Raises EdgelaneError for an unknown name, fewer than one class, a width that the network cannot have, and weights
    that cannot be had or do not fit.
    """
    known = names(task)
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
        raise EdgelaneError(f"there is no torchvision {task} model {name!r}: {hint}")
    if num_classes < 1:
        raise EdgelaneError(f"{name}: expected at least one class, found {num_classes}")
    if not isinstance(width, (int, float)) or not 0 < width <= WIDEST:
        raise EdgelaneError(f"width: expected a factor above 0 and up to {WIDEST}, found {width!r}")
    if width != 1 and pretrained:
        raise EdgelaneError(f"there are no pretrained weights of {name} with width {width}: leave one of the two out")
    if task == "segmentation":
        return _segmentation(name, num_classes, pretrained, width)
    model = _classification(name, num_classes, pretrained, width)
    if pretrained:
        _load_pretrained(model, name, num_classes, "classification")
    return model


def _classification(name: str, num_classes: int, pretrained: bool, width: float) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"num_classes": num_classes}
    if width != 1:
        from edgelane.models import width as widths

        return widths.build(name, width, **options)
    if name in _WITH_AUXILIARY_HEADS:
        options.update(aux_logits=False, init_weights=not pretrained)
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def _segmentation(name: str, num_classes: int, pretrained: bool, width: float) -> nn.Module:
    from edgelane.models import segmentation

    if name in segmentation.PYRAMIDS:
        backbone = segmentation.PYRAMIDS[name][0]
        features = create(backbone, _PRETRAINED_CLASSES["classification"], pretrained=pretrained, width=width)
        return segmentation.build(name, num_classes, features)
    if width != 1:
        raise EdgelaneError(f"{name} has one width; a width can be chosen for {', '.join(segmentation.PYRAMIDS)}")
    model = segmentation.build(name, num_classes)
    if pretrained:
        _load_pretrained(model, name, num_classes, "segmentation")
    return model


def _load_pretrained(model: nn.Module, name: str, num_classes: int, task: str) -> None:
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        found: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError and HTTPError are OSErrors; a wrong hash is a RuntimeError
        reason = getattr(error, "reason", None) or error
        raise EdgelaneError(
            f"cannot download the pretrained weights of {name}: {reason}; check the network, or leave out `pretrained`"
        ) from error

    wanted = model.state_dict()
    found = {key: value for key, value in found.items() if not key.startswith(_AUXILIARY_KEYS)}
    final = {key for key in wanted if key in found and wanted[key].shape != found[key].shape}
    misfits = sorted(set(wanted) ^ set(found)) + sorted(
        key
        for key in final
        if wanted[key].shape != (num_classes, *found[key].shape[1:]) or len(found[key]) != _PRETRAINED_CLASSES[task]
    )
    if misfits:
        raise EdgelaneError(
            f"the pretrained weights {weights} do not fit {name} as edgelane builds it: {misfits[0]} differs; "
            "leave out `pretrained`"
        )
    model.load_state_dict({key: wanted[key] if key in final else value for key, value in found.items()})
    if name in _WITH_AUXILIARY_HEADS:
        _absorb_input_transform(model)


def _absorb_input_transform(model: nn.Module) -> None:
    """Fold the channel-wise affine map that torchvision puts before these pretrained networks into their first layer.

    torchvision feeds them x * scale + shift (its `transform_input`), from ImageNet's mean and deviation to 0.5 and 0.5.
    A checkpoint would have to remember that switch and the exported graph would carry the arithmetic; in the first
    convolution and its BatchNorm's mean it costs nothing. Exact but for GoogLeNet's border, where padding adds zeros
    after the map here and before it there.
    """
    import torch

    first: Any = next(module for module in model.children() if hasattr(module, "conv"))  # a BasicConv2d: conv, bn
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scale, shift = std / 0.5, (mean - 0.5) / 0.5
    with torch.no_grad():
        first.bn.running_mean -= (first.conv.weight * shift.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
        first.conv.weight *= scale.view(1, 3, 1, 1)
