"""The workloads, each with the settings of its dense training and of its fine-tunings.

Image sizes, widths and epochs are such that the whole matrix takes less than three hours on two cores. MobileNetV2 has
twice its channels: at these image sizes the usual ones leave so little to its 1x1 convolutions that no sparsity halves
its time.
"""

from __future__ import annotations

from typing import Any

from benchmarks.compression.matrix import Workload

_DISTILL = {"logits": 1.0, "temperature": 4.0}


def _recipe(epochs: int, batch_size: int, images: int) -> dict[str, dict[str, Any]]:
    return {
        "prune": {"schedule": "gradual", "ramp": 0.5},
        "train": {"epochs": epochs, "learning_rate": 1e-3, "batch_size": batch_size, "distill": _DISTILL},
        "quantize": {"calibration": "mse", "images": images},
    }


def _dense(epochs: int, batch_size: int) -> dict[str, Any]:
    return {"epochs": epochs, "learning_rate": 1e-3, "batch_size": batch_size}


WORKLOADS: tuple[Workload, ...] = (
    *(
        Workload(
            key=f"{data.replace('_', '-')}-{network.replace('_', '-')}",
            title=f"{title}, {words}",
            network=network,
            width=width,
            data=data,
            image_size=(48, 48),
            dense=_dense(dense_epochs, batch_size),
            recipe=_recipe(epochs, batch_size, 256),
        )
        for data, words in (("road_signs", "road signs"), ("scenes", "signs of scenes"))
        for network, title, width, dense_epochs, epochs, batch_size in (
            ("resnet18", "ResNet-18 x0.5", 0.5, 14, 10, 16),
            ("mobilenet_v2", "MobileNetV2 x2", 2.0, 12, 6, 32),
        )
    ),
    Workload(
        key="scenes-segmentation",
        title="Feature pyramid on ResNet-18 x0.5, surfaces of scenes",
        network="fpn_resnet18",
        width=0.5,
        data="scenes",
        task="segmentation",
        image_size=(96, 160),
        dense=_dense(20, 8),
        recipe=_recipe(10, 8, 64),
    ),
)
