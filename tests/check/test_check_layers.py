"""What is said of each layer, and its time with and without its zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import FLOAT, PADDED, constants, quantized, values, write

from edgelane.check.layers import filled, layer_rows
from edgelane.check.models import LaneModel
from edgelane.check.unsupported import obstacles, partial_rows
from edgelane.export.compiler import compile, lane_file
from edgelane.export.compiler.unsupported import UnsupportedNodes


def pruned() -> dict[str, np.ndarray]:
    """A quarter of the 4x4 blocks of the third convolution's weights is left."""
    made = constants()
    made["w2"].reshape(4, 4, 2, 4, 9)[:, :, :, :, 2:] = 0
    made["w2"].reshape(4, 4, 2, 4, 9)[1:, :, 1:] = 0
    return made


def test_rows(tmp_path: Path) -> None:
    made = pruned()
    compile(write(tmp_path / "m.onnx", FLOAT, made), tmp_path / "m.lane")
    rows = layer_rows(LaneModel(tmp_path / "m.lane"), None)
    third = next(row for row in rows if row.name == "node_third")
    density = np.count_nonzero(made["w2"]) / made["w2"].size
    assert (third.op, third.dtype) == ("conv2d", "float32")
    assert (third.input_shape, third.output_shape) == ([1, 8, 12, 12], [1, 16, 12, 12])
    assert third.dense_macs == 16 * 8 * 9 * 144
    assert third.density == pytest.approx(density)
    assert third.macs == round(third.dense_macs * density)
    assert third.block_density == pytest.approx(
        {"unstructured": density, "4x1": density, "1x4": density, "4x4": density}
    )
    assert third.pattern == "4x4"
    first = next(row for row in rows if row.name == "node_first")
    assert (first.density, first.pattern, first.macs) == (1.0, "dense", first.dense_macs)
    pool = next(row for row in rows if row.op == "global_average_pool")
    assert (pool.dense_macs, pool.block_density, pool.pattern, pool.sparse_us) == (0, {}, "-", None)


def test_times_with_and_without_zeros(tmp_path: Path) -> None:
    """Nearly all weights of a large layer are zero: no machine needs as long for it as for the dense one."""
    weights = values(64, 64, 3, 3, seed=1)
    weights[:, 4:] = 0
    body = f"h = Conv<{PADDED}>(x, w0) y = Conv<{PADDED}>(h, w1)"
    path = write(tmp_path / "m.onnx", body, {"w0": values(64, 3, 3, 3, seed=2), "w1": weights}, "float[1,64,12,12] y")
    compile(path, tmp_path / "m.lane")
    model = LaneModel(tmp_path / "m.lane")
    rows = layer_rows(model, {"x": values(1, 3, 12, 12, seed=3)})
    assert [row.name for row in rows] == ["node_h", "node_y"]
    sparse = rows[1]
    assert sparse.dense_us is not None
    assert sparse.sparse_us is not None
    assert sparse.dense_us > 1.5 * sparse.sparse_us > 0
    assert sparse.to_dict()["dense_us"] == sparse.dense_us


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_filled_networks_have_no_zeros_and_the_same_steps(kind: str, tmp_path: Path) -> None:
    body, made = (FLOAT, pruned()) if kind == "float32" else quantized()
    made["w1"][2:] = 0
    made["w0"][:] = 0
    compile(write(tmp_path / "m.onnx", body, made), tmp_path / "m.lane")
    before = lane_file.read(tmp_path / "m.lane")
    after = filled(before)
    assert after.steps == before.steps
    weights = 0
    for old, new in zip(before.tensors, after.tensors, strict=True):
        if old.data is not None and len(old.shape) == 4 and new.data is not None:
            weights += 1
            assert np.all(new.data != 0)
            np.testing.assert_array_equal(new.data[old.data != 0], old.data[old.data != 0])
            assert np.isfinite(new.data).all()
    assert weights == 3
    (tmp_path / "filled.lane").write_bytes(lane_file.to_bytes(after))
    steps = LaneModel(tmp_path / "filled.lane").session.steps()
    assert [step.density for step in steps if step.op == "conv2d"] == [1.0] * 3


def test_layers_of_a_model_that_does_not_compile(tmp_path: Path) -> None:
    """Those in front of and behind an operator that is not known, with what helps."""
    body = f"""h = Conv<{PADDED}>(x, w0) i = com.example.Sharpen(h) k = Conv<{PADDED}>(h, w1)
        n = NonZero(k) c = Cast<to = 1>(n) y = Relu(k)"""
    made = {key: value for key, value in constants().items() if key in ("w0", "w1")}
    path = write(tmp_path / "m.onnx", body, made, "float[1,8,12,12] y, float[r,c] c, float[1,8,12,12] i", "com.example")
    with pytest.raises(UnsupportedNodes) as caught:
        compile(path, tmp_path / "m.lane")
    found = {(node.name, node.op): node for node in obstacles(caught.value)}
    assert set(found) == {("node_i", "com.example.Sharpen"), ("node_n", "NonZero")}
    assert "another domain" in found["node_i", "com.example.Sharpen"].advice
    assert "edgelane compile --outputs" in found["node_n", "NonZero"].advice
    rows = partial_rows(caught.value)
    assert [(row.name, row.dense_macs, row.output_shape) for row in rows] == [
        ("node_h", 8 * 3 * 9 * 144, [1, 8, 12, 12]),
        ("node_k", 8 * 8 * 9 * 144, [1, 8, 12, 12]),
    ]
    assert rows[0].sparse_us is None
