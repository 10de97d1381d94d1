"""ONNX's own tests of its operators, run on edgelane, and the page that says what came of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import test_more_operators
import test_old_opsets
import test_operators
from onnx import helper
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from edgelane.errors import EdgelaneError
from edgelane.export import conformance, operators
from edgelane.export.backend import EdgelaneBackend
from edgelane.export.compiler.lowering import LOWERINGS
from edgelane.export.conformance import CONSTANT, FAILED, PASSED, UNSUPPORTED, Result


@pytest.fixture(scope="module")
def results() -> list[Result]:
    found = conformance.run_all()
    print(conformance.summary(found))
    return found


def test_nothing_fails(results: list[Result]) -> None:
    assert [f"{result.name}: {result.reason}" for result in results if result.outcome == FAILED] == []
    counts = Counter(result.outcome for result in results)
    assert counts[PASSED] > 1000
    assert counts[CONSTANT] < 60


def test_operators_that_are_claimed_lack_only_what_no_file_can_hold(results: list[Result]) -> None:
    claimed = operators.claimed(results)
    assert [
        result
        for result in results
        if result.outcome == UNSUPPORTED and not result.inherent and claimed.issuperset(result.operators)
    ] == []


def test_every_operator_is_tested(results: list[Result]) -> None:
    passed = {result.operators[0] for result in results if result.outcome == PASSED and len(result.operators) == 1}
    cases = (*test_operators.CASES.values(), *test_more_operators.CASES.values(), *test_old_opsets.CASES.values())
    assert set(LOWERINGS) - passed - {case.op for case in cases} == set()


def test_the_page_is_current(results: list[Result]) -> None:
    text = operators.PAGE.read_text()
    if f"onnx {onnx.__version__}, " not in text:
        pytest.skip(f"OPERATORS.md was written with another onnx than {onnx.__version__}, whose tests are others")
    assert text == operators.page(results), "run python -m edgelane.export.conformance"


def test_a_wrong_result_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelane.export import backend

    honest = backend.Model.run
    monkeypatch.setattr(backend.Model, "run", lambda self, inputs: tuple(value + 1 for value in honest(self, inputs)))
    (result,) = conformance.run_all("test_matmul_2d")
    assert result.outcome == FAILED
    assert "tolerance" in result.reason


def test_what_stays_an_input() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "w", "y")]
    graph = helper.make_graph([node], "conv", infos[:2], infos[2:])
    model = EdgelaneBackend.prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    (result,) = model.run([np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)])
    np.testing.assert_array_equal(result, np.full((1, 1, 2, 2), 4, np.float32))
    assert (model.inputs, model.constants) == (("x",), ("w",))


def test_one_node() -> None:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    (result,) = EdgelaneBackend.run_node(node, [np.array([1.0, 2.0], np.float32), np.array([3.0, 4.0], np.float32)])
    np.testing.assert_array_equal(result, [4.0, 6.0])


def test_what_is_not_possible_is_told_as_onnx_wants_it() -> None:
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="edgelane does not know this operator"):
        EdgelaneBackend.run_node(helper.make_node("Det", ["a"], ["b"]), [np.eye(2, dtype=np.float32)])
    with pytest.raises(EdgelaneError, match="expected the device CPU, found CUDA"):
        EdgelaneBackend.run_node(helper.make_node("Relu", ["a"], ["b"]), [np.ones(2, np.float32)], "CUDA")
