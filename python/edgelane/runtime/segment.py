"""From a picture to a mask with nothing but the `.lane` file and numpy, and the mask drawn over the picture."""

from __future__ import annotations

import colorsys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError
from edgelane.files import atomic_path
from edgelane.runtime.network import PictureNetwork
from edgelane.tasks import IGNORED

if TYPE_CHECKING:
    from PIL.Image import Image

GOLDEN_ANGLE = 0.381966  # of the colour circle: neighbouring classes get colours far apart
FIRST_HUE = 0.34  # green
OPACITY = 0.5
UNTINTED = "background"


@dataclass(frozen=True)
class MaskPrediction:
    """The mask of one image. `shares`: each class's part of its pixels, 0 to 1; times are in milliseconds.

    `mask`: uint8 [h, w] of class indices at the network's size; None where only the shares were kept.
    `infer_ms` counts the inference and the choice of the best class of each pixel.
    """

    source: str
    shares: dict[str, float]
    mask: npt.NDArray[np.uint8] | None
    preprocess_ms: float
    infer_ms: float

    @property
    def label(self) -> str:
        """The class with the largest share."""
        return max(self.shares, key=self.shares.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the mask."""
        return {
            "source": self.source,
            "shares": {name: round(share, 6) for name, share in self.shares.items()},
            "preprocess_ms": round(self.preprocess_ms, 4),
            "infer_ms": round(self.infer_ms, 4),
        }


class Segmenter(PictureNetwork):
    """A network that gives a score for each class at each pixel, [1, classes, h, w]."""

    task = "segmentation"

    def _class_count(self) -> int:
        shape = tuple(self._output.shape)
        height, width = self.preprocessing.height, self.preprocessing.width
        if len(shape) != 4 or shape[0] != 1 or shape[2:] != (height, width) or not 1 <= shape[1] <= IGNORED:
            raise EdgelaneError(
                f"{self.path}: expected an output [1, 1 to {IGNORED} classes, {height}, {width}], found {list(shape)}"
            )
        return int(shape[1])

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scores [n, classes, h, w] of prepared images [n, 3, h, w], one inference each: what
        `edgelane.training.evaluate` asks for.
        """
        return np.concatenate([self.infer(image[None]) for image in batch]).astype(np.float32)

    def predict(self, image: Image | npt.NDArray[np.uint8], source: str = "") -> MaskPrediction:
        """The mask of one RGB image (PIL, or uint8 [h, w, 3])."""
        start = time.perf_counter_ns()
        prepared = self.prepare(image)
        middle = time.perf_counter_ns()
        mask = self.infer(prepared)[0].argmax(axis=0).astype(np.uint8)
        end = time.perf_counter_ns()
        counts = np.bincount(mask.ravel(), minlength=len(self.classes))
        shares = {name: float(count) / mask.size for name, count in zip(self.classes, counts, strict=True)}
        return MaskPrediction(source, shares, mask, (middle - start) / 1e6, (end - middle) / 1e6)


def colours(count: int) -> npt.NDArray[np.uint8]:
    """uint8 [count, 3]: an RGB colour for each class; the first one is black."""
    hues = [(FIRST_HUE + index * GOLDEN_ANGLE) % 1.0 for index in range(count - 1)]
    rgb = [(0.0, 0.0, 0.0), *(colorsys.hsv_to_rgb(hue, 0.8, 0.95) for hue in hues)]
    return np.round(255 * np.array(rgb[:count])).astype(np.uint8)


def mask_picture(mask: npt.NDArray[np.uint8], count: int, size: tuple[int, int] | None = None) -> Image:
    """The mask as a picture whose values are the class indices and whose palette is `colours(count)`.

    `size`: (width, height) to enlarge it to; each pixel takes the class of the nearest.
    """
    from PIL import Image

    picture = Image.fromarray(mask)
    if size is not None:
        picture = picture.resize(size, Image.Resampling.NEAREST)
    picture.putpalette(colours(count).tobytes())
    return picture


def save_mask(path: Path, mask: npt.NDArray[np.uint8], count: int, size: tuple[int, int]) -> None:
    """Write `mask_picture` as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        mask_picture(mask, count, size).save(temporary, format="PNG")


def mask_overlay(image: Image, prediction: MaskPrediction) -> Image:
    """A copy of `image` tinted with the classes' colours, and a bar with their names and shares along the upper edge.

    A first class "background" leaves its pixels as they are.
    """
    from PIL import Image, ImageDraw, ImageFont

    assert prediction.mask is not None
    canvas = image.convert("RGB")
    names = list(prediction.shares)
    tinted = mask_picture(prediction.mask, len(names), canvas.size)
    tint = Image.new("L", canvas.size, round(255 * OPACITY))
    if names[0] == UNTINTED:
        tint = tinted.point([0, *[round(255 * OPACITY)] * 255], "L")
    canvas = Image.composite(tinted.convert("RGB"), canvas, tint)

    size = max(10, canvas.height // 24)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(canvas, "RGBA")
    draw.rectangle((0, 0, canvas.width, size * 3 // 2), fill=(12, 18, 28, 200))
    x = size // 2
    for name, colour in zip(names, colours(len(names)).tolist(), strict=True):
        if name == UNTINTED:
            continue
        text = f"{name} {prediction.shares[name]:.1%}"
        draw.rectangle((x, size // 4, x + size, size * 5 // 4), fill=(*colour, 255))
        draw.text((x + size * 3 // 2, size // 6), text, font=font, fill=(255, 255, 255, 255))
        x += size * 5 // 2 + round(draw.textlength(text, font=font))
    return canvas
