"""Back from a checkpoint: the same modules, masks and quantisers around the stored numbers. And the way out, to plain
modules.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression import channels
from edgelane.compression.masks import Mask, add_mask, layers_by_weight, masked_layers, remove_mask, stored_weight
from edgelane.compression.patterns import pattern_named
from edgelane.compression.qat import fix_scales, learn_scales
from edgelane.compression.quantization import requantize_structure
from edgelane.compression.record import set_record
from edgelane.errors import EdgelaneError

_MASK_KEY = ".parametrizations.weight.0.mask"


def rebuild(model: nn.Module, compression: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> nn.Module:
    """The compressed module that `state_dict` was taken from, in eval mode.

    model: the network as it was before compression (its weights do not matter).
    compression: what `record_of` gave, stored beside the state_dict.
    state_dict: of the compressed model, or of `finalize(model)`; in the latter the masks come from the zeros.
    Raises EdgelaneError when the three do not belong together.
    """
    try:
        pruning, quantization = compression.get("pruning"), compression.get("quantization")
        rebuilt = copy.deepcopy(model).eval()
        masked = any(key.endswith(_MASK_KEY) for key in state_dict)
        if pruning and pruning["pattern"] == "channel":
            channels.resize_to(rebuilt, pruning["shapes"])
        elif pruning and masked:
            _add_open_masks(rebuilt, pruning)
        if quantization:
            rebuilt = requantize_structure(rebuilt, quantization)
            if any(key.endswith(".log_scale") for key in state_dict):
                learn_scales(rebuilt)
        rebuilt.load_state_dict(_with_versions(state_dict, rebuilt))
        if pruning and pruning["pattern"] != "channel" and not masked:
            _add_open_masks(rebuilt, pruning)
            _close_on_zeros(rebuilt)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        done = " and ".join(compression) or "nothing"
        reason = " ".join(str(error).split())[:300]
        raise EdgelaneError(f"the checkpoint ({done}) does not fit {type(model).__name__}: {reason}") from error
    set_record(rebuilt, **compression)
    return rebuilt.eval()


def _with_versions(state_dict: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The same tensors with the layout versions of today's modules, which a checkpoint does not hold and MNASNet
    insists on.
    """
    versioned = OrderedDict(state_dict)
    versioned._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    return versioned


def _add_open_masks(model: nn.Module, pruning: Mapping[str, Any]) -> None:
    """Masks that zero nothing yet on the layers that were pruned."""
    patterns = pruning.get("patterns", {})  # what was written before layers had patterns of their own has none
    shares = pruning.get("shares", {})
    for first, layers in layers_by_weight(model, pruning["layers"]):
        pattern = pattern_named(patterns.get(first, pruning["pattern"]))
        mask = Mask(stored_weight(layers[0]).shape, pattern, shares.get(first, pruning["sparsity"]), None)
        for layer in layers:
            add_mask(layer, mask)


def _close_on_zeros(model: nn.Module) -> None:
    with torch.no_grad():
        for _, module, mask in masked_layers(model):
            mask.mask.copy_(module.weight != 0)  # type: ignore[operator]


def finalize(model: nn.Module) -> nn.Module:
    """A copy of `model` without masks: the zeros stand in the weights, and state_dict has the names of the plain
    network.

    A quantised model stays quantised, and steps of activations that were learned become constants.
    """
    final = copy.deepcopy(model)
    fix_scales(final)
    for _, module, _ in list(masked_layers(final)):
        remove_mask(module)
    return final
