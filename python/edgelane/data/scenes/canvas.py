"""A picture that is drawn at twice its size, with a second, unseen one that remembers which object is where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SUPERSAMPLE = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above a flat road that bends with a constant curvature.

    Metres: X to the right, Y up, Z ahead. `focal`, `centre` and `horizon` in pixels; `height` of the camera in metres;
    `bend`: the road's middle lies at X = bend * Z² (1/m).
    """

    focal: float
    centre: float
    horizon: float
    height: float
    bend: float

    def project(self, x: float, y: float, z: float) -> Point:
        """The pixel at which a point beside the road appears; X is measured from the road's (bent) middle line."""
        return (
            self.centre + self.focal * (x + self.bend * z * z) / z,
            self.horizon + self.focal * (self.height - y) / z,
        )

    def depth_of_row(self, row: float) -> float:
        """The distance Z at which the ground appears in pixel row `row` below the horizon."""
        return self.focal * self.height / (row - self.horizon)


def depths(near: float, far: float, count: int) -> npt.NDArray[np.float64]:
    """`count` distances from `near` to `far`, each the same factor from the last: even steps in the picture."""
    steps: npt.NDArray[np.float64] = near * (far / near) ** (np.arange(count) / (count - 1))
    return steps


class Canvas:
    """What is drawn last covers what is there. `instance` 1..255 marks an object, 0 is everything else."""

    def __init__(self, width: int, height: int, haze: Colour, haze_depth: float) -> None:
        self.width, self.height = width, height
        self.image = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE))
        self.draw = ImageDraw.Draw(self.image)
        self.instances = Image.new("L", (width, height))
        self._marks = ImageDraw.Draw(self.instances)
        self.covered: dict[int, int] = {}  # instance → pixels it had when drawn, before anything came in front
        self._haze, self._haze_depth = haze, haze_depth

    def hazed(self, colour: Sequence[float], depth: float) -> Colour:
        """The colour as it looks through `depth` metres of air."""
        clear = math.exp(-depth / self._haze_depth)
        (r, g, b), (hr, hg, hb) = colour, self._haze
        return int(hr + clear * (r - hr)), int(hg + clear * (g - hg)), int(hb + clear * (b - hb))

    def hazed_patch(self, patch: Image.Image, depth: float) -> Image.Image:
        """`hazed` for every pixel of an RGBA picture."""
        alpha = patch.getchannel("A")
        air = Image.new("RGB", patch.size, self._haze)
        mixed = Image.blend(patch.convert("RGB"), air, 1 - math.exp(-depth / self._haze_depth))
        mixed.putalpha(alpha)
        return mixed

    def polygon(self, points: Iterable[Point], colour: Colour, instance: int = 0) -> None:
        """A filled polygon; `points` in output pixels."""
        corners = list(points)
        self.draw.polygon([(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in corners], fill=colour)
        self._marks.polygon(corners, fill=instance)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, instance: int = 0) -> None:
        """An upright filled rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, instance)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, instance: int = 0) -> None:
        """A filled ellipse around (x, y)."""
        s = SUPERSAMPLE
        self.draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=colour)
        self._marks.ellipse((x - rx, y - ry, x + rx, y + ry), fill=instance)

    def line(self, points: Sequence[Point], thickness: float, colour: Colour) -> None:
        """A line of `thickness` output pixels, at least half a pixel."""
        width = max(1, round(thickness * SUPERSAMPLE))
        self.draw.line([(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in points], fill=colour, width=width)
        self._marks.line(list(points), fill=0, width=max(1, round(thickness)))

    def paste(self, patch: Image.Image, x0: float, y0: float, width: float, height: float, instance: int) -> None:
        """An RGBA patch, shrunk into the box at (x0, y0)."""
        s = SUPERSAMPLE
        size = max(2, round(width * s)), max(2, round(height * s))
        small = patch.resize(size, Image.Resampling.BOX if size[0] < patch.width else Image.Resampling.BILINEAR)
        self.image.paste(small, (round(x0 * s), round(y0 * s)), small.getchannel("A"))
        opaque = small.getchannel("A").resize((max(1, round(width)), max(1, round(height))), Image.Resampling.BOX)
        self.instances.paste(instance, (round(x0), round(y0)), opaque.point(lambda a: 255 * (a > 127)))

    def remember(self, instance: int) -> None:
        """Note how many pixels the object just drawn has, to tell later how much of it stays visible."""
        self.covered[instance] = int(np.count_nonzero(self.marks() == instance))

    def visible(self, instance: int) -> tuple[tuple[float, float, float, float], float] | None:
        """The box (x0, y0, x1, y1) of what is seen of the object, and which part of it is; None when nothing is."""
        seen = self.marks() == instance
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if rows.size == 0:
            return None
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        return box, float(seen.sum()) / self.covered[instance]

    def marks(self) -> npt.NDArray[np.uint8]:
        """uint8 [height, width]: the instance at every pixel."""
        return np.asarray(self.instances)
