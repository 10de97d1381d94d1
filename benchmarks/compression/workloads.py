"""The workloads, each with the settings of its dense training and of its fine-tunings.

Image sizes, widths and epochs are such that the whole matrix takes less than three hours on two cores. MobileNetV2 has
twice its channels: at these image sizes the usual ones leave so little to its 1x1 convolutions that no sparsity halves
its time.
"""

from __future__ import annotations

from typing import Any

from benchmarks.compression.matrix import Workload


def _dense(epochs: int, batch_size: int) -> dict[str, Any]:
    return {"epochs": epochs, "learning_rate": 1e-3, "batch_size": batch_size}


def _recipe(epochs: int, batch_size: int, images: int, **train: Any) -> dict[str, dict[str, Any]]:
    """Fine-tuning that reaches the final sparsity in the first quarter, and int8 as `images` training images say."""
    defaults = {"learning_rate": 2e-3, "distill": {"logits": 1.0, "temperature": 4.0}}
    return {
        "prune": {"schedule": "gradual", "ramp": 0.25},
        "train": {"epochs": epochs, "batch_size": batch_size, **defaults, **train},
        "quantize": {"calibration": "mse", "images": images},
    }


def _classifier(data: str, network: str, title: str, width: float, dense: Any, recipe: Any) -> Workload:
    return Workload(
        key=f"{data}-{network}".replace("_", "-"),
        title=f"{title} x{width:g}, {'road signs' if data == 'road_signs' else 'signs of scenes'}",
        network=network,
        width=width,
        data=data,
        image_size=(48, 48),
        dense=dense,
        recipe=recipe,
    )


_RESNET = ("resnet18", "ResNet-18", 0.5, _dense(14, 16), _recipe(10, 16, 256))
_MOBILENET = ("mobilenet_v2", "MobileNetV2", 2.0, _dense(12, 32), _recipe(6, 32, 256))

WORKLOADS: tuple[Workload, ...] = (
    _classifier("road_signs", *_RESNET),
    _classifier("road_signs", *_MOBILENET),
    _classifier("scenes", *_RESNET),
    _classifier("scenes", *_MOBILENET),
    Workload(
        key="scenes-segmentation",
        title="Feature pyramid on ResNet-18 x0.5, surfaces of scenes",
        network="fpn_resnet18",
        width=0.5,
        data="scenes",
        task="segmentation",
        image_size=(96, 160),
        dense=_dense(20, 8),
        # Lane lines are few pixels: soft labels of any kind teach to leave them out.
        recipe=_recipe(8, 4, 64, weight_decay=0.01, label_smoothing=0.0, distill={"logits": 1.0, "temperature": 1.0}),
    ),
)
