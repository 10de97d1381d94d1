"""The zoo: every model by name, where it comes from and the sizes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelane.errors import EdgelaneError


@dataclass(frozen=True)
class Entry:
    """One model. `size`: of the timing; `small`: of the other variants, None where the architecture fixes its size.

    `complete`: a detector with all that follows its raw outputs, which is compiled up to where sizes depend on values.
    """

    name: str
    source: str  # torchvision, segmentation, detection or timm
    size: int = 224
    small: int | None = 96
    complete: bool = False

    @property
    def variant_size(self) -> int:
        """Pixels of height and width for variants that are not timed."""
        return self.size if self.complete else self.small or self.size


# Small sizes by the beginning of a name. None: positional embeddings, or a classifier behind an adaptive pooling that
# the TorchScript exporter cannot write for other sizes.
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "alexnet": {"small": None},
    "densenet": {"small": 64},
    "inception_v3": {"size": 299, "small": 128},
    "maxvit_t": {"small": None},
    "resnet": {"small": 64},
    "resnext": {"small": 64},
    "wide_resnet": {"small": 64},
    "shufflenet": {"small": 64},
    "mobilenet": {"small": 64},
    "mnasnet": {"small": 64},
    "regnet": {"small": 64},
    "squeezenet": {"small": 64},
    "efficientnet": {"small": 64},
    "convnext": {"small": 64},
    "vgg": {"small": None},
    "googlenet": {"small": 64},
    "vit": {"small": None},
    "swin": {"small": 128},
}
# Ordered as they are tried, cheap first; the rest are only giants of families that stand here already.
GIANTS = (
    "convnext_large", "efficientnet_b7", "efficientnet_v2_l", "regnet_x_32gf", "regnet_y_16gf", "regnet_y_32gf",
    "regnet_y_128gf", "vit_l_16", "vit_l_32", "vit_h_14", "wide_resnet101_2", "resnext101_64x4d", "swin_b", "swin_v2_b",
)  # fmt: skip
SEGMENTERS = (
    "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50", "deeplabv3_resnet50", "fcn_resnet101",
    "deeplabv3_resnet101",
)  # fmt: skip
# The size of the timing and the small one, 0 where SSD has one size of its own.
DETECTORS = {
    "ssdlite320_mobilenet_v3_large": (320, 0),
    "ssd300_vgg16": (300, 0),
    "retinanet_resnet50_fpn": (320, 128),
    "retinanet_resnet50_fpn_v2": (320, 128),
    "fcos_resnet50_fpn": (320, 128),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 128),
    "fasterrcnn_mobilenet_v3_large_fpn": (320, 128),
    "fasterrcnn_resnet50_fpn": (320, 128),
    "fasterrcnn_resnet50_fpn_v2": (320, 128),
    "maskrcnn_resnet50_fpn": (320, 128),
    "maskrcnn_resnet50_fpn_v2": (320, 128),
}
COMPLETE = (
    "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn",
)  # fmt: skip
COMPLETE_SIZE = 112  # of the image, which the network itself resizes
# Convolutional models of timm, and a few that mix attention in. The value is the small size, 0 where it is fixed.
TIMM = {
    "convnext_atto": 64, "convnext_femto_ols": 64, "convnextv2_atto": 64, "cspdarknet53": 64, "cspresnet50": 64,
    "cs3darknet_s": 64, "darknet53": 64, "dla34": 64, "dm_nfnet_f0": 64, "dpn68": 64, "eca_nfnet_l0": 64,
    "ecaresnet26t": 64, "efficientnet_lite0": 64, "ese_vovnet19b_dw": 64, "fastvit_t8": 64, "fasternet_t0": 64,
    "fbnetc_100": 64, "fbnetv3_b": 64, "gcresnext26ts": 64, "gernet_s": 64, "ghostnet_100": 64, "ghostnetv2_100": 64,
    "hardcorenas_a": 64, "hgnet_tiny": 64, "hgnetv2_b0": 64, "hrnet_w18_small": 64, "inception_next_atto": 64,
    "inception_v4": 96, "inception_resnet_v2": 96, "lcnet_050": 64, "legacy_seresnet18": 64, "legacy_xception": 96,
    "mambaout_femto": 64, "mixnet_s": 64, "mnasnet_small": 64, "mobilenetv3_rw": 64, "mobilenetv4_conv_small": 64,
    "mobilenetv4_conv_medium": 64, "mobileone_s0": 64, "nf_regnet_b0": 64, "nf_resnet50": 64, "poolformer_s12": 64,
    "rdnet_tiny": 64, "regnetx_002": 64, "regnety_002": 64, "regnetz_b16": 64, "repghostnet_050": 64, "repvgg_a0": 64,
    "repvit_m0_9": 64, "res2net50_26w_4s": 64, "resnest14d": 64, "resnet18d": 64, "resnet26t": 64, "resnet50_gn": 64,
    "resnetblur18": 64, "resnetv2_50": 64, "rexnet_100": 64, "selecsls42b": 64, "seresnet50": 64, "skresnet18": 64,
    "starnet_s1": 64, "tf_efficientnet_b0": 64, "tf_efficientnetv2_b0": 64, "tf_mixnet_s": 64, "tinynet_e": 64,
    "tresnet_m": 64, "xception41": 96,
    "caformer_s18": 64, "coatnet_nano_rw_224": 0, "convformer_s18": 64, "edgenext_xx_small": 64,
    "efficientformer_l1": 0, "efficientvit_b0": 64, "efficientvit_m0": 0, "levit_128s": 0,
    "mobilenetv4_hybrid_medium": 64, "mobilevit_xxs": 64, "mobilevitv2_050": 64, "pvt_v2_b0": 64, "visformer_tiny": 0,
}  # fmt: skip


def _classifiers() -> list[Entry]:
    import torchvision

    entries = []
    for name in torchvision.models.list_models(module=torchvision.models):
        family = next(prefix for prefix in CLASSIFIERS if name.startswith(prefix))
        entries.append(Entry(name, "torchvision", **CLASSIFIERS[family]))
    return sorted(entries, key=lambda entry: entry.name in GIANTS)


def entries() -> list[Entry]:
    """Every model of the zoo."""
    small = _classifiers()
    giants = [entry for entry in small if entry.name in GIANTS]
    return [
        *(entry for entry in small if entry.name not in GIANTS),
        *(Entry(name, "segmentation", 256, 64) for name in SEGMENTERS),
        *(Entry(name, "detection", size, small_size or None) for name, (size, small_size) in DETECTORS.items()),
        *(Entry(f"{name}-complete", "detection", COMPLETE_SIZE, complete=True) for name in COMPLETE),
        *(Entry(name, "timm", 224, small_size or None) for name, small_size in TIMM.items()),
        *giants,
    ]  # fmt: skip


def select(names: Sequence[str]) -> list[Entry]:
    """The entries with these names, all of them for none. Raises EdgelaneError for a name that is not in the zoo."""
    known = {entry.name: entry for entry in entries()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise EdgelaneError(
            f"not in the zoo: {', '.join(unknown)}; `python -m benchmarks.zoo --list` shows every model"
        )
    return [known[name] for name in names] if names else list(known.values())
