"""The faces of road signs, drawn with straight strokes so that they need no font and come out the same everywhere."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

SIGN_CLASSES = ("crosswalk", "speedlimit", "stop", "trafficlight")
SPEEDS = ("20", "30", "40", "50", "60", "70", "80", "90", "100", "120")
LAMPS = ("red", "yellow", "green", "red+yellow", "off")
OTHERS = (
    "yield",
    "keep_right",
    "no_entry",
    "curve",
    "board",
)  # signs without a label: what a detector must not confuse

FACE = 192  # pixels; signs are drawn at this size and shrunk into the scene

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

RED: Colour = (196, 24, 32)
WHITE: Colour = (240, 240, 236)
BLACK: Colour = (22, 22, 24)
BLUE: Colour = (18, 84, 168)
YELLOW: Colour = (246, 196, 24)

# Stroke paths of the characters, in a box of width 0.6 and height 1 with y downwards.
_GLYPHS: dict[str, list[Points]] = {
    "0": [
        [
            (0.3, 0),
            (0.5, 0.1),
            (0.6, 0.3),
            (0.6, 0.7),
            (0.5, 0.9),
            (0.3, 1),
            (0.1, 0.9),
            (0, 0.7),
            (0, 0.3),
            (0.1, 0.1),
            (0.3, 0),
        ]
    ],
    "1": [[(0.1, 0.2), (0.35, 0), (0.35, 1)]],
    "2": [[(0, 0.25), (0.1, 0.06), (0.3, 0), (0.5, 0.06), (0.58, 0.25), (0.5, 0.48), (0, 1), (0.6, 1)]],
    "3": [
        [(0, 0.15), (0.15, 0.02), (0.35, 0), (0.52, 0.1), (0.55, 0.28), (0.45, 0.43), (0.25, 0.47)],
        [(0.25, 0.47), (0.48, 0.52), (0.6, 0.7), (0.52, 0.92), (0.3, 1), (0.1, 0.96), (0, 0.82)],
    ],
    "4": [[(0.45, 1), (0.45, 0), (0, 0.68), (0.62, 0.68)]],
    "5": [
        [
            (0.55, 0),
            (0.08, 0),
            (0.04, 0.45),
            (0.3, 0.38),
            (0.52, 0.48),
            (0.6, 0.7),
            (0.5, 0.92),
            (0.28, 1),
            (0.08, 0.96),
            (0, 0.84),
        ]
    ],
    "6": [
        [(0.52, 0.06), (0.3, 0), (0.12, 0.12), (0.02, 0.4), (0.02, 0.72), (0.12, 0.94), (0.3, 1)],
        [(0.3, 1), (0.5, 0.94), (0.6, 0.72), (0.5, 0.5), (0.3, 0.43), (0.12, 0.5), (0.02, 0.66)],
    ],
    "7": [[(0, 0), (0.6, 0), (0.2, 1)]],
    "8": [
        [
            (0.3, 0),
            (0.5, 0.08),
            (0.54, 0.25),
            (0.45, 0.42),
            (0.3, 0.47),
            (0.15, 0.42),
            (0.06, 0.25),
            (0.1, 0.08),
            (0.3, 0),
        ],
        [
            (0.3, 0.47),
            (0.52, 0.55),
            (0.6, 0.75),
            (0.5, 0.94),
            (0.3, 1),
            (0.1, 0.94),
            (0, 0.75),
            (0.08, 0.55),
            (0.3, 0.47),
        ],
    ],
    "9": [
        [(0.08, 0.94), (0.3, 1), (0.48, 0.88), (0.58, 0.6), (0.58, 0.28), (0.48, 0.06), (0.3, 0)],
        [(0.3, 0), (0.1, 0.06), (0, 0.28), (0.1, 0.5), (0.3, 0.57), (0.48, 0.5), (0.58, 0.34)],
    ],
    "S": [
        [
            (0.58, 0.14),
            (0.42, 0),
            (0.18, 0),
            (0.02, 0.12),
            (0.02, 0.32),
            (0.15, 0.45),
            (0.45, 0.54),
            (0.58, 0.68),
            (0.58, 0.86),
            (0.42, 1),
            (0.16, 1),
            (0, 0.86),
        ]
    ],
    "T": [[(0, 0), (0.6, 0)], [(0.3, 0), (0.3, 1)]],
    "O": [
        [
            (0.3, 0),
            (0.5, 0.08),
            (0.6, 0.3),
            (0.6, 0.7),
            (0.5, 0.92),
            (0.3, 1),
            (0.1, 0.92),
            (0, 0.7),
            (0, 0.3),
            (0.1, 0.08),
            (0.3, 0),
        ]
    ],
    "P": [[(0, 1), (0, 0), (0.4, 0), (0.58, 0.1), (0.6, 0.28), (0.54, 0.46), (0.4, 0.54), (0, 0.54)]],
}


def _canvas(width: int = FACE, height: int = FACE) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def _write(
    draw: ImageDraw.ImageDraw, text: str, box: tuple[float, float, float, float], stroke: float, colour: Colour
) -> None:
    """`text` in `box` (x0, y0, x1, y1); `stroke` is the line width, all in pixels."""
    x0, y0, x1, y1 = box
    advance = (x1 - x0) / len(text)
    glyph_width = (advance - 1.6 * stroke) / 0.6
    for place, character in enumerate(text):
        left = x0 + place * advance + 0.8 * stroke
        for path in _GLYPHS[character]:
            points = [(left + x * glyph_width, y0 + stroke / 2 + y * (y1 - y0 - stroke)) for x, y in path]
            draw.line(points, fill=colour, width=round(stroke), joint="curve")
            for x, y in (points[0], points[-1]):
                draw.ellipse((x - stroke / 2, y - stroke / 2, x + stroke / 2, y + stroke / 2), fill=colour)


def _regular(corners: int, radius: float, turn: float = 0.0) -> Points:
    angles = np.arange(corners) * 2 * np.pi / corners + turn
    return [(FACE / 2 + radius * float(np.cos(a)), FACE / 2 + radius * float(np.sin(a))) for a in angles]


def _disc(draw: ImageDraw.ImageDraw, radius: float, colour: Colour) -> None:
    middle = FACE / 2
    draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=colour)


def _scaled(points: Points) -> Points:
    return [(x * FACE, y * FACE) for x, y in points]


@cache
def speedlimit(speed: str, ring: int) -> Image.Image:
    """A white disc with a red ring of `ring` pixels and a black number."""
    image, draw = _canvas()
    _disc(draw, FACE / 2 - 1, WHITE)
    _disc(draw, FACE / 2 - 4, RED)
    _disc(draw, FACE / 2 - 4 - ring, WHITE)
    half = 50 if len(speed) == 2 else 60
    _write(draw, speed, (96 - half, 58, 96 + half, 134), 14 if len(speed) == 2 else 11, BLACK)
    return image


@cache
def stop() -> Image.Image:
    """A red octagon with a white rim and the word STOP."""
    image, draw = _canvas()
    turn = np.pi / 8
    draw.polygon(_regular(8, FACE / 2 / np.cos(turn) - 2, turn), fill=WHITE)
    draw.polygon(_regular(8, FACE / 2 / np.cos(turn) - 10, turn), fill=RED)
    _write(draw, "STOP", (18, 64, 174, 128), 12, WHITE)
    return image


@cache
def crosswalk(variant: int) -> Image.Image:
    """A blue square with a white triangle and a pedestrian (0), or a yellow diamond with a pedestrian (1)."""
    image, draw = _canvas()
    if variant == 0:
        draw.rounded_rectangle((2, 2, FACE - 3, FACE - 3), radius=14, fill=WHITE)
        draw.rounded_rectangle((7, 7, FACE - 8, FACE - 8), radius=11, fill=BLUE)
        draw.polygon(_scaled([(0.5, 0.1), (0.92, 0.86), (0.08, 0.86)]), fill=WHITE)
        _pedestrian(draw, 0.5, 0.34, 0.47)
    else:
        draw.polygon(_regular(4, FACE / 2 - 1), fill=BLACK)
        draw.polygon(_regular(4, FACE / 2 - 6), fill=YELLOW)
        _pedestrian(draw, 0.5, 0.22, 0.52)
    for x in (0.3, 0.42, 0.54, 0.66) if variant == 0 else ():
        draw.polygon(_scaled([(x, 0.8), (x + 0.07, 0.8), (x + 0.05, 0.85), (x - 0.03, 0.85)]), fill=BLACK)
    return image


def _pedestrian(draw: ImageDraw.ImageDraw, x: float, top: float, height: float) -> None:
    """A walking figure; `x` its middle, `top` and `height` in parts of the face."""

    def at(points: Points) -> Points:
        return [((x + dx * height) * FACE, (top + dy * height) * FACE) for dx, dy in points]

    radius = 0.09 * height * FACE
    ((cx, cy),) = at([(0.02, 0.09)])
    draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=BLACK)
    limbs: list[tuple[Points, float]] = [
        ([(0, 0.22), (-0.02, 0.55)], 0.16),
        ([(-0.02, 0.55), (0.14, 0.75), (0.2, 0.98)], 0.09),
        ([(-0.02, 0.55), (-0.1, 0.78), (-0.26, 0.95)], 0.09),
        ([(0, 0.25), (0.17, 0.4), (0.27, 0.44)], 0.07),
        ([(0, 0.25), (-0.17, 0.38), (-0.22, 0.53)], 0.07),
    ]
    for points, width in limbs:
        draw.line(at(points), fill=BLACK, width=max(2, round(width * height * FACE)), joint="curve")


@cache
def trafficlight(lit: str, board: bool) -> Image.Image:
    """A dark housing with three lamps, `lit` one of LAMPS; `board` adds the light rim of a backing board."""
    width, height = 84, FACE
    image, draw = _canvas(width, height)
    if board:
        draw.rounded_rectangle((0, 0, width - 1, height - 1), radius=16, fill=(206, 204, 196))
        draw.rounded_rectangle((5, 5, width - 6, height - 6), radius=13, fill=BLACK)
    else:
        draw.rounded_rectangle((0, 0, width - 1, height - 1), radius=14, fill=(32, 36, 34))
        draw.rounded_rectangle((5, 5, width - 6, height - 6), radius=11, fill=(16, 18, 18))
    bright = {"red": (255, 62, 44), "yellow": (255, 206, 62), "green": (72, 255, 158)}
    dim = {"red": (66, 16, 16), "yellow": (66, 54, 16), "green": (12, 54, 36)}
    radius = 23
    for place, name in enumerate(("red", "yellow", "green")):
        cx, cy = width / 2, 38 + 58 * place
        on = name in lit.split("+")
        # The hood: a dark arc above each lamp.
        draw.pieslice((cx - radius - 6, cy - radius - 7, cx + radius + 6, cy + radius + 2), 180, 360, fill=(54, 58, 58))
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=(bright if on else dim)[name])
        if on:
            draw.ellipse((cx - 12, cy - 12, cx + 12, cy + 12), fill=tuple(min(255, c + 70) for c in bright[name]))
    return image


@cache
def other(kind: str) -> Image.Image:
    """A sign of one of the kinds in OTHERS."""
    image, draw = _canvas()
    if kind == "yield":
        draw.polygon(_scaled([(0.01, 0.08), (0.99, 0.08), (0.5, 0.94)]), fill=RED)
        draw.polygon(_scaled([(0.19, 0.18), (0.81, 0.18), (0.5, 0.73)]), fill=WHITE)
    elif kind == "keep_right":
        _disc(draw, FACE / 2 - 1, WHITE)
        _disc(draw, FACE / 2 - 6, BLUE)
        draw.line(_scaled([(0.3, 0.28), (0.66, 0.66)]), fill=WHITE, width=20)
        draw.polygon(_scaled([(0.76, 0.42), (0.76, 0.78), (0.4, 0.76)]), fill=WHITE)
    elif kind == "no_entry":
        _disc(draw, FACE / 2 - 1, WHITE)
        _disc(draw, FACE / 2 - 5, RED)
        draw.rectangle((30, 80, 162, 112), fill=WHITE)
    elif kind == "curve":
        draw.polygon(_scaled([(0.5, 0.06), (0.99, 0.92), (0.01, 0.92)]), fill=RED)
        draw.polygon(_scaled([(0.5, 0.24), (0.83, 0.83), (0.17, 0.83)]), fill=WHITE)
        draw.line(_scaled([(0.44, 0.8), (0.44, 0.6), (0.58, 0.46), (0.58, 0.36)]), fill=BLACK, width=14, joint="curve")
    else:
        draw.rounded_rectangle((0, 40, FACE - 1, 152), radius=10, fill=WHITE)
        draw.rounded_rectangle((5, 45, FACE - 6, 147), radius=8, fill=(16, 110, 68))
        for y, x1 in ((66, 150), (90, 120), (114, 138)):
            draw.rectangle((24, y, x1, y + 11), fill=WHITE)
    return image


def face(kind: str, height: float, rng: np.random.Generator) -> Image.Image:
    """A random face of the class `kind` or of one of OTHERS, RGBA, `height` pixels high or FACE where that is less."""
    full = _face(kind, rng)
    if height >= full.height:
        return full
    return full.resize((max(4, round(full.width * height / full.height)), max(8, round(height))), Image.Resampling.BOX)


def _face(kind: str, rng: np.random.Generator) -> Image.Image:
    if kind == "speedlimit":
        return speedlimit(str(rng.choice(SPEEDS)), int(rng.choice((18, 22, 26))))
    if kind == "stop":
        return stop()
    if kind == "crosswalk":
        return crosswalk(int(rng.random() < 0.25))
    if kind == "trafficlight":
        return trafficlight(str(rng.choice(LAMPS, p=(0.34, 0.12, 0.34, 0.08, 0.12))), bool(rng.random() < 0.4))
    return other(kind)


def weathered(sign: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The sign seen by a camera: slightly turned and foreshortened, faded, dirty, unevenly lit."""
    shear, squeeze = rng.uniform(-0.08, 0.08), rng.uniform(0.72, 1.0)
    width = max(8, round(sign.width * squeeze))
    turned = sign.resize((width, sign.height), Image.Resampling.BILINEAR)
    turned = turned.transform(
        turned.size, Image.Transform.AFFINE, (1, 0, 0, shear, 1, -shear * width / 2), Image.Resampling.BILINEAR
    )
    turned = turned.rotate(float(rng.normal(0, 3.5)), Image.Resampling.BILINEAR, expand=True)
    pixels = np.asarray(turned).astype(np.float32)
    colours = pixels[..., :3]
    grey = colours.mean(axis=2, keepdims=True)
    colours += (grey - colours) * rng.uniform(0, 0.45)  # faded paint
    light = np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.1), colours.shape[0], dtype=np.float32)
    colours *= light[:, None, None]
    stains = rng.random((5, 5), dtype=np.float32)
    dirt = Image.fromarray((stains * 255).astype(np.uint8)).resize(turned.size, Image.Resampling.BICUBIC)
    strength = rng.uniform(0, 0.35)
    colours *= 1 - strength * np.clip(np.asarray(dirt, dtype=np.float32)[..., None] / 255 - 0.45, 0, 1)
    pixels[..., :3] = np.clip(colours, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8), "RGBA")
