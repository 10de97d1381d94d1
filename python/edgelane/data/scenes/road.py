"""The road: its lanes and verges in metres, and how they look."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from edgelane.data.scenes.canvas import Camera, Canvas, Colour, depths
from edgelane.data.scenes.scenery import Weather, shaded

FAR = 250.0  # metres; a road ends in less than a pixel there
LANES_SEEN = 80.0  # metres up to which lane lines are labelled
LINE_WIDTH = 0.15
EDGE_INSET = 0.25  # from the road's edge to the middle of its edge line


@dataclass(frozen=True)
class Road:
    """`lines`: X of every lane line in metres, left to right, the first and last being the edge lines."""

    left: float
    right: float
    lines: tuple[float, ...]
    lane_centres: tuple[float, ...]
    oncoming: tuple[bool, ...]  # per lane
    town: bool


def lay_out(rng: np.random.Generator) -> Road:
    """A random road; the camera drives in one of its lanes at X = 0."""
    town = bool(rng.random() < 0.55)
    two_way = town or rng.random() < 0.5
    lanes = int(rng.choice((2, 3, 4), p=(0.55, 0.2, 0.25)))
    width = float(rng.uniform(3.1, 3.7))
    opposite = lanes // 2 if two_way else 0
    own = int(rng.integers(opposite, lanes))
    first = -(own + 0.5) * width + float(rng.normal(0, 0.18))
    lines = tuple(first + i * width for i in range(lanes + 1))
    return Road(
        left=lines[0] - EDGE_INSET,
        right=lines[-1] + EDGE_INSET,
        lines=lines,
        lane_centres=tuple(x + width / 2 for x in lines[:-1]),
        oncoming=tuple(i < opposite for i in range(lanes)),
        town=town,
    )


def strip(camera: Camera, x0: float, x1: float, near: float, far: float) -> list[tuple[float, float]]:
    """The outline of the ground between `x0` and `x1`, from `near` to `far` metres, in pixels."""
    # A bend needs a corner about every 30 % of distance; a dash is so short that its ends are enough.
    steps = depths(near, far, 2 + int(4 * np.log(far / near))).tolist()
    return [camera.project(x0, 0, z) for z in steps] + [camera.project(x1, 0, z) for z in reversed(steps)]


def nearest_row(canvas: Canvas, camera: Camera) -> float:
    """The depth just below the picture's lower edge, so that the ground reaches it."""
    return camera.depth_of_row(canvas.height + 2)


def draw(canvas: Canvas, camera: Camera, road: Road, weather: Weather, rng: np.random.Generator) -> None:
    """Ground, verges, asphalt with its wear, and the lane lines."""
    near = nearest_row(canvas, camera)
    _draw_ground(canvas, camera, road, near, rng)
    grey = float(rng.uniform(72, 122))
    asphalt: Colour = (int(grey), int(grey * rng.uniform(0.98, 1.02)), int(grey * rng.uniform(0.98, 1.06)))
    # Bands from far to near, so that the haze grows with the distance.
    for far_end, near_end in _bands(near):
        mean = (far_end * near_end) ** 0.5
        canvas.polygon(strip(camera, road.left, road.right, near_end, far_end), canvas.hazed(asphalt, mean))
        for centre in road.lane_centres:
            for track in (-0.8, 0.8):
                tone = canvas.hazed(shaded(asphalt, 0.93), mean)
                canvas.polygon(strip(camera, centre + track - 0.25, centre + track + 0.25, near_end, far_end), tone)
    for _ in range(int(rng.integers(0, 5))):  # repairs
        x, z = rng.uniform(road.left + 0.5, road.right - 1.5), rng.uniform(near, 35)
        tone = canvas.hazed(shaded(asphalt, rng.uniform(0.82, 1.12)), z)
        canvas.polygon(strip(camera, x, x + rng.uniform(0.4, 1.3), z, z + rng.uniform(0.6, 5)), tone)
    _draw_lines(canvas, camera, road, near, rng)


def _bands(near: float) -> list[tuple[float, float]]:
    ends = depths(FAR, near, 9).tolist()
    return [(far_end, near_end * 0.999) for far_end, near_end in pairwise(ends)]


def _draw_ground(canvas: Canvas, camera: Camera, road: Road, near: float, rng: np.random.Generator) -> None:
    meadows: tuple[Colour, ...] = ((98, 124, 62), (116, 130, 72), (84, 108, 58), (150, 140, 96))
    paved: tuple[Colour, ...] = ((142, 138, 132), (128, 126, 124), (154, 146, 136))
    meadow = meadows[int(rng.integers(len(meadows)))]
    canvas.rectangle(0, camera.horizon, canvas.width, canvas.height, canvas.hazed(meadow, FAR))
    for far_end, near_end in _bands(near):
        y0, y1 = camera.project(0, 0, far_end)[1], camera.project(0, 0, near_end)[1]
        mean = (far_end * near_end) ** 0.5
        canvas.rectangle(0, y0, canvas.width, y1 + 1, canvas.hazed(shaded(meadow, rng.uniform(0.95, 1.05)), mean))
    side = paved[int(rng.integers(len(paved)))] if road.town else (134, 124, 104)
    width = rng.uniform(2.2, 4.5) if road.town else rng.uniform(0.4, 1.2)
    for x0, x1 in ((road.left - width, road.left), (road.right, road.right + width)):
        canvas.polygon(strip(camera, x0, x1, near, FAR), canvas.hazed(side, 20))
    if road.town:  # kerbs
        for x in (road.left, road.right):
            canvas.polygon(strip(camera, x - 0.12, x + 0.12, near, 90), canvas.hazed((176, 174, 168), 15))


def _draw_lines(canvas: Canvas, camera: Camera, road: Road, near: float, rng: np.random.Generator) -> None:
    wear = rng.uniform(0.72, 1.0)
    white, yellow = shaded((236, 236, 228), wear), shaded((232, 186, 60), wear)
    middle_yellow = rng.random() < 0.4
    for place, x in enumerate(road.lines):
        edge = place in (0, len(road.lines) - 1)
        middle = not edge and road.oncoming[place - 1] != road.oncoming[place]
        colour = yellow if middle and middle_yellow else white
        if edge or (middle and len(road.lane_centres) > 2):
            for shift in (-0.14, 0.14) if middle else (0.0,):
                _draw_dash(canvas, camera, x + shift, near, 140.0, colour)
            continue
        dash, gap = (3.0, 6.0) if not road.town else (2.5, 3.5)
        start = near - rng.uniform(0, dash + gap)
        while start < 120:
            _draw_dash(canvas, camera, x, max(start, near), start + dash, colour)
            start += dash + gap


def _draw_dash(canvas: Canvas, camera: Camera, x: float, near: float, far: float, colour: Colour) -> None:
    if far <= near:
        return
    # In pieces, so that a long line fades into the haze.
    pieces = max(1, round(4 * np.log(far / near)))
    ends = depths(near, far, pieces + 1).tolist()
    half = LINE_WIDTH / 2
    for a, b in pairwise(ends):
        canvas.polygon(strip(camera, x - half, x + half, a, b), canvas.hazed(colour, b))


def draw_zebra(canvas: Canvas, camera: Camera, road: Road, z: float) -> None:
    """A pedestrian crossing over the whole road, `z` metres ahead."""
    for x in np.arange(road.left + 0.5, road.right - 0.6, 1.0):
        canvas.polygon(strip(camera, float(x), float(x) + 0.5, z, z + 3), canvas.hazed((226, 226, 220), z))


def lane_lines(canvas: Canvas, camera: Camera, road: Road) -> list[npt.NDArray[np.float32]]:
    """float32 [k, 2]: pixels (x, y) of each lane line inside the picture, near to far; unseen lines are left out."""
    seen = depths(camera.depth_of_row(canvas.height - 0.5), LANES_SEEN, 48).tolist()
    lines = []
    for x in road.lines:
        points = np.array([camera.project(x, 0, z) for z in seen], dtype=np.float32)
        inside = (points[:, 0] >= 0) & (points[:, 0] <= canvas.width - 1) & (points[:, 1] <= canvas.height - 1)
        if inside.sum() >= 2:
            lines.append(points[inside])
    return lines


def drivable(canvas: Canvas, camera: Camera, road: Road, blocked: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """uint8 [height, width]: 1 where the road's surface is seen, 0 elsewhere and where it is `blocked`."""
    mask = Image.new("L", (canvas.width, canvas.height))
    ImageDraw.Draw(mask).polygon(strip(camera, road.left, road.right, nearest_row(canvas, camera), FAR), fill=1)
    return np.asarray(mask) * ~blocked
