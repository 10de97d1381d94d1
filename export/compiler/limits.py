"""What a model may ask of the compiler, so that a small file from a stranger cannot take unbounded memory or time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from edgelane.errors import EdgelaneError

SUFFIXES = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Limits:
    """The most that a model may hold. Each is refused by name, with what was found, before memory is taken for it.

    file_bytes: the ONNX file itself; protobuf reads no more than 2 GiB.
    external_bytes: external data of all tensors together.
    nodes: nodes of all graphs, with subgraphs, and with local functions written out where they are called.
    outputs: outputs of the model.
    nesting: graphs inside graphs.
    name_bytes: names of nodes, operators and tensors; a `.lane` file holds no longer ones than 1024 bytes.
    tensor_elements: elements of one tensor, whether the file holds it, it is computed while compiling, or at run time.
    folded_bytes: all constants that are computed while compiling, together, 8 bytes an element.
    folded_operations: operations on elements that computing these takes.
    """

    file_bytes: int = 2**31 - 1
    external_bytes: int = 4 * 2**30
    nodes: int = 50_000
    outputs: int = 1024
    nesting: int = 16
    name_bytes: int = 1024
    tensor_elements: int = 2**28
    folded_bytes: int = 2**31
    folded_operations: int = 2**34

    def check(self, limit: str, found: int, what: str) -> None:
        """Raise EdgelaneError where `found` is more than the limit of that name allows."""
        allowed = getattr(self, limit)
        if found > allowed:
            raise EdgelaneError(f"{what}: found {found}, the limit {limit} allows {allowed}")

    def check_shape(self, shape: Iterable[int], what: str) -> None:
        """Raise EdgelaneError for a tensor with too many elements, sizes of 0 counted as 1, or with a negative size."""
        sizes = list(shape)
        if any(size < 0 for size in sizes):
            raise EdgelaneError(f"{what}: expected sizes of at least 0, found {sizes}")
        self.check("tensor_elements", math.prod(max(1, size) for size in sizes), what)


DEFAULT = Limits()


def with_limits(changes: Mapping[str, int] | None) -> Limits:
    """Return the limits with some changed by name. Raises EdgelaneError for unknown names and values below 1."""
    known = [field.name for field in fields(Limits)]
    for name, value in (changes or {}).items():
        if name not in known:
            raise EdgelaneError(f"unknown limit {name!r}; the limits are {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise EdgelaneError(f"expected the limit {name} to be a whole number of at least 1, found {value!r}")
    return replace(DEFAULT, **(changes or {}))


def parse_limit(text: str) -> tuple[str, int]:
    """("folded_bytes", 4294967296) from "folded_bytes=4G"; K, M and G are 2^10, 2^20 and 2^30."""
    name, separator, number = text.partition("=")
    factor = SUFFIXES.get(number[-1:], 1)
    digits = number[:-1] if factor > 1 else number
    if not separator or not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise EdgelaneError(f"expected a limit such as folded_bytes=4G, found {text!r}")
    return name, int(digits) * factor
