"""Before anything is timed: do the engines compute the same thing? A fast wrong answer is not a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

# float32: the runtime's own contract is 1e-4 of the output's largest magnitude against ONNX Runtime.
FLOAT_TOLERANCE = 1e-4
# int8: engines round single activations to different neighbouring steps (a step is 1/127 of a tensor's range), and
# the difference travels through the layers behind it. Errors that matter, such as a wrong scale, a missing residual
# or a swapped channel, move outputs by their own size; a few steps of the last tensor do not.
INT8_TOLERANCE = 0.05


def check_agreement(outputs: Mapping[str, Sequence[npt.NDArray[Any]]], *, int8: bool) -> dict[str, float]:
    """Compare every runner's outputs with the first runner's; return the largest error of each relative to the
    largest magnitude.

    Raises EdgelaneError that names the runner when a shape differs, a value is not finite, or the error exceeds the
    tolerance.
    """
    tolerance = INT8_TOLERANCE if int8 else FLOAT_TOLERANCE
    (reference_name, reference), *others = outputs.items()
    _check_finite(reference_name, reference)
    errors = {reference_name: 0.0}
    for name, values in others:
        shapes, wanted_shapes = [value.shape for value in values], [value.shape for value in reference]
        if shapes != wanted_shapes:
            raise EdgelaneError(f"{name} and {reference_name} disagree: output shapes {shapes} against {wanted_shapes}")
        _check_finite(name, values)
        errors[name] = max(relative_error(value, wanted) for value, wanted in zip(values, reference, strict=True))
        if errors[name] > tolerance:
            raise EdgelaneError(
                f"{name} and {reference_name} disagree by {errors[name]:.2g} of the output's largest magnitude "
                f"(allowed {tolerance:g}): "
                "a benchmark of a wrong result is refused"
            )
    return errors


def relative_error(value: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """Largest absolute difference divided by the largest magnitude of `reference` (by 1 where that is zero)."""
    if value.size == 0:
        return 0.0
    difference = float(np.max(np.abs(value.astype(np.float64) - reference.astype(np.float64))))
    return difference / (float(np.max(np.abs(reference.astype(np.float64)))) or 1.0)


def _check_finite(name: str, values: Sequence[npt.NDArray[Any]]) -> None:
    for index, value in enumerate(values):
        if not np.isfinite(value).all():
            raise EdgelaneError(
                f"{name} returned values that are not finite in output {index}: its result is wrong, so it is not timed"
            )
