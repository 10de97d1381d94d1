"""What a model may ask of the compiler: small files that ask for too much, and moving each limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import Array, graph_model
from typer.testing import CliRunner

from edgelane.cli import app
from edgelane.errors import LONGEST_MESSAGE, EdgelaneError
from edgelane.export.compiler import compile
from edgelane.export.compiler.limits import Limits, parse_limit, with_limits


def refused(model: onnx.ModelProto, folder: Path, limits: dict[str, int] | None = None) -> str:
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(EdgelaneError) as caught:
        compile(folder / "model.onnx", folder / "model.lane", golden=False, limits=limits)
    return str(caught.value)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


LARGE = 2**15  # squared, four times what a tensor may hold
BOMBS = {
    "ConstantOfShape": ("b = ConstantOfShape(s)", {"s": ints(LARGE, LARGE)}),
    "Expand": ("b = Expand(one, s)", {"one": np.float32(1), "s": ints(LARGE, LARGE)}),
    "Tile": ("b = Tile(one, s)", {"one": np.ones((1, 1), np.float32), "s": ints(LARGE, LARGE)}),
    "Range": (
        "r = Range(zero, end, one) b = Cast<to = 1>(r)",
        {"zero": np.array(0), "end": np.array(LARGE**2), "one": np.array(1)},
    ),
    "Pad": ("b = Pad(one, p)", {"one": np.ones((1, 1), np.float32), "p": ints(0, 0, LARGE, LARGE)}),
    "OneHot": ("b = OneHot(i, d, v)", {"i": ints(0), "d": np.array(LARGE**2), "v": np.zeros(2, np.float32)}),
    "of a run-time value": ("e = Expand(x, s) b = Relu(e)", {"s": ints(LARGE, LARGE, 1)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bytes_that_ask_for_gigabytes(name: str, tmp_path: Path) -> None:
    body, constants = BOMBS[name]
    model = graph_model(f"(float[1] x) => (float[n] y) {{ {body} m = ReduceMax(b) y = Add(x, m) }}", constants)
    assert len(model.SerializeToString()) < 1000
    message = refused(model, tmp_path)
    assert "the limit tensor_elements allows 268435456" in message
    assert "found 107374" in message or "found 1073" in message or "found 214748" in message


def test_constants_that_add_up(tmp_path: Path) -> None:
    nodes = [helper.make_node("ConstantOfShape", ["s"], [f"b{i}"]) for i in range(9)]
    nodes += [helper.make_node("Concat", [f"b{i}" for i in range(9)], ["b"], axis=0)]
    nodes += [helper.make_node("ReduceMax", ["b"], ["m"]), helper.make_node("Add", ["x", "m"], ["y"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [numpy_helper.from_array(ints(100), "s")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    bytes_needed = 8 * (9 * 100 + 900 + 1)
    message = refused(model, tmp_path, {"folded_bytes": bytes_needed - 1})
    assert message.endswith(f"found {bytes_needed}, the limit folded_bytes allows {bytes_needed - 1}")
    onnx.save(model, tmp_path / "model.onnx")
    compile(tmp_path / "model.onnx", tmp_path / "model.lane", golden=False, limits={"folded_bytes": bytes_needed})


def test_constants_that_take_long(tmp_path: Path) -> None:
    body = "a = ConstantOfShape(s) b = MatMul(a, a) m = ReduceMax(b) y = Add(x, m)"
    model = graph_model(f"(float[1] x) => (float[n] y) {{ {body} }}", {"s": ints(4096, 4096)})
    message = refused(model, tmp_path)
    assert message.startswith("node matmul_1 (MatMul): operations of constants up to here: found ")
    assert message.endswith("the limit folded_operations allows 17179869184")


@pytest.mark.parametrize("op", ["ImageDecoder", "StringNormalizer", "RandomNormal", "Loop"])
def test_nothing_but_arithmetic_is_computed_while_compiling(op: str, tmp_path: Path) -> None:
    attributes = "<shape = [1]>" if op == "RandomNormal" else ""
    sources = "" if op == "RandomNormal" else "c"
    model = graph_model(
        f"(float[1] x) => (float[n] y) {{ r = {op} {attributes} ({sources}) y = Add(x, r) }}",
        {"c": np.zeros(4, np.uint8)},
        opset=20,
    )
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(EdgelaneError):
        compile(tmp_path / "model.onnx", tmp_path / "model.lane", golden=False)


def test_limits_by_name() -> None:
    assert with_limits(None) == Limits()
    assert with_limits({"nodes": 5}) == Limits(nodes=5)
    with pytest.raises(EdgelaneError, match="unknown limit 'node'; the limits are file_bytes, external_bytes, nodes"):
        with_limits({"node": 5})
    for value in (0, -1, True, 1.5, "5"):
        with pytest.raises(EdgelaneError, match="expected the limit nodes to be a whole number of at least 1"):
            with_limits({"nodes": value})  # type: ignore[dict-item]


def test_limits_as_text() -> None:
    assert parse_limit("nodes=200000") == ("nodes", 200000)
    assert parse_limit("folded_bytes=4G") == ("folded_bytes", 2**32)
    for text in ("nodes", "nodes=", "nodes=-1", "nodes=1.5", "nodes=4T", "nodes=²", "nodes=" + "9" * 19):
        with pytest.raises(EdgelaneError, match=r"expected a limit such as folded_bytes=4G, found"):
            parse_limit(text)


def test_limits_of_the_command(tmp_path: Path) -> None:
    model = graph_model("(float[2] x) => (float[2] y) { a = Relu(x) y = Neg(a) }")
    onnx.save(model, tmp_path / "model.onnx")
    arguments = ["compile", str(tmp_path / "model.onnx")]
    result = CliRunner().invoke(app, [*arguments, "--limit", "nodes=1"])
    assert result.exit_code != 0
    assert "found 2, the limit nodes allows 1" in str(result.exception)
    assert CliRunner().invoke(app, [*arguments, "--limit", "nodes=2"]).exit_code == 0


def test_errors_are_one_line_of_bounded_length(tmp_path: Path) -> None:
    model = graph_model("(float[2] x) => (float[2] y) { y = Sin(x) }")
    model.graph.node[0].op_type = "No\nSuch\x1b[31m"
    assert refused(model, tmp_path).isprintable()
    assert str(EdgelaneError("a\nb\x00")) == "a\\nb\\x00"
    long = str(EdgelaneError("ä" * 100_000))
    assert long == "ä" * LONGEST_MESSAGE + f" ... ({100_000 - LONGEST_MESSAGE} characters more)"
