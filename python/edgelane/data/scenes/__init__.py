"""Rendered road scenes with exact labels: data where there is no data.

Simple drawings, yet not easy: five kinds of weather, bends, towns and fields, traffic, signs from a dozen pixels up,
some of them turned, faded, dirty or half behind leaves, and other signs that only resemble the labelled ones.
numpy and Pillow only. The same index, seed and size give the same picture wherever their versions are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import ImageFilter

from edgelane.data.scenes import road as roads
from edgelane.data.scenes import scenery, signs, vehicles
from edgelane.data.scenes.canvas import SUPERSAMPLE, Camera, Canvas
from edgelane.data.scenes.placement import Placed, place_signs
from edgelane.errors import EdgelaneError

SIGN_CLASSES = signs.SIGN_CLASSES
CLASSES = (*SIGN_CLASSES, "vehicle")
MIN_VISIBLE = 0.5  # of an object's pixels; what is hidden further has no label
GRAIN_SHIFTS = 64  # pixels in each direction
MIN_SIDE = 4.0  # pixels; what is smaller has no label


@dataclass(frozen=True)
class Scene:
    """One picture and what is in it.

    `image`: uint8 [h, w, 3]. `boxes`: float32 [n, 4], x0 y0 x1 y1 in pixels around what is visible of each object;
    `labels`: int64 [n], indices into CLASSES. `sign_boxes`, `sign_labels`: the signs among them, indices into
    SIGN_CLASSES. `lanes`: float32 [k, 2] pixels (x, y) of each lane line, near to far, also where a vehicle hides it.
    `drivable`: uint8 [h, w], 1 on the visible surface of the road. `objects`: uint8 [h, w], 1 on what is visible of
    vehicles and labelled signs.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    lanes: list[npt.NDArray[np.float32]]
    drivable: npt.NDArray[np.uint8]
    objects: npt.NDArray[np.uint8]

    @property
    def sign_boxes(self) -> npt.NDArray[np.float32]:
        """The boxes of the signs."""
        return self.boxes[self.labels < len(SIGN_CLASSES)]

    @property
    def sign_labels(self) -> npt.NDArray[np.int64]:
        """The classes of the signs."""
        return self.labels[self.labels < len(SIGN_CLASSES)]


def render(index: int, seed: int = 0, size: tuple[int, int] = (384, 640)) -> Scene:
    """Scene number `index` of the endless series `seed`, at `size` (height, width) in pixels.

    Raises EdgelaneError for a negative index or seed, or a size under 64 pixels.
    """
    height, width = size
    if index < 0 or seed < 0:
        raise EdgelaneError(f"scenes: index and seed must be 0 or more, found index {index}, seed {seed}")
    if min(size) < 64:
        raise EdgelaneError(f"scenes: a scene needs at least 64x64 pixels, found {height}x{width}")
    rng = np.random.default_rng([seed, index])
    camera = Camera(
        focal=width * float(np.exp(rng.uniform(np.log(0.65), np.log(1.2)))),
        centre=width * float(rng.normal(0.5, 0.02)),
        horizon=height * float(rng.uniform(0.4, 0.52)),
        height=float(rng.uniform(1.25, 1.9)),
        bend=float(np.clip(rng.normal(0, 0.0006), -0.0016, 0.0016)),
    )
    weather = scenery.WEATHERS[int(rng.choice(len(scenery.WEATHERS), p=(0.3, 0.28, 0.2, 0.1, 0.12)))]
    road = roads.lay_out(rng)
    canvas = Canvas(width, height, weather.horizon, weather.haze_depth)

    scenery.draw_sky(canvas, camera, weather, rng)
    scenery.draw_backdrop(canvas, camera, road.town, rng)
    roads.draw(canvas, camera, road, weather, rng)
    placed = place_signs(canvas, camera, road, index, rng)
    for sign in placed:
        if sign.kind == "crosswalk" and rng.random() < 0.6:
            roads.draw_zebra(canvas, camera, road, sign.z + 1.5)
    classes = _draw_objects(canvas, camera, road, placed, rng)

    boxes, labels = [], []
    for instance, label in classes.items():
        seen = canvas.visible(instance)
        if seen is None or seen[1] < MIN_VISIBLE:
            continue
        box = seen[0]
        if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE:
            boxes.append(box)
            labels.append(label)
    objects = canvas.marks() > 0
    return Scene(
        image=_develop(canvas, weather, rng),
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        lanes=roads.lane_lines(canvas, camera, road),
        drivable=roads.drivable(canvas, camera, road, objects),
        objects=objects.astype(np.uint8),
    )


def _draw_objects(
    canvas: Canvas, camera: Camera, road: roads.Road, placed: list[Placed], rng: np.random.Generator
) -> dict[int, int]:
    """Everything that stands on the ground, far things first. Returns the class of each labelled instance."""
    things: list[tuple[float, str, float, Placed | None]] = [(sign.z, "sign", sign.x, sign) for sign in placed]
    density = rng.uniform(0.3, 1.0)
    for side in (-1, 1):
        edge = road.right if side > 0 else -road.left
        z = rng.uniform(9, 18)
        while z < 140:
            kind = "house" if road.town and rng.random() < 0.55 else "tree"
            gap = rng.uniform(6.5, 10) if kind == "house" else rng.uniform(3.5, 14)
            if rng.random() < density:
                things.append((z, kind, side * (edge + gap), None))
            z += rng.uniform(12, 18) if kind == "house" else rng.uniform(4, 18)
    if road.town and rng.random() < 0.7:
        side = int(rng.choice((-1, 1)))
        edge = road.right if side > 0 else -road.left
        things += [(z, "lamp", side * (edge + 0.9), None) for z in np.arange(rng.uniform(12, 26), 120, 24)]
    for centre in road.lane_centres:
        own = abs(centre) < 1.2
        z = rng.uniform(9, 40) if own else rng.uniform(5, 50)
        while z < 110:
            if rng.random() < 0.5:
                things.append((z, "vehicle", centre + rng.normal(0, 0.15), None))
            z += rng.uniform(14, 45)

    classes: dict[int, int] = {}
    for z, kind, x, sign in sorted(things, key=lambda thing: -thing[0]):
        instance = len(classes) + 1
        if kind == "tree":
            scenery.draw_tree(canvas, camera, x, z, rng)
        elif kind == "house":
            scenery.draw_house(canvas, camera, x, z, rng)
        elif kind == "lamp":
            scenery.draw_lamp_post(canvas, camera, x, z)
        elif kind == "vehicle":
            lane = int(np.argmin([abs(x - centre) for centre in road.lane_centres]))
            vehicles.draw(canvas, camera, x, z, road.oncoming[lane], instance, rng)
            classes[instance] = CLASSES.index("vehicle")
        elif sign is not None:
            labelled = sign.kind in SIGN_CLASSES
            sign.draw(canvas, camera, instance if labelled else 0, rng)
            if labelled:
                classes[instance] = CLASSES.index(sign.kind)
    return classes


def _develop(canvas: Canvas, weather: scenery.Weather, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What the camera makes of it: light and tint, an unsharp lens, grain."""
    picture = canvas.image.reduce(SUPERSAMPLE)
    blur = max(0.0, float(rng.normal(0.35, 0.45))) * canvas.width / 640
    if blur > 0.2:
        picture = picture.filter(ImageFilter.BoxBlur(blur))
    gains = weather.gain * float(rng.uniform(0.85, 1.2)) * np.array(weather.tint) * rng.uniform(0.96, 1.04, 3)
    lift = float(rng.uniform(0, 14))
    table = np.clip(np.arange(256)[:, None] * gains * (255 - lift) / 255 + lift, 0, 255).astype(np.uint8)
    picture = picture.point(table.T.ravel().tolist())
    strength, rows, columns = int(rng.integers(1, 8)), *rng.integers(0, GRAIN_SHIFTS, 2)
    grain = _grain(canvas.height, canvas.width)[rows : rows + canvas.height, columns : columns + canvas.width]
    noisy = np.asarray(picture).astype(np.int16)
    noisy += grain * np.int16(strength) >> 4
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


@lru_cache(maxsize=4)
def _grain(height: int, width: int) -> npt.NDArray[np.int16]:
    """Noise of a camera in 1/16 of its strength, larger than a picture by GRAIN_SHIFTS; each takes another part.

    Brightness noise pixel by pixel, colour noise in blocks of two: as a camera's own noise reduction leaves it.
    """
    rng = np.random.default_rng(0)
    height, width = height + GRAIN_SHIFTS, width + GRAIN_SHIFTS
    coarse = rng.integers(-16, 17, ((height + 1) // 2, (width + 1) // 2, 3), dtype=np.int16)
    coarse = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return coarse + rng.integers(-16, 17, (height, width, 1), dtype=np.int16)
