"""Where the signs of a scene stand, and how one is put there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from edgelane.data.scenes import signs
from edgelane.data.scenes.canvas import SUPERSAMPLE, Camera, Canvas
from edgelane.data.scenes.road import Road

SMALLEST, LARGEST = 15.0, 130.0  # pixels of a sign's height in a picture 640 wide
NEAREST, FARTHEST = 4.5, 90.0  # metres
ATTEMPTS = 16
SHRINK = 0.88  # after each attempt: a large sign stands so near that most places lie outside the picture


@dataclass(frozen=True)
class Placed:
    """A sign of a class or of signs.OTHERS; `x`, `y` (its middle), `z` and `height` in metres."""

    kind: str
    x: float
    y: float
    z: float
    height: float

    def draw(self, canvas: Canvas, camera: Camera, instance: int, rng: np.random.Generator) -> None:
        """The post, the sign on it, and at times leaves in front of it; `instance` 0 leaves it unlabelled."""
        metre = camera.focal / self.z
        top = camera.project(self.x, self.y, self.z)
        foot = camera.project(self.x, 0, self.z)
        steel = canvas.hazed((126, 128, 130), self.z)
        if self.y > 4:  # over the road: the arm comes from the verge
            verge = camera.project(self.x + 4.5, self.y + self.height * 0.3, self.z)
            canvas.line([(verge[0], foot[1]), verge, (top[0], verge[1])], 0.16 * metre, steel)
        else:
            canvas.line([foot, top], 0.08 * metre, steel)
        patch = signs.weathered(signs.face(self.kind, 1.5 * SUPERSAMPLE * self.height * metre, rng), rng)
        if rng.random() < 0.22:
            _draw_leaves(ImageDraw.Draw(patch), patch.size, rng)
        patch = canvas.hazed_patch(patch, self.z)
        height = self.height * metre
        width = height * patch.width / patch.height
        canvas.paste(patch, top[0] - width / 2, top[1] - height / 2, width, height, instance)
        if instance:
            canvas.remember(instance)


def place_signs(canvas: Canvas, camera: Camera, road: Road, index: int, rng: np.random.Generator) -> list[Placed]:
    """One to five signs and up to two unlabelled ones, apart from each other and inside the picture.

    The first one's class goes round with the scene's index, so that even a few scenes hold all classes.
    """
    count = int(rng.choice((1, 2, 3, 4, 5), p=(0.08, 0.2, 0.3, 0.27, 0.15)))
    kinds = [signs.SIGN_CLASSES[index % len(signs.SIGN_CLASSES)]]
    kinds += [str(rng.choice(signs.SIGN_CLASSES)) for _ in range(count - 1)]
    kinds += [str(rng.choice(signs.OTHERS)) for _ in range(int(rng.integers(0, 3)))]
    placed: list[Placed] = []
    taken: list[tuple[float, float, float]] = []  # x, y and radius in pixels
    for kind in kinds:
        pixels = canvas.width / 640 * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
        for attempt in range(ATTEMPTS):
            sign = _propose(kind, pixels * SHRINK**attempt, camera, road, rng)
            x, y = camera.project(sign.x, sign.y, sign.z)
            radius = 0.62 * sign.height * camera.focal / sign.z
            inside = radius < x < canvas.width - radius and radius < y < canvas.height - radius
            if inside and all(np.hypot(x - a, y - b) > radius + r for a, b, r in taken):
                placed.append(sign)
                taken.append((x, y, radius))
                break
    return placed


def _propose(kind: str, pixels: float, camera: Camera, road: Road, rng: np.random.Generator) -> Placed:
    light = kind == "trafficlight"
    height = float(rng.uniform(1.0, 1.6) if light else rng.uniform(0.7, 1.3))
    z = float(np.clip(camera.focal * height / pixels, NEAREST, FARTHEST))
    if light and rng.random() < 0.35:
        return Placed(kind, float(rng.choice(road.lane_centres)), float(rng.uniform(4.6, 5.6)), z, height)
    right = rng.random() < 0.7
    gap = float(rng.uniform(0.5, 2.4)) + height / 2
    x = road.right + gap if right else road.left - gap
    return Placed(kind, x, float(rng.uniform(1.9, 2.8)) + (0.5 if light else 0.0), z, height)


def _draw_leaves(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Foliage in front of one side of a sign, over at most about a third of it."""
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.5)
    cx, cy = (size[i] * (0.5 + 0.55 * f) for i, f in enumerate((np.cos(angle), np.sin(angle))))
    spread = reach * min(size)
    for _ in range(26):
        x, y = cx + rng.normal(0, 0.5) * spread, cy + rng.normal(0, 0.5) * spread
        r, light = rng.uniform(0.06, 0.16) * spread * 2, rng.uniform(0.6, 1.3)
        colour = (int(56 * light), int(92 * light), int(40 * light), 255)
        draw.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), fill=colour)
