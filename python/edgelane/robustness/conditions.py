"""Image conditions: what light, lens, sensor, codec and weather do to a picture, at small named severities.

Pictures are uint8 [height, width, 3] RGB, before mean and deviation. Lengths follow the shorter side of the picture, so
that a crop of a sign and a whole scene are spoiled alike. Everything is drawn from (seed, condition, index of the
picture): the same picture is spoiled in the same way for every network and in every run.
Pillow, numpy and scipy only. The idea of fixed corruptions at graded severities is Hendrycks and Dietterich's (2019,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations").
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from edgelane.errors import EdgelaneError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
SEVERITIES = ("light", "strong")


@dataclass(frozen=True)
class Condition:
    """One condition at one severity; `label` is "fog/light" and the like, `amount` what the condition is driven by."""

    name: str
    severity: str
    amount: float

    @property
    def label(self) -> str:
        """Name and severity, as recipes and reports write them."""
        return f"{self.name}/{self.severity}"

    def __call__(self, picture: Pixels, index: int = 0, seed: int = 0) -> Pixels:
        """The picture, uint8 [h, w, 3], under this condition. `index` is the picture's place in its data set.

        Raises EdgelaneError for anything that is not a uint8 RGB picture.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise EdgelaneError(
                f"expected a picture as uint8 [height, width, 3], found {picture.dtype} {list(picture.shape)}"
            )
        rng = np.random.default_rng([seed, zlib.crc32(self.label.encode()), index])
        return _KINDS[self.name].apply(picture, self.amount, rng)


def choose(wanted: Sequence[str | Condition]) -> list[Condition]:
    """The conditions of that name: "fog" stands for all severities of fog, "fog/light" for one of them, "all" for ALL.

    Raises EdgelaneError for an unknown name.
    """
    found: list[Condition] = []
    for entry in wanted:
        matches = [entry] if isinstance(entry, Condition) else [c for c in ALL if entry in (c.name, c.label, "all")]
        if not matches:
            raise EdgelaneError(
                f"unknown condition {entry!r}; expected all or one of {', '.join(_KINDS)}, "
                f"alone or with {' or '.join(f'/{severity}' for severity in SEVERITIES)} behind it"
            )
        found += [condition for condition in matches if condition not in found]
    return found


def _brightness(picture: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(factor))


def _contrast(picture: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(picture)).enhance(factor))


def _dusk(picture: Pixels, light: float, rng: np.random.Generator) -> Pixels:
    """Little light, bluish, darker in the shadows than in the lights, and with the grain of a sensor at high gain."""
    values = _unit(picture) ** 1.25 * light
    values = values * np.array([0.86, 0.94, 1.12], dtype=np.float32)
    return _pixels(_shot(values, 900 * light, rng))


def _defocus(picture: Pixels, radius: float, rng: np.random.Generator) -> Pixels:
    """A disc as wide as the aperture's image; its rim is antialiased, so that it may be a part of a pixel wide."""
    radius *= _side(picture)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _convolve(picture, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def _motion(picture: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    """A line in a random direction, mostly horizontal: the camera turns more often than it nods."""
    half = length * _side(picture) / 2
    angle = rng.normal(0, 0.35)
    reach = int(np.ceil(half)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = np.cos(angle) * x + np.sin(angle) * y
    across = -np.sin(angle) * x + np.cos(angle) * y
    kernel = np.clip(half + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return _convolve(picture, kernel)


def _gaussian_noise(picture: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    return _pixels(_unit(picture) + rng.normal(0, deviation, picture.shape).astype(np.float32))


def _shot_noise(picture: Pixels, photons: float, rng: np.random.Generator) -> Pixels:
    return _pixels(_shot(_unit(picture), photons, rng))


def _jpeg(picture: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


def _rain(picture: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Streaks that fall side by side, a duller picture behind them."""
    height, width, side = *picture.shape[:2], _side(picture)
    scale = 3  # streaks are thinner than a pixel
    layer = Image.new("L", (width * scale, height * scale))
    draw = ImageDraw.Draw(layer)
    slant = rng.normal(0, 0.25)
    length = 0.16 * side * scale
    thickness = max(1, round(0.012 * side * scale))
    for _ in range(round(share * height * width / (0.16 * 0.012 * side**2))):
        x, y = rng.uniform(-length, width * scale + length), rng.uniform(-length, height * scale)
        long = length * rng.uniform(0.5, 1.3)
        draw.line((x, y, x + slant * long, y + long), fill=int(rng.integers(70, 170)), width=thickness)
    streaks = np.asarray(layer.resize((width, height), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    values = 0.85 * _unit(np.asarray(ImageEnhance.Color(Image.fromarray(picture)).enhance(0.75)))
    values = 0.5 + (values - 0.5) * (1 - 1.2 * share)  # the drops too small to see are a veil
    return _pixels(values + (0.92 - values) * streaks)


def _fog(picture: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """A light grey veil in soft swaths."""
    veil = density * (0.75 + 0.5 * _clouds(picture.shape[0], picture.shape[1], rng))[..., None]
    return _pixels(_unit(picture) * (1 - veil) + np.array([0.80, 0.82, 0.84], dtype=np.float32) * veil)


def _snow(picture: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Flakes of several sizes, the near ones large and unsharp, in a whitened picture."""
    height, width, side = *picture.shape[:2], _side(picture)
    layer = np.zeros((height, width), np.float32)
    for radius in (0.006, 0.012, 0.024):
        flakes = Image.new("L", (width * 2, height * 2))
        draw = ImageDraw.Draw(flakes)
        size = max(0.7, radius * side) * 2
        for _ in range(round(share / 3 * width * height * 4 / (np.pi * size**2))):
            x, y, r = rng.uniform(0, 2 * width), rng.uniform(0, 2 * height), size * rng.uniform(0.6, 1.3)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(170, 256)))
        soft = flakes.filter(ImageFilter.GaussianBlur(size / 2.5)).resize((width, height), Image.Resampling.BOX)
        layer = np.maximum(layer, np.asarray(soft, dtype=np.float32) / 255)
    values = _unit(np.asarray(ImageEnhance.Color(Image.fromarray(picture)).enhance(0.8)))
    values = values + (0.9 - values) * share
    return _pixels(values + (0.97 - values) * layer[..., None])


def _glare(picture: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A low sun or a head lamp somewhere in the picture: a core that burns out, a halo, and a veil over all."""
    height, width, side = *picture.shape[:2], _side(picture)
    cx, cy = rng.uniform(0, width), rng.uniform(0, 0.6 * height)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(x - cx, y - cy) / side
    light = strength * (1.6 * np.exp(-((distance / 0.13) ** 2)) + 0.75 * np.exp(-distance / 0.35) + 0.1)
    return _pixels(_unit(picture) + light[..., None].astype(np.float32) * np.array([1.0, 0.96, 0.86], np.float32))


def _occlusion(picture: Pixels, area: float, rng: np.random.Generator) -> Pixels:
    """A patch of `area` times the picture, any colour of the picture's surroundings, over a random place."""
    height, width = picture.shape[:2]
    ratio = np.exp(rng.uniform(-0.7, 0.7))
    h = max(1, min(height, round(np.sqrt(area * height * width * ratio))))
    w = max(1, min(width, round(area * height * width / h)))
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    result: Pixels = picture.copy()
    colour = rng.uniform(0.15, 0.55) * np.array([1.0, 1.0, 0.9]) + rng.normal(0, 0.04, (h, w, 1))
    result[y : y + h, x : x + w] = np.clip(255 * colour, 0, 255)
    return result


def _unit(picture: Pixels) -> Floats:
    values: Floats = picture.astype(np.float32) / np.float32(255)
    return values


def _pixels(values: Floats | npt.NDArray[np.float64]) -> Pixels:
    levels: Pixels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return levels


def _side(picture: Pixels) -> int:
    return int(min(picture.shape[:2]))


def _shot(values: Floats, photons: float, rng: np.random.Generator) -> Floats:
    """Each value as a count of photons, of which white has `photons`."""
    counts: Floats = (rng.poisson(np.clip(values, 0, 1) * photons) / photons).astype(np.float32)
    return counts


def _convolve(picture: Pixels, kernel: npt.NDArray[np.float64]) -> Pixels:
    from scipy import ndimage

    weights = (kernel / kernel.sum()).astype(np.float32)
    return _pixels(ndimage.convolve(_unit(picture), weights[..., None], mode="reflect"))


def _clouds(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Smooth noise [height, width] from 0 to 1: three octaves, each half as strong as the one before."""
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        cells = rng.random((2 + 2**octave, 2 + 2**octave), dtype=np.float32)
        grown = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(grown) * np.float32(0.5**octave)
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


@dataclass(frozen=True)
class _Kind:
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    amounts: tuple[float, float]  # light, strong


_KINDS = {
    "brighter": _Kind(_brightness, (1.35, 1.7)),  # factor
    "darker": _Kind(_brightness, (0.65, 0.4)),  # factor
    "dusk": _Kind(_dusk, (0.55, 0.35)),  # light left
    "contrast": _Kind(_contrast, (0.6, 0.35)),  # factor
    "defocus": _Kind(_defocus, (0.012, 0.025)),  # radius / shorter side
    "motion_blur": _Kind(_motion, (0.04, 0.09)),  # length / shorter side
    "gaussian_noise": _Kind(_gaussian_noise, (0.03, 0.08)),  # deviation / white
    "shot_noise": _Kind(_shot_noise, (200, 60)),  # photons of a white pixel
    "jpeg": _Kind(_jpeg, (40, 15)),  # quality
    "rain": _Kind(_rain, (0.06, 0.15)),  # share of the picture under streaks
    "fog": _Kind(_fog, (0.35, 0.65)),  # density
    "snow": _Kind(_snow, (0.06, 0.15)),  # share of the picture under flakes
    "glare": _Kind(_glare, (0.45, 0.9)),  # strength
    "occlusion": _Kind(_occlusion, (0.08, 0.2)),  # share of the picture
}
ALL = tuple(
    Condition(name, severity, amount)
    for name, kind in _KINDS.items()
    for severity, amount in zip(SEVERITIES, kind.amounts, strict=True)
)
