"""What every reader of a format yields: photos with labels, and a count of what had to be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError
from edgelane.preprocessing import read_image

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright photo

Mask = npt.NDArray[np.uint8]

EXAMPLES_KEPT = 5


@dataclass(frozen=True)
class Label:
    """One labelled object: an index into the classes, and its box, or None where the whole photo is the object."""

    label: int
    box: Box | None = None


@dataclass
class Photo:
    """One picture and its labels.

    `path`: the file, or a name such as "scenes/0/000012" where there is none. `key`: what the split hashes; photos that
    show the same thing share a key. `split`: given by the data set, or None. `labels`: None where only reading the
    photo tells them. `declared_size`: (width, height) that the annotation names, if it does. `relative`: boxes are
    fractions of the width and height, as in YOLO text. `open`: decodes the picture to RGB and says its labels, or gives
    its mask, uint8 [h, w] of class indices and 255 for unknown.
    """

    path: str
    key: str
    labels: list[Label] | None
    open: Callable[[], Image.Image | tuple[Image.Image, list[Label] | Mask]]
    split: str | None = None
    declared_size: tuple[int, int] | None = None
    relative: bool = False

    @classmethod
    def of_file(cls, path: Path, key: str, labels: list[Label], **fields: object) -> Photo:
        """A photo that lies in a file."""
        return cls(str(path), key, labels, partial(read_image, path), **fields)  # type: ignore[arg-type]


@dataclass
class Skips:
    """How many things were left out for each reason, with the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one thing left out."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        names = self.examples.setdefault(reason, [])
        if len(names) < EXAMPLES_KEPT:
            names.append(name)

    def describe(self) -> str:
        """All of it on one line: "2 corrupt image (a.jpg, b.jpg), 1 empty class (stop)"."""
        parts = []
        for reason, count in self.counts.items():
            more = ", ..." if count > len(self.examples[reason]) else ""
            parts.append(f"{count} {reason} ({', '.join(self.examples[reason])}{more})")
        return ", ".join(parts) or "nothing was skipped"


@dataclass
class Index:
    """A data set before any picture is decoded."""

    name: str
    classes: list[str]
    photos: list[Photo]
    skips: Skips = field(default_factory=Skips)


def best(candidates: Sequence[Path], rank: Callable[[Path], tuple[int, ...]]) -> Path | None:
    """The candidate with the highest rank; None where several share it, or there is none."""
    ranks = [rank(path) for path in candidates]
    highest = [path for path, found in zip(candidates, ranks, strict=True) if found == max(ranks)]
    return highest[0] if len(highest) == 1 else None


def common_parts(a: Path, b: Path) -> int:
    """How many leading folders two paths share: a picture lies nearer to its own annotation than to another's."""
    pairs = zip(a.parts, b.parts, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def sorted_files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """All files below `folder` with one of the lower-case `suffixes`, hidden ones left out, in a fixed order."""
    wanted = frozenset(suffixes)
    return sorted(_walk(folder, wanted))


def _walk(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise EdgelaneError(f"cannot list {folder}: {error.strerror or error}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.suffix.lower() in suffixes and entry.is_file():
            yield entry
        elif entry.is_dir():
            yield from _walk(entry, suffixes)
