"""What models are compared on: files of the user, or noise that is the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelane.check.models import Array, InputSpec
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing, read_image

SEED = 20240229


def noise(inputs: Sequence[InputSpec]) -> dict[str, Array]:
    """Standard normal numbers for floats, every value of 8-bit integers, zeros for other types."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    feeds: dict[str, Array] = {}
    for spec in inputs:
        if spec.dtype.kind == "f":
            feeds[spec.name] = generator.standard_normal(spec.shape).astype(spec.dtype)
        elif spec.dtype.itemsize == 1 and spec.dtype.kind in "iu":
            limits = np.iinfo(spec.dtype)
            feeds[spec.name] = generator.integers(limits.min, limits.max + 1, spec.shape).astype(spec.dtype)
        else:
            feeds[spec.name] = np.zeros(spec.shape, spec.dtype)
    return feeds


def read_frame(path: Path, inputs: Sequence[InputSpec], preprocessing: dict[str, Any] | None) -> dict[str, Array]:
    """One frame from an .npz file (arrays by input name), an .npy file or a picture.

    A picture is made ready as the model's metadata say (`preprocessing`), or as for networks pretrained on ImageNet.
    Raises EdgelaneError where it does not fit the inputs.
    """
    if path.suffix == ".npz":
        arrays = _load(path)
        if set(arrays) != {spec.name for spec in inputs}:
            raise EdgelaneError(
                f"{path}: expected arrays named {', '.join(spec.name for spec in inputs)}, found {', '.join(arrays)}"
            )
        return {spec.name: _fitting(arrays[spec.name], spec, path) for spec in inputs}
    if len(inputs) != 1:
        raise EdgelaneError(f"{path}: the model has {len(inputs)} inputs: give an .npz file with an array for each")
    spec = inputs[0]
    if path.suffix == ".npy":
        return {spec.name: _fitting(_load(path)[""], spec, path)}
    if len(spec.shape) != 4 or spec.shape[:2] != (1, 3) or spec.dtype != np.float32:
        raise EdgelaneError(
            f"{path}: a picture fits an input of float32 [1, 3, h, w], {spec.name!r} is {spec.dtype} {list(spec.shape)}"
        )
    ready = Preprocessing.from_dict(preprocessing) if preprocessing else Preprocessing(*spec.shape[2:])
    return {spec.name: _fitting(ready.apply(read_image(path))[None], spec, path)}


def _load(path: Path) -> dict[str, Array]:
    try:
        content = np.load(path, allow_pickle=False)
        return dict(content) if path.suffix == ".npz" else {"": content}
    except (OSError, ValueError, EOFError) as error:
        raise EdgelaneError(f"cannot read {path}: {error}") from error


def _fitting(array: Array, spec: InputSpec, path: Path) -> Array:
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise EdgelaneError(
            f"{path}: expected {spec.dtype} {list(spec.shape)} for {spec.name!r}, "
            f"found {array.dtype} {list(array.shape)}"
        )
    return array
