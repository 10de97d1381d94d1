"""From a picture to a network's input: one function for training's val/test path and for `edgelane run`.

numpy and Pillow only, so that the computer in the vehicle needs no torch and sees exactly the pixels that training saw.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from PIL import Image

# The pictures that training and `edgelane run` read, by the end of their names.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff", ".gif")
# Means and deviations of ImageNet's RGB channels: what torchvision's pretrained weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize to (`height`, `width`) in pixels, scale to 0..1, subtract `mean` and divide by `std` per RGB channel.

    Raises EdgelaneError for a size below 1, a deviation that is not positive, or anything but three finite numbers.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise EdgelaneError(
                    f"preprocessing: {name} must be a whole number of pixels from 1 up, found {value!r}"
                )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                raise EdgelaneError(f"preprocessing: {name} must be three finite numbers (RGB), found {values!r}")
        if min(self.std) <= 0:
            raise EdgelaneError(f"preprocessing: std must be positive, found {self.std!r}")

    def to_dict(self) -> dict[str, Any]:
        """The four fields as JSON values."""
        return {"height": self.height, "width": self.width, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """Undo `to_dict`. Raises EdgelaneError that names what is missing or wrong."""
        if not isinstance(fields, Mapping):
            raise EdgelaneError(f"preprocessing: expected height, width, mean and std, found {fields!r}")
        missing = [name for name in ("height", "width", "mean", "std") if name not in fields]
        if missing:
            raise EdgelaneError(f"preprocessing: {', '.join(missing)} missing in {dict(fields)!r}")
        try:
            mean, std = (tuple(float(v) for v in fields[name]) for name in ("mean", "std"))
        except (TypeError, ValueError) as error:
            raise EdgelaneError(f"preprocessing: mean and std must be numbers, found {dict(fields)!r}") from error
        return cls(fields["height"], fields["width"], mean, std)  # type: ignore[arg-type]  # __post_init__ checks the length

    def resize(self, image: Image.Image) -> Image.Image:
        """An RGB picture of `height` x `width`: bilinear with antialiasing; a picture of that size is left as it is."""
        from PIL import Image

        return image.resize((self.width, self.height), Image.Resampling.BILINEAR)

    def apply(self, image: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The network's input, float32 [3, height, width].

        `image`: a Pillow picture of any mode, or uint8 [h, w, 3] RGB ([h, w] grey and [h, w, 4] RGBA are converted).
        Raises EdgelaneError for anything else.
        """
        # Channel by channel: with the three channels innermost, numpy's loops would be three elements long.
        pixels: npt.NDArray[np.float32] = (
            np.asarray(self.resize(to_rgb(image))).transpose(2, 0, 1).astype(np.float32, order="C")
        )
        std = np.asarray(self.std, dtype=np.float32)[:, None, None]
        pixels *= np.float32(1 / 255) / std
        pixels -= np.asarray(self.mean, dtype=np.float32)[:, None, None] / std
        return pixels


def to_rgb(image: Image.Image | npt.NDArray[np.uint8]) -> Image.Image:
    """An RGB picture, turned upright as its EXIF orientation says; transparency is dropped, 16-bit grey scaled to 8.

    Raises EdgelaneError for an empty picture or an array that is not uint8 [h, w], [h, w, 3] or [h, w, 4].
    """
    from PIL import Image, ImageOps

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            raise EdgelaneError(
                f"expected a picture as uint8 [height, width, 3], found {image.dtype} {list(image.shape)}"
            )
        if image.size == 0:
            raise EdgelaneError(f"expected a picture with pixels, found an empty array {list(image.shape)}")
        return Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
    if not isinstance(image, Image.Image):
        raise EdgelaneError(f"expected a Pillow picture or a uint8 array, found {type(image).__name__}")
    if image.width == 0 or image.height == 0:
        raise EdgelaneError(f"expected a picture with pixels, found {image.width}x{image.height}")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it to white
        return Image.fromarray((np.asarray(upright).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert("RGB")


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Decode the picture at `path` completely, as upright RGB.

    Raises EdgelaneError with the path and the reason when it is missing, not a picture, or damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except FileNotFoundError as error:
        raise EdgelaneError(f"{path} does not exist: give the path of a picture") from error
    except EdgelaneError:
        raise
    except Exception as error:  # on damaged bytes Pillow's decoders raise OSError, SyntaxError, struct.error and more
        reason = "not a picture that Pillow can open" if isinstance(error, Image.UnidentifiedImageError) else error
        raise EdgelaneError(f"cannot read the picture {Path(path)}: {reason}") from error
