"""What stands around a road: sky, hills, skyline, trees, houses, lamp posts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from edgelane.data.scenes.canvas import SUPERSAMPLE, Camera, Canvas, Colour


@dataclass(frozen=True)
class Weather:
    """Light and air: sky colours from top to horizon, the haze in front of far things, and the camera's gains."""

    name: str
    zenith: Colour
    horizon: Colour
    haze_depth: float  # metres after which about a third of a thing's own colour is left
    gain: float
    tint: tuple[float, float, float]
    clouds: Colour | None


WEATHERS = (
    Weather("clear", (74, 132, 206), (186, 212, 232), 420.0, 1.0, (1.02, 1.0, 0.97), (246, 247, 248)),
    Weather("fair", (104, 150, 204), (206, 218, 226), 260.0, 0.95, (1.0, 1.0, 1.0), (238, 238, 238)),
    Weather("overcast", (150, 156, 164), (196, 198, 200), 170.0, 0.82, (0.97, 0.99, 1.03), (172, 175, 180)),
    Weather("fog", (188, 192, 196), (206, 208, 210), 70.0, 0.92, (0.98, 1.0, 1.02), None),
    Weather("dusk", (62, 66, 112), (228, 156, 112), 200.0, 0.62, (1.12, 0.96, 0.9), (204, 132, 118)),
)

_LEAVES: tuple[Colour, ...] = ((46, 84, 38), (62, 102, 42), (78, 108, 48), (96, 104, 40), (38, 70, 44), (132, 104, 42))
_WALLS: tuple[Colour, ...] = (
    (190, 172, 146),
    (168, 104, 82),
    (206, 202, 194),
    (146, 142, 138),
    (198, 184, 120),
    (120, 132, 146),
)
_ROOFS: tuple[Colour, ...] = ((122, 58, 46), (88, 76, 70), (70, 72, 80), (140, 82, 56))


def shaded(colour: Colour, factor: float) -> Colour:
    """The colour under more or less light."""
    r, g, b = (int(min(255, c * factor)) for c in colour)
    return r, g, b


def draw_sky(canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator) -> None:
    """A gradient, and soft clouds where the weather has them."""
    # At a quarter of the size: nothing in a sky has an edge, and large pictures cost time.
    width, height = canvas.width // 2, max(2, int(camera.horizon) // 2)
    rows = np.linspace(0, 1, height)[:, None] ** 1.3
    gradient = np.array(weather.zenith) * (1 - rows) + np.array(weather.horizon) * rows
    sky = Image.fromarray(gradient.astype(np.uint8)[:, None, :]).resize((width, height))
    if weather.clouds is not None and rng.random() < 0.8:
        clouds = Image.new("L", (width, height))
        draw = ImageDraw.Draw(clouds)
        for _ in range(int(rng.integers(2, 8))):
            x, y = rng.uniform(0, width), rng.uniform(0, height * 0.85)
            spread = rng.uniform(0.05, 0.22) * width
            for _ in range(int(rng.integers(4, 10))):
                dx, dy, r = rng.normal(0, spread), rng.normal(0, spread * 0.12), spread * rng.uniform(0.15, 0.5)
                draw.ellipse(
                    (x + dx - r, y + dy - 0.4 * r, x + dx + r, y + dy + 0.4 * r), fill=int(rng.integers(90, 220))
                )
        sky.paste(weather.clouds, (0, 0), clouds.filter(ImageFilter.GaussianBlur(width / 80)))
    canvas.image.paste(
        sky.resize((canvas.image.width, round(camera.horizon * SUPERSAMPLE) + 1), Image.Resampling.BILINEAR)
    )


def draw_backdrop(canvas: Canvas, camera: Camera, town: bool, rng: np.random.Generator) -> None:
    """Hills, or the skyline of a town, along the horizon."""
    unit = canvas.width / 640
    xs = np.linspace(0, canvas.width, 60)
    for depth, tall in ((260.0, 46.0), (150.0, 24.0)):
        phases, waves = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.5, 6, 3)
        ridge = sum(np.sin(xs / canvas.width * 2 * np.pi * w + p) / (1 + w) for w, p in zip(waves, phases, strict=True))
        heights = unit * tall * np.clip(0.55 + 0.5 * np.asarray(ridge), 0.1, 1.4)
        colour = canvas.hazed(_LEAVES[int(rng.integers(len(_LEAVES)))], depth)
        points = list(zip(xs.tolist(), (camera.horizon - heights).tolist(), strict=True))
        canvas.polygon([(0, camera.horizon + 1), *points, (canvas.width, camera.horizon + 1)], colour)
    if not town:
        return
    x = rng.uniform(-40, 0) * unit
    while x < canvas.width:
        width, height = rng.uniform(14, 60) * unit, rng.uniform(14, 74) * unit
        colour = canvas.hazed(_WALLS[int(rng.integers(len(_WALLS)))], 170)
        canvas.rectangle(x, camera.horizon - height, x + width, camera.horizon + 1, colour)
        window = canvas.hazed((70, 80, 96), 190)
        for wx in np.arange(x + 3 * unit, x + width - 4 * unit, 6 * unit):
            for wy in np.arange(camera.horizon - height + 4 * unit, camera.horizon - 6 * unit, 8 * unit):
                canvas.rectangle(wx, wy, wx + 2.5 * unit, wy + 4 * unit, window)
        x += width + max(0.0, rng.normal(4, 16)) * unit


def draw_tree(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """A leafy tree or a conifer that stands at (x, z)."""
    height = rng.uniform(3.5, 9)
    leaf = _LEAVES[int(rng.integers(len(_LEAVES)))]
    foot, top = camera.project(x, 0, z), camera.project(x, height, z)
    metre = camera.focal / z
    conifer = rng.random() < 0.3
    trunk = canvas.hazed((78, 62, 48), z)
    crown = height * (0.16 if conifer else 0.38)
    half = 0.14 * metre * height / 6
    canvas.rectangle(foot[0] - half, foot[1] - (crown + 0.6) * metre, foot[0] + half, foot[1], trunk)
    if conifer:
        for level in range(4):
            y0 = top[1] + level * 0.2 * height * metre
            spread = (0.10 + 0.07 * level) * height * metre
            y1 = y0 + 0.34 * height * metre
            colour = canvas.hazed(shaded(leaf, 0.75 + 0.06 * (level % 2)), z)
            canvas.polygon([(top[0], y0), (top[0] + spread, y1), (top[0] - spread, y1)], colour)
        return
    middle, radius = foot[1] - 0.66 * height * metre, 0.34 * height * metre
    for blob in range(16):
        # From the dark underside to the lit top, each blob a bit higher than those before.
        lift = blob / 16
        dx, dy = rng.uniform(-0.72, 0.72) * radius, rng.normal(0.4 - 0.9 * lift, 0.25) * radius
        r = radius * rng.uniform(0.3, 0.52)
        colour = canvas.hazed(shaded(leaf, 0.62 + 0.62 * lift + rng.uniform(-0.07, 0.07)), z)
        canvas.ellipse(foot[0] + dx, middle + dy, r, r * 0.85, colour)


def draw_house(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """A house whose road-side wall runs along the road at `x`, from `z` away."""
    depth, width, height = rng.uniform(7, 14), rng.uniform(6, 10), rng.uniform(3.2, 9.5)
    away = float(np.sign(x))
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    roof = _ROOFS[int(rng.integers(len(_ROOFS)))]
    far = z + depth
    front, side = canvas.hazed(wall, z), canvas.hazed(shaded(wall, 0.74), z + depth / 2)
    outer = x + away * width

    def quad(points: list[tuple[float, float, float]], colour: Colour) -> None:
        canvas.polygon([camera.project(*point) for point in points], colour)

    gable, middle = height + rng.uniform(1.2, 2.6), x + away * width / 2
    quad(
        [(x, height, z), (x, height, far), (middle, gable, far), (middle, gable, z)], canvas.hazed(roof, z + depth / 2)
    )
    quad([(x, 0, z), (x, 0, far), (x, height, far), (x, height, z)], side)
    quad([(x, 0, z), (outer, 0, z), (outer, height, z), (middle, gable, z), (x, height, z)], front)
    glass = canvas.hazed((62, 74, 92) if rng.random() < 0.75 else (232, 206, 132), z + depth / 2)
    for storey in np.arange(1.0, height - 1.2, 2.7):
        for start in np.arange(z + 0.9, far - 1.4, 2.4):
            quad(
                [
                    (x, storey, start),
                    (x, storey, start + 1.1),
                    (x, storey + 1.3, start + 1.1),
                    (x, storey + 1.3, start),
                ],
                glass,
            )
        for start in np.arange(0.9, width - 1.4, 2.4):
            a, b = x + away * start, x + away * (start + 1.1)
            quad([(a, storey, z), (b, storey, z), (b, storey + 1.3, z), (a, storey + 1.3, z)], glass)


def draw_lamp_post(canvas: Canvas, camera: Camera, x: float, z: float) -> None:
    """A post with an arm over the road."""
    colour = canvas.hazed((104, 108, 112), z)
    metre = camera.focal / z
    foot, top, end = (
        camera.project(x, 0, z),
        camera.project(x, 7, z),
        camera.project(x - float(np.sign(x)) * 1.6, 7.2, z),
    )
    canvas.line([foot, top], 0.14 * metre, colour)
    canvas.line([top, end], 0.1 * metre, colour)
    canvas.ellipse(end[0], end[1], 0.34 * metre, 0.12 * metre, canvas.hazed((186, 188, 180), z))
