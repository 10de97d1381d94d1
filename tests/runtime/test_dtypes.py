"""Inputs and outputs of every dtype and rank, through networks that only copy."""

from __future__ import annotations

import numpy as np
import pytest
from lane_models import Builder

from edgelane import EdgelaneError, Session
from edgelane.export.compiler.lane_file import DTYPES, INPUT, OUTPUT, to_bytes

SHAPES = [(), (1,), (37,), (3, 5), (2, 3, 7), (2, 5, 6, 9), (2, 1, 3, 2, 5), (1, 2, 3, 1, 2, 5)]


def copies(path, dtype, data):
    """A network with the input `x` and its copy, and a copy of `data`."""
    b = Builder()
    scale = 1.0 if dtype == "int8" else None
    x = b.tensor("x", INPUT, data.shape, dtype, scale)
    b.step("copy", "reshape", [x], b.tensor("same", OUTPUT, data.shape, dtype, scale))
    constant = b.constant("constant", data, scales=[scale] if scale else ())
    b.step("constant", "reshape", [constant], b.tensor("kept", OUTPUT, data.shape, dtype, scale))
    path.write_bytes(to_bytes(b.file()))
    return Session(path)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_every_dtype_and_rank(tmp_path, dtype, shape):
    random = np.random.default_rng(3)
    numbers = [(random.standard_normal(shape) * 1e3).astype(dtype) for _ in range(2)]
    x, data = (np.asarray(n, dtype) for n in numbers)  # rank 0 comes as a scalar
    session = copies(tmp_path / "copies.lane", dtype, data)
    (spec,) = session.inputs
    assert (spec.dtype, spec.shape) == (np.dtype(dtype), shape)
    assert (spec.scale, spec.zero_point) == ((1.0, 0) if dtype == "int8" else (None, None))
    for _ in range(2):
        outputs = session.run({"x": x})
        for name, expected in (("same", x), ("kept", data)):
            assert (outputs[name].dtype, outputs[name].shape) == (np.dtype(dtype), shape)
            np.testing.assert_array_equal(outputs[name], expected)


def test_bools_that_are_neither_0_nor_1(tmp_path):
    session = copies(tmp_path / "copies.lane", "bool", np.array([True, False, True]))
    x = np.array([0, 2, 255], np.uint8).view(bool)
    assert session.run({"x": x})["same"].view(np.uint8).tolist() == [0, 1, 1]


def test_another_dtype_of_the_same_size_is_refused(tmp_path):
    session = copies(tmp_path / "copies.lane", "uint8", np.zeros(3, np.uint8))
    with pytest.raises(EdgelaneError, match="expected dtype uint8, found bool"):
        session.run({"x": np.zeros(3, bool)})
