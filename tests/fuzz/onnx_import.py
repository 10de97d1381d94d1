"""The ONNX importer under atheris: `python tests/fuzz/onnx_import.py [options of libFuzzer] FOLDER...`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edgelane.export"]):
    import onnx_target

    # The compiler imports these late.
    import edgelane.export.compiler.driver
    import edgelane.export.compiler.onnx_import  # noqa: F401

from onnx_mutator import joined, mutated


def test_one_input(data: bytes) -> None:
    # ONNX Runtime has seen one in 64; it is not what is tested here, but it must not be led astray by what was checked.
    onnx_target.try_model(data, golden=len(data) % 64 == 0)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    if seed % 32:
        result = mutated(data, seed)
        if result is not None and len(result) <= max_size:
            return result
    return bytes(atheris.Mutate(data, max_size))


def cross_over(first: bytes, second: bytes, max_size: int, seed: int) -> bytes:
    result = joined(first, second, seed)
    return first if result is None or len(result) > max_size else result


def write_seeds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in onnx_target.seeds().items():
        (folder / f"{re.sub(r'[^a-z0-9]+', '_', name.lower())}.onnx").write_bytes(data)


if __name__ == "__main__":
    if sys.argv[1].startswith("-seeds="):
        write_seeds(Path(sys.argv[1].removeprefix("-seeds=")))
        sys.exit()
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate, custom_crossover=cross_over)
    atheris.Fuzz()
