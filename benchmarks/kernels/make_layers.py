"""Writes layers.txt: the one list of layer shapes of every kernel benchmark, read off the networks themselves.

python -m benchmarks.kernels.make_layers
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

LAYERS = Path(__file__).with_name("layers.txt")
HEADER = """\
# One line for each shape of a convolution or linear layer: written by make_layers.py, never by hand.
# network  op  ic oc  kernel_h kernel_w  stride  dilation  groups  height width (of the input)  uses  prunable
"""
NETWORKS = {
    "resnet18": (224, 224),
    "resnet50": (224, 224),
    "mobilenet_v2": (224, 224),
    "shuffle_detector": (384, 640),  # the 640x384 driving-perception backbone, with its neck and heads
}


def lines() -> list[str]:
    """The list, without its header. A layer is prunable when `edgelane.prune_model` would prune it."""
    return [line for network, size in NETWORKS.items() for line in _lines(network, size)]


def _lines(network: str, size: tuple[int, int]) -> list[str]:
    import torch
    import torchvision
    from torch import nn

    from benchmarks.models.networks import PERCEPTION
    from edgelane.compression import choose_layers

    build = PERCEPTION[network].build if network in PERCEPTION else getattr(torchvision.models, network)
    model = build().eval()
    example = torch.zeros(1, 3, *size)
    prunable = {
        choice.name for choice in choose_layers(model, "unstructured", example_inputs=example) if not choice.reason
    }
    found: Counter[str] = Counter()

    def seen(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
            x = inputs[0]
            if isinstance(module, nn.Conv2d):
                if not module.stride[0] == module.stride[1] or not module.dilation[0] == module.dilation[1]:
                    raise ValueError(f"{network} {name}: strides or dilations differ, which layers.txt cannot say")
                shape = (
                    module.in_channels,
                    module.out_channels,
                    *module.kernel_size,
                    module.stride[0],
                    module.dilation[0],
                )
                words = ["conv2d", *shape, module.groups, *x.shape[2:]]
            else:
                words = ["linear", module.in_features, module.out_features, 1, 1, 1, 1, 1, 1, 1]
            words.append("prunable" if name in prunable else "dense")
            found[" ".join(map(str, words))] += 1

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(seen(name))
    with torch.inference_mode():
        model(example)
    return [f"{network} {shape.rsplit(' ', 1)[0]} {uses} {shape.rsplit(' ', 1)[1]}" for shape, uses in found.items()]


if __name__ == "__main__":
    LAYERS.write_text(HEADER + "\n".join(lines()) + "\n", encoding="utf-8")
