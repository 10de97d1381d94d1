"""Cars, vans, lorries and buses as boxes in perspective, seen from behind or from the front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgelane.data.scenes.canvas import Camera, Canvas, Colour
from edgelane.data.scenes.scenery import shaded

_PAINTS: tuple[Colour, ...] = (
    (188, 190, 194), (232, 232, 230), (36, 38, 42), (92, 96, 102), (150, 26, 28), (30, 58, 118), (62, 92, 74),
    (196, 160, 92), (112, 60, 36),
)  # fmt: skip
_GLASS: Colour = (44, 54, 66)
_RUBBER: Colour = (24, 24, 26)


@dataclass(frozen=True)
class Shape:
    """A kind of vehicle: metres, and where its cabin begins and ends as parts of the length (0: it is one box)."""

    width: float
    length: float
    height: float
    belt: float  # height of the lower edge of the windows
    cabin: tuple[float, float]  # at the belt
    roof: tuple[float, float]


SHAPES = {
    "car": Shape(1.8, 4.3, 1.45, 0.92, (0.03, 0.72), (0.16, 0.55)),
    "suv": Shape(1.9, 4.5, 1.72, 1.08, (0.0, 0.75), (0.05, 0.62)),
    "van": Shape(1.95, 5.0, 2.05, 1.2, (0.0, 0.86), (0.0, 0.76)),
    "lorry": Shape(2.45, 8.5, 3.4, 3.2, (0.0, 0.0), (0.0, 0.0)),
    "bus": Shape(2.5, 11.0, 3.1, 1.35, (0.0, 1.0), (0.0, 1.0)),
}


def draw(
    canvas: Canvas, camera: Camera, x: float, z: float, oncoming: bool, instance: int, rng: np.random.Generator
) -> None:
    """One random vehicle around `x`, its near end at `z`."""
    kind = str(rng.choice(list(SHAPES), p=(0.5, 0.22, 0.12, 0.1, 0.06)))
    shape = SHAPES[kind]
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    half, far = shape.width / 2, z + shape.length
    metre = camera.focal / z

    def tone(colour: Colour, light: float = 1.0) -> Colour:
        return canvas.hazed(shaded(colour, light), z)

    def quad(corners: list[tuple[float, float, float]], colour: Colour) -> None:
        canvas.polygon([camera.project(*corner) for corner in corners], colour, instance)

    def end(x0: float, x1: float, y0: float, y1: float, colour: Colour) -> None:
        """A rectangle on the near end; x from -1 to 1 across it, y in metres."""
        quad([(x + x0 * half, y1, z), (x + x1 * half, y1, z), (x + x1 * half, y0, z), (x + x0 * half, y0, z)], colour)

    def along(part: float) -> float:
        # Parts run from tail to nose; an oncoming vehicle shows its nose first.
        return far - part * shape.length if oncoming else z + part * shape.length

    # The shadow first: it is no part of the vehicle.
    shadow = [
        camera.project(x + sx * half * 1.06, 0, sz) for sx, sz in ((-1, z - 0.15), (1, z - 0.15), (1, far), (-1, far))
    ]
    canvas.polygon(shadow, canvas.hazed((34, 35, 38), z))

    flank = _visible_flank(camera, x, half, z, far)
    if flank is not None:
        side = x + flank * half
        body, glass = tone(paint, 0.78), tone(_GLASS, 0.9)
        quad([(side, 0.28, z), (side, 0.28, far), (side, shape.belt, far), (side, shape.belt, z)], body)
        if shape.cabin[1] > 0:
            (a, b), (c, d) = (tuple(map(along, pair)) for pair in (shape.cabin, shape.roof))
            quad([(side, shape.belt, a), (side, shape.belt, b), (side, shape.height, d), (side, shape.height, c)], body)
            low, high = shape.belt + 0.04, shape.height - 0.12
            panes = 2 if kind != "bus" else 6
            for pane in range(panes):
                p, q = (pane + 0.08) / panes, (pane + 0.92) / panes
                quad(
                    [
                        (side, low, a + p * (b - a)),
                        (side, low, a + q * (b - a)),
                        (side, high, c + q * (d - c)),
                        (side, high, c + p * (d - c)),
                    ],
                    glass,
                )
        for part in (0.2, 0.8):
            wheel_x, wheel_y = camera.project(side, 0.33, along(part))
            scale = camera.focal / along(part)
            squeeze = min(
                1.0,
                abs(camera.project(side, 0, far)[0] - camera.project(side, 0, z)[0]) / (shape.length * metre) + 0.12,
            )
            canvas.ellipse(wheel_x, wheel_y, 0.34 * scale * squeeze, 0.34 * scale, tone(_RUBBER), instance)
            canvas.ellipse(wheel_x, wheel_y, 0.19 * scale * squeeze, 0.19 * scale, tone((128, 130, 132)), instance)

    for sx in (-0.82, 0.82):
        end(sx - 0.14, sx + 0.14, 0.0, 0.5, tone(_RUBBER))
    end(-1, 1, 0.28, shape.belt, tone(paint))
    if shape.cabin[1] > 0:
        near = shape.roof[1] if oncoming else shape.roof[0]
        depth = along(near) if kind in ("car", "suv") else z
        lip = (shape.belt, z if not oncoming else along(shape.cabin[1]))
        _greenhouse(quad, x, half, lip, (shape.height, depth), tone(paint, 0.94), tone(_GLASS))
        if oncoming and kind in ("car", "suv"):  # the bonnet, seen from slightly above
            quad(
                [
                    (x - half, shape.belt, z),
                    (x + half, shape.belt, z),
                    (x + half * 0.94, shape.belt + 0.05, lip[1]),
                    (x - half * 0.94, shape.belt + 0.05, lip[1]),
                ],
                tone(paint, 1.08),
            )
    else:
        end(-1, 1, 0.5, shape.height, tone(paint, 1.02))
        end(-0.02, 0.02, 0.6, shape.height - 0.1, tone(paint, 0.7))
        if oncoming:
            end(-0.88, 0.88, 1.5, 2.5, tone(_GLASS))

    low = 0.5 * shape.belt if shape.belt < 2 else 0.55
    lights = (244, 240, 214) if oncoming else ((232, 34, 28) if rng.random() < 0.4 else (150, 20, 20))
    for sx in (-0.82, 0.82):
        end(sx - 0.16, sx + 0.16, low + 0.12, low + 0.32, canvas.hazed(lights, z * 0.4))
    if oncoming:
        end(-0.5, 0.5, low + 0.02, low + 0.24, tone((40, 42, 46)))
    else:
        end(-0.26, 0.26, low - 0.1, low + 0.04, tone((226, 226, 218)))
    end(-1, 1, 0.26, 0.38, tone(paint, 0.6))
    canvas.remember(instance)


def _greenhouse(
    quad: Callable[[list[tuple[float, float, float]], Colour], None],
    x: float,
    half: float,
    lower: tuple[float, float],
    upper: tuple[float, float],
    paint: Colour,
    glass: Colour,
) -> None:
    """The cabin's near end: a painted trapezoid from (height, depth) `lower` to `upper` with a window in it."""
    (y0, z0), (y1, z1) = lower, upper
    quad([(x - half, y0, z0), (x + half, y0, z0), (x + 0.8 * half, y1, z1), (x - 0.8 * half, y1, z1)], paint)
    a, b = 0.06, 0.86
    ya, za, yb, zb = y0 + a * (y1 - y0), z0 + a * (z1 - z0), y0 + b * (y1 - y0), z0 + b * (z1 - z0)
    quad(
        [(x - 0.88 * half, ya, za), (x + 0.88 * half, ya, za), (x + 0.74 * half, yb, zb), (x - 0.74 * half, yb, zb)],
        glass,
    )


def _visible_flank(camera: Camera, x: float, half: float, z: float, far: float) -> int | None:
    """1: the right flank is seen, -1: the left one, None: neither."""
    if camera.project(x + half, 0, far)[0] > camera.project(x + half, 0, z)[0]:
        return 1
    if camera.project(x - half, 0, far)[0] < camera.project(x - half, 0, z)[0]:
        return -1
    return None
