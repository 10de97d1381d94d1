"""The mask of a scene: what of the road can be driven on, and its lane lines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from edgelane.data.scenes import Scene

SURFACES = ("background", "drivable", "lane")
# Of the picture's width: 8 pixels of 640, which a mask of 160 still shows in full as 2. As the lane benchmarks do
# (CULane: 1 %), one width for near and far, because what a line of 15 cm leaves of itself at 80 m is half a pixel.
LINE_SHARE = 0.0125


def surface_mask(scene: Scene) -> npt.NDArray[np.uint8]:
    """uint8 [h, w] with indices into SURFACES. Labelled objects (vehicles, signs) are background, as what they hide."""
    height, width = scene.drivable.shape
    lines = Image.new("L", (width, height))
    draw = ImageDraw.Draw(lines)
    for line in scene.lanes:
        # A lane line is given from its first corner inside the picture on, yet comes from beyond the picture's edge.
        beyond = line[0] + 1.5 * (line[0] - line[1])
        draw.line(
            [(float(x), float(y)) for x, y in (beyond, *line)], 1, max(1, round(LINE_SHARE * width)), joint="curve"
        )
    mask: npt.NDArray[np.uint8] = scene.drivable.copy()
    mask[(np.asarray(lines) == 1) & (scene.objects == 0)] = SURFACES.index("lane")
    return mask
