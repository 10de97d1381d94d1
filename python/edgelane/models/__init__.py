"""Any torchvision classification network by its torchvision name, with a final layer for the caller's classes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from torch import Tensor, nn

# By default these two have auxiliary classifiers: more outputs in training, which a deployed network does not have.
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
_IMAGENET_CLASSES = 1000


def names() -> list[str]:
    """The names `create` takes, sorted."""
    import torchvision

    return sorted(torchvision.models.list_models(module=torchvision.models))


def create(name: str, num_classes: int, *, pretrained: bool = False) -> nn.Module:
    """Build the network `name` with `num_classes` outputs, in training mode.

    The module takes float32 [n, 3, h, w] and returns float32 [n, num_classes], in training and evaluation alike:
    auxiliary heads (GoogLeNet, Inception v3) are left out. `pretrained` downloads torchvision's best ImageNet weights
    (or takes them from torch's cache); all layers keep them except a final layer whose size differs.

    Raises EdgelaneError for an unknown name, fewer than one class, and weights that cannot be had or do not fit.
    """
    import torchvision

    known = names()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
        raise EdgelaneError(f"there is no torchvision classification model {name!r}: {hint}")
    if num_classes < 1:
        raise EdgelaneError(f"{name}: expected at least one class, found {num_classes}")
    options: dict[str, Any] = {"num_classes": num_classes}
    if name in _WITH_AUXILIARY_HEADS:
        options.update(aux_logits=False, init_weights=not pretrained)
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if pretrained:
        _load_pretrained(model, name, num_classes)
    return model


def _load_pretrained(model: nn.Module, name: str, num_classes: int) -> None:
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
    found = {key: value for key, value in found.items() if not key.startswith(("aux1.", "aux2.", "AuxLogits."))}
    final = {key for key in wanted if key in found and wanted[key].shape != found[key].shape}
    misfits = sorted(set(wanted) ^ set(found)) + sorted(
        key
        for key in final
        if wanted[key].shape != (num_classes, *found[key].shape[1:]) or len(found[key]) != _IMAGENET_CLASSES
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
