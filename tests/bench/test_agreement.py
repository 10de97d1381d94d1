from __future__ import annotations

import numpy as np
import pytest

from edgelane.bench.agreement import FLOAT_TOLERANCE, INT8_TOLERANCE, check_agreement, relative_error
from edgelane.errors import EdgelaneError

REFERENCE = np.array([[1.0, -4.0, 2.0]], np.float32)


def test_the_error_is_relative_to_the_largest_magnitude():
    assert relative_error(REFERENCE + np.float32(0.4), REFERENCE) == pytest.approx(0.1, rel=1e-6)
    assert relative_error(np.zeros(3), np.zeros(3)) == 0.0
    assert relative_error(np.zeros((0,)), np.zeros((0,))) == 0.0


@pytest.mark.parametrize(("int8", "tolerance"), [(False, FLOAT_TOLERANCE), (True, INT8_TOLERANCE)])
def test_both_sides_of_the_tolerance(int8, tolerance):
    below = REFERENCE + np.float32(4.0 * tolerance * 0.9)
    above = REFERENCE + np.float32(4.0 * tolerance * 1.1)
    assert check_agreement({"a": [REFERENCE], "b": [below]}, int8=int8)["b"] == pytest.approx(0.9 * tolerance, rel=1e-2)
    with pytest.raises(EdgelaneError, match=r"^b and a disagree by .* a benchmark of a wrong result is refused$"):
        check_agreement({"a": [REFERENCE], "b": [above]}, int8=int8)


def test_another_shape_is_refused():
    with pytest.raises(EdgelaneError, match="output shapes"):
        check_agreement({"a": [REFERENCE], "b": [REFERENCE[0]]}, int8=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("who", ["a", "b"])
def test_not_finite_is_refused_on_either_side(bad, who):
    outputs = {"a": [REFERENCE.copy()], "b": [REFERENCE.copy()]}
    outputs[who][0][0, 1] = bad
    with pytest.raises(EdgelaneError, match=f"^{who} returned values that are not finite in output 0"):
        check_agreement(outputs, int8=True)
