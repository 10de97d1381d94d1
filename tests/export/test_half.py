"""Models in half precision compute in float32, and say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import edgelane_outputs, graph_model, normal, relative_error

from edgelane.export.compiler import compile, half, lane_file

BODY = """(float16[1,3,8,8] x) => (float16[1,4,8,8] y, float[1,4,8,8] z) {
    c = Conv<pads = [1,1,1,1]>(x, w)
    h = Mul(c, k)
    f = Cast<to = 1>(h) r = Sigmoid(f) b = Cast<to = 10>(r)
    y = Add(h, b)
    z = Cast<to = 1>(y)
}"""


def model() -> onnx.ModelProto:
    result = graph_model(BODY, {"w": normal(4, 3, 3, 3).astype(np.float16)})
    two = numpy_helper.from_array(np.array([2], np.float16))
    result.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=two))
    return result


def test_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "model.onnx")
    report = compile(tmp_path / "model.onnx", tmp_path / "model.lane")
    assert report.golden == "written"
    assert half.NOTE in report.notes
    types = {t.name: t.dtype for t in lane_file.read(tmp_path / "model.lane").tensors}
    assert {types[name] for name in ("x", "y", "z")} == {"float32"}
    x = normal(1, 3, 8, 8).astype(np.float16)
    expected = onnx.reference.ReferenceEvaluator(model()).run(None, {"x": x})
    results = edgelane_outputs(tmp_path / "model.lane", {"x": x.astype(np.float32)})
    # The reference rounds each value to 11 bits: products, sums over 27 terms, and results.
    for value, result in zip(expected, results.values(), strict=True):
        assert relative_error(result, value.astype(np.float32)) < 3e-3


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_constants_keep_their_values(kind: int) -> None:
    values = helper.make_tensor("w", kind, [3], [1.5, -0.0078125, 96.0])
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=values)], "branch", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    info = [helper.make_tensor_value_info(name, kind, [3]) for name in ("x", "y")]
    changed = helper.make_model(helper.make_graph([node], "g", info[:1], info[1:], [values]))
    assert half.widen(changed)
    inner = changed.graph.node[0].attribute[0].g.node[0].attribute[0].t
    for tensor in (changed.graph.initializer[0], inner):
        assert tensor.data_type == TensorProto.FLOAT
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), np.float32([1.5, -0.0078125, 96.0]))
    assert changed.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert not half.widen(changed)
