"""Where networks look, side by side: attribution maps through captum, and how much two networks' maps agree."""

from __future__ import annotations

import io
import itertools
import json
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgelane.errors import EdgelaneError
from edgelane.files import write_bytes
from edgelane.robustness.judging import pixels
from edgelane.tasks import IGNORED, check_trained

if TYPE_CHECKING:
    from PIL import Image

    from edgelane.data import DataBundle

METHODS = ("integrated gradients", "Grad-CAM")
STEPS = 32  # of the path that integrated gradients follow
BATCH = 32
MIN_SIDE = 5  # pixels of a Grad-CAM map: of fewer a rank correlation says nothing
Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """One picture: `picture` uint8 [h, w, 3] is item `index`, `label` the class whose score is explained.

    `answers`: the class that each network takes it for; in segmentation empty. `maps`: method → network → map, float32
    [h, w] of integrated gradients or as large as the layer's output of Grad-CAM. `agreement`: method → network other
    than the first → Spearman's rank correlation of its map with the first network's, None where a map is flat.
    """

    index: int
    picture: npt.NDArray[np.uint8]
    label: str
    answers: dict[str, str]
    maps: dict[str, dict[str, Map]]
    agreement: dict[str, dict[str, float | None]]

    def overlay(self, method: str, model: str) -> Image.Image:
        """The map as colours, from dark (looks away) to bright yellow, over the picture in grey."""
        from matplotlib import colormaps
        from PIL import Image

        values = self.maps[method][model]
        low, high = float(values.min()), float(np.percentile(values, 99.5))
        share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
        size = (self.picture.shape[1], self.picture.shape[0])
        grown = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BILINEAR))
        colours = colormaps["inferno"](grown)[..., :3]
        grey = np.asarray(Image.fromarray(self.picture).convert("L"), dtype=np.float64)[..., None] / 255
        return Image.fromarray(np.clip(255 * (0.3 * grey + 0.7 * colours), 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Saliency:
    """What `saliency` found: the first of `models` is the reference; `layer` is where Grad-CAM looked."""

    models: tuple[str, ...]
    layer: str
    looks: list[Look]

    def agreement(self, method: str, model: str) -> float | None:
        """Mean rank correlation of `model` with the first network over the pictures where there is one."""
        found = [value for look in self.looks if (value := look.agreement[method][model]) is not None]
        return float(np.mean(found)) if found else None

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON values; maps and pictures are left out."""
        return {
            "models": list(self.models),
            "layer": self.layer,
            "agreement": {
                method: {name: self.agreement(method, name) for name in self.models[1:]} for method in METHODS
            },
            "pictures": [
                {"index": look.index, "label": look.label, "answers": look.answers, "agreement": look.agreement}
                for look in self.looks
            ],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write numbers, pictures and maps into one .npz file."""
        arrays: dict[str, Any] = {"numbers": np.array(json.dumps(self.to_dict()))}
        if self.looks:
            arrays["pictures"] = np.stack([look.picture for look in self.looks])
            for method, name in itertools.product(METHODS, self.models):
                arrays[f"{method} of {name}"] = np.stack([look.maps[method][name] for look in self.looks])
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Saliency:
        """What `save` wrote. Raises EdgelaneError for a file that is missing, damaged or of something else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            numbers = json.loads(str(arrays["numbers"]))
            models = tuple(numbers["models"])
            looks = [
                Look(
                    **entry,
                    picture=arrays["pictures"][place],
                    maps={
                        method: {name: arrays[f"{method} of {name}"][place] for name in models} for method in METHODS
                    },
                )
                for place, entry in enumerate(numbers["pictures"])
            ]
            return cls(models, numbers["layer"], looks)
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise EdgelaneError(f"cannot read the saliency maps in {path}: {error}") from error


def saliency(
    models: Mapping[str, nn.Module],
    bundle: DataBundle,
    *,
    count: int = 8,
    indices: Sequence[int] | None = None,
    split: str = "test",
    layer: str | None = None,
) -> Saliency:
    """Explain the true class's score on the same pictures for each of `models`; the first is the reference.

    Integrated gradients (Sundararajan, Taly and Yan, 2017, "Axiomatic Attribution for Deep Networks") start from the
    data's mean colour; their map is the sum of magnitudes over the channels. Grad-CAM (Selvaraju et al., 2017,
    "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization") is taken at `layer`, by default
    the last convolution whose output is MIN_SIDE pixels or more in height and width and which does not make the scores;
    and without its final ReLU: a folded BatchNorm then shifts the whole map and no rank in it. Maps are compared by
    Spearman's rank correlation, as Adebayo et al. do (2018, "Sanity Checks for Saliency Maps"). In segmentation the
    class is the one after the first that covers most of the picture, and its score the sum over the pixels of it.

    indices: items to explain; without them `count` items, of each class in turn. Raises EdgelaneError for another task
    than classification and segmentation, and for a layer that one of the networks does not have.
    """
    check_trained(bundle.task, "data")
    if not models:
        raise EdgelaneError("expected at least one network to explain, found none")
    dataset = getattr(bundle, split)
    chosen = list(indices) if indices is not None else _choose(dataset, bundle, count)
    items = [dataset[index] for index in chosen]
    images = torch.stack([torch.as_tensor(image, dtype=torch.float32) for image, _ in items])
    regions, labels = _regions(items, bundle.task)
    layer = layer or last_convolution(models, images[:1], len(bundle.classes))

    maps: dict[str, dict[str, Tensor]] = {method: {} for method in METHODS}
    answers: dict[str, list[str]] = {}
    for name, model in models.items():
        scores = _Scores(model).eval()
        device = next((parameter.device for parameter in model.parameters()), images.device)
        given = images.to(device), None if regions is None else regions.to(device), labels.to(device)
        try:
            convolution = model.get_submodule(layer)
        except AttributeError as error:
            raise EdgelaneError(f"network {name} has no layer {layer!r} for Grad-CAM") from error
        maps[METHODS[0]][name], maps[METHODS[1]][name] = _explain(scores, convolution, *given)
        if regions is None:
            with torch.no_grad():
                answers[name] = [bundle.classes[place] for place in scores(given[0]).argmax(1).tolist()]

    looks = []
    for place, index in enumerate(chosen):
        own = {method: {name: values[place].numpy() for name, values in by.items()} for method, by in maps.items()}
        looks.append(
            Look(
                index=index,
                picture=pixels(images[place].numpy(), bundle.preprocessing),
                label=bundle.classes[int(labels[place])],
                answers={name: found[place] for name, found in answers.items()},
                maps=own,
                agreement={method: _agreement(by) for method, by in own.items()},
            )
        )
    return Saliency(tuple(models), layer, looks)


def last_convolution(models: Mapping[str, nn.Module], image: Tensor, classes: int) -> str:
    """The name, common to all `models`, of the last convolution that the first one runs on `image` [1, 3, h, w] with an
    output of MIN_SIDE pixels or more in each direction, and that does not itself make the scores.
    """
    first, *others = models.values()
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if output.dim() == 4 and min(output.shape[2:]) >= MIN_SIDE and output.shape[1] != classes:
                found.append(name)

        return hook

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in first.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    device = next((parameter.device for parameter in first.parameters()), image.device)
    try:
        with torch.no_grad():
            first.eval()(image.to(device))
    finally:
        for handle in handles:
            handle.remove()
    known = [{name for name, _ in other.named_modules()} for other in others]
    shared = [name for name in found if all(name in names for names in known)]
    if not shared:
        raise EdgelaneError(
            f"the networks share no convolution of {MIN_SIDE}x{MIN_SIDE} pixels or more for Grad-CAM; name a layer"
        )
    return shared[-1]


class _Scores(nn.Module):
    """Scores [n, classes], of segmentation summed over the pixels in `region` [n, h, w]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, region: Tensor | None = None) -> Tensor:
        scores: Tensor = self.model(x)
        return scores if region is None else (scores * region[:, None]).sum((2, 3))


def _explain(
    scores: _Scores, convolution: nn.Module, images: Tensor, regions: Tensor | None, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Integrated gradients [n, h, w] and Grad-CAM [n, h', w'], both float32 on the CPU."""
    from captum.attr import IntegratedGradients, LayerGradCam

    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # captum tells of every input that it makes require gradients
        paths = IntegratedGradients(scores).attribute(
            images, target=labels, additional_forward_args=regions, n_steps=STEPS, internal_batch_size=BATCH
        )
        cams = LayerGradCam(scores, convolution).attribute(images, target=labels, additional_forward_args=regions)
    return paths.detach().abs().sum(1).float().cpu(), cams.detach().sum(1).float().cpu()


def _regions(items: Sequence[tuple[Any, Any]], task: str) -> tuple[Tensor | None, Tensor]:
    """What is explained of each item: (pixels [n, h, w] as 0 and 1 or None, classes [n])."""
    if task == "classification":
        return None, torch.tensor([int(label) for _, label in items])
    labels, regions = [], []
    for _, mask in items:
        known = torch.as_tensor(mask, dtype=torch.int64)
        counts = torch.bincount(known[known != IGNORED], minlength=2)
        label = int(counts[1:].argmax()) + 1 if int(counts[1:].sum()) else 0
        labels.append(label)
        regions.append((known == label).float())
    return torch.stack(regions), torch.tensor(labels)


def _choose(dataset: Any, bundle: DataBundle, count: int) -> list[int]:
    """`count` items: of each class in turn, or spread evenly where an item has no class of its own."""
    count = min(count, len(dataset))
    if bundle.task != "classification":
        return [int(index) for index in np.linspace(0, len(dataset) - 1, count).round()]
    labels = [int(label) for label in dataset.labels]
    turns = {label: iter([i for i, own in enumerate(labels) if own == label]) for label in sorted(set(labels))}
    chosen: list[int] = []
    while len(chosen) < count:
        found = [index for turn in turns.values() if (index := next(turn, None)) is not None]
        chosen += found[: count - len(chosen)]
    return chosen


def _agreement(maps: Mapping[str, Map]) -> dict[str, float | None]:
    from scipy import stats

    first, *others = maps
    found: dict[str, float | None] = {}
    for name in others:
        if maps[first].shape != maps[name].shape:
            raise EdgelaneError(
                f"expected maps of one size, found {list(maps[first].shape)} of {first} and "
                f"{list(maps[name].shape)} of {name}"
            )
        flat = np.ptp(maps[first]) == 0 or np.ptp(maps[name]) == 0
        found[name] = None if flat else float(stats.spearmanr(maps[first].ravel(), maps[name].ravel()).statistic)
    return found
