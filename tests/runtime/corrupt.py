"""Run by test_corruption.py in a process of its own: damage a file at random many times, load and run what is left.

    python corrupt.py model.lane damaged.lane first_seed count

Prints {"refused": n, "ran": n} and exits with 0. A crash leaves damaged.lane and the exit status of the crash.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from edgelane import EdgelaneError, Session


def damage(content: bytes, seed: int) -> bytes:
    """Change one to four places of the file; with an odd seed, make its checksum right again."""
    random = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(random.integers(1, 5)):
        # Half of it goes into the records, which stand before the weights.
        at = int(random.integers(len(changed) if random.random() < 0.5 else len(changed) // 2))
        kind = random.integers(5)
        if kind == 0:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            changed[at] = int(random.integers(256))
        elif kind == 2:
            changed[at : at + 4] = random.integers(0, 256, min(4, len(changed) - at), np.uint8).tobytes()
        elif kind == 3:
            changed[at] = 0xFF
        else:
            other = int(random.integers(len(changed)))
            length = min(8, len(changed) - at, len(changed) - other)
            changed[at : at + length] = changed[other : other + length]
    if seed % 2 == 1:
        changed[24:56] = hashlib.sha256(changed[56:]).digest()
    return bytes(changed)


def main(model: str, target: str, first: int, count: int) -> None:
    content = Path(model).read_bytes()
    refused = ran = 0
    for seed in range(first, first + count):
        Path(target).write_bytes(damage(content, seed))
        try:
            session = Session(target)
            session.run({spec.name: np.ones(spec.shape, spec.dtype) for spec in session.inputs})
            ran += 1
        except EdgelaneError as error:
            text = str(error)
            if "\n" in text:
                raise SystemExit(f"seed {seed}: the message has more than one line: {text!r}") from error
            refused += 1
    print(json.dumps({"refused": refused, "ran": ran}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
