"""The fixed split: a photo's file name decides where it goes, on every machine and in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from edgelane.data.photo import Photo
from edgelane.errors import EdgelaneError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}

_SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def split_named(name: str) -> str | None:
    """The split that a folder or file name such as "Training", "valid" or "val2017" means, or None."""
    plain = name.lower().rstrip("0123456789").rstrip("_-")
    return next((split for split, names in _SYNONYMS.items() if plain in names), None)


def split_in(path: Path) -> str | None:
    """The split that the outermost folder of a relative path means which means one."""
    return next(filter(None, map(split_named, path.parts[:-1])), None)


def fraction(key: str, salt: str = "") -> float:
    """A number in 0..1 that depends on `key` (and `salt`) alone."""
    return int.from_bytes(hashlib.blake2b((salt + key).encode(), digest_size=8).digest(), "big") / 2.0**64


def split_of(key: str, shares: dict[str, float] | None = None) -> str:
    """The split of the photos with this key: train, val or test with the probabilities `shares`."""
    shares = shares or SHARES
    position = fraction(key) * sum(shares.values())
    limits = accumulate(shares.values())
    return next((split for split, limit in zip(shares, limits, strict=True) if position < limit), list(shares)[-1])


def assign(photos: Sequence[Photo], source: str) -> None:
    """Give every photo a split.

    Splits that the data set itself names are kept. What it does not name is taken from the rest by the key's hash. A
    data set so small that a hashed split stays empty is divided by the order of the hashes instead.
    Raises EdgelaneError when there are fewer distinct keys than splits to fill.
    """
    given = {photo.split for photo in photos} - {None, "train"}
    shares = {split: share for split, share in SHARES.items() if split not in given}
    free = [photo for photo in photos if photo.split not in given]
    keys = sorted({photo.key for photo in free}, key=fraction)
    if len(keys) < len(shares):
        raise EdgelaneError(f"{source}: {len(keys)} photos are too few to fill {', '.join(shares)}; add some")
    where = {key: split_of(key, shares) for key in keys}
    if set(where.values()) != set(shares):
        where = dict(zip(keys, _by_rank(len(keys), shares), strict=True))
    for photo in free:
        photo.split = where[photo.key]


def _by_rank(count: int, shares: dict[str, float]) -> list[str]:
    counts = {split: max(1, round(count * share / sum(shares.values()))) for split, share in shares.items()}
    counts["train"] = count - sum(n for split, n in counts.items() if split != "train")
    return [split for split, n in counts.items() for _ in range(n)]
