"""What a user can get wrong: one EdgelaneError of one line that says what and where, and nothing half-written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_cases import Array, Case, Input, graph_model, normal

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile

IMAGE = Input((1, 8, 9, 9))


def failure(model: onnx.ModelProto, folder: Path, **arguments: object) -> str:
    onnx.save(model, folder / "model.onnx")
    return refused(folder, **arguments)


def refused(folder: Path, **arguments: object) -> str:
    """Compile folder/model.onnx, which must fail; return the message."""
    with pytest.raises(EdgelaneError) as caught:
        compile(folder / "model.onnx", folder / "model.lane", golden=False, **arguments)
    assert not (folder / "model.lane").exists()
    assert not list(folder.glob(".*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path / 'model.onnx'} does not exist"


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    assert "is not a file" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, this is no protobuf", bytes(100), b"\x08\x08"])
def test_not_an_onnx_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert "model.onnx is not an ONNX file, or it is damaged" in refused(tmp_path)


def test_truncated_file(tmp_path: Path) -> None:
    onnx.save(Case("Conv", [IMAGE, normal(6, 8, 3, 3)]).model(), tmp_path / "model.onnx")
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert "model.onnx is not" in refused(tmp_path)


def test_graph_that_reads_what_nobody_writes(tmp_path: Path) -> None:
    model = graph_model("(float[1,2] x) => (float[1,2] y) { y = Add(x, nobody) }")
    assert "is not a valid ONNX model" in failure(model, tmp_path)


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    message = failure(Case("Conv", [IMAGE, normal(6, 7, 3, 3)]).model(), tmp_path)
    assert (
        message == "node the_node (Conv) is malformed: weights [6, 7, 3, 3] in 1 groups do not fit input [1, 8, 9, 9]"
    )
    message = failure(Case("Conv", [IMAGE, normal(6, 8, 3, 3), normal(5)]).model(), tmp_path)
    assert message == "node the_node (Conv) is malformed: a bias of 5 values, expected 6"
    body = "(float[1,8,9,9] x) => (float[1,8,9,9] y) { y = BatchNormalization(x, s, s, s, s) }"
    message = failure(graph_model(body, {"s": normal(7)}), tmp_path)
    assert message.startswith("node batchnormalization_0 (BatchNormalization) is malformed: ")


def test_external_data_is_missing(tmp_path: Path) -> None:
    model = Case("Conv", [IMAGE, normal(6, 8, 3, 3)]).model()
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    message = refused(tmp_path)
    assert "weights.bin" in message
    assert "external data" in message


def test_too_old_an_opset(tmp_path: Path) -> None:
    assert "uses opset 8, expected 9 to" in failure(Case("Relu", [IMAGE], opset=8).model(), tmp_path)


def test_every_unsupported_node_is_named(tmp_path: Path) -> None:
    body = """
        a = Relu(x) b = Bernoulli(a) c = Cast<to = 1>(b)
        d = Det(x) e = Unsqueeze(d, axes) f = Conv(x, a) g = Transpose(f) h = RandomNormalLike(g)
        y = Sum(a, c, e, f, h)
    """
    model = graph_model(f"(float[1,8,9,9] x) => (float[1,8,9,9] y) {{ {body} }}", {"axes": ints(2, 3)})
    message = failure(model, tmp_path)
    assert message.startswith("4 unsupported nodes: ")
    for part in (
        "bernoulli_1 (Bernoulli): in its definition, RandomUniformLike: edgelane does not know this operator",
        "det_3 (Det): edgelane does not know this operator",
        "conv_5 (Conv): its weight is computed at run time, expected a constant",
        "randomnormallike_7 (RandomNormalLike): edgelane does not know this operator",
    ):
        assert part in message


def test_unnamed_nodes_get_a_name(tmp_path: Path) -> None:
    model = graph_model("(float[2,2] x) => (float y) { y = Det(x) }")
    model.graph.node[0].name = ""
    assert failure(model, tmp_path) == "1 unsupported node: Det_0 (Det): edgelane does not know this operator"


def test_operator_of_another_domain(tmp_path: Path) -> None:
    model = graph_model("(float[2] x) => (float[n] y) { y = com.microsoft.BiasGelu(x, x) }", microsoft=True)
    assert "(com.microsoft.BiasGelu): edgelane does not know this operator" in failure(model, tmp_path)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


REASONS = {
    "Conv 4-D": (Case("Conv", [Input((1, 8, 9, 9, 9, 9)), normal(4, 8, 3, 3, 3, 3)]), "4 axes, 1 to 3 are possible"),
    "MaxPool 4-D": (Case("MaxPool", [Input((1, 8, 9, 9, 9, 9))], {"kernel_shape": [2] * 4}), "4 axes"),
    "MatMul of int64": (Case("MatMul", [Input((3, 3), dtype=TensorProto.INT64)] * 2), "a product of int64"),
    "ConvTranspose same with output padding": (
        Case(
            "ConvTranspose",
            [IMAGE, normal(8, 3, 3, 3)],
            {"strides": [2, 2], "auto_pad": "SAME_UPPER", "output_padding": [1, 0]},
        ),
        "output_padding together with auto_pad",
    ),
    "Cast": (Case("Cast", [IMAGE], {"to": TensorProto.DOUBLE}), "from float32 to float64"),
    "Resize of a long axis": (
        Case(
            "Resize",
            [Input((1, 1, 10_000)), None, np.array([1, 1, 0.5], np.float32)],
            {"mode": "linear", "antialias": 1},
            18,
        ),
        "axis 2 would take a table of 100000000 entries",
    ),
    "MaxPool positions of large windows": (
        Case("MaxPool", [Input((1, 1, 300, 300))], {"kernel_shape": [99, 99]}, outputs=2),
        "its windows would take a table of",
    ),
    "Reshape at run time": (
        Case("Reshape", [IMAGE, Input((2,), dtype=TensorProto.INT64)]),
        "its input shape is computed at run time",
    ),
    "Dropout in training": (Case("Dropout", [IMAGE, np.float32(0.5), np.array(True)]), "training mode"),
    "BatchNormalization training": (
        Case("BatchNormalization", [IMAGE, *[normal(8)] * 4], {"training_mode": 1}, outputs=3),
        "training mode",
    ),
    "rank 7": (Case("Reshape", [Input((2, 2)), ints(1, 1, 1, 1, 1, 2, 2)]), "rank 7"),
}


@pytest.mark.parametrize("name", REASONS)
def test_reason(name: str, tmp_path: Path) -> None:
    case, reason = REASONS[name]
    model = case.model()
    message = failure(model, tmp_path)
    assert f"the_node ({case.op}): " in message
    assert reason in message


ROIS = [IMAGE, normal(2, 4), np.zeros(2, np.int64)]
WORDS = {
    "auto_pad": Case("Conv", [IMAGE, normal(6, 8, 3, 3)]),
    "direction": Case("BitShift", [Input((2, 3), dtype=TensorProto.UINT8), np.ones((2, 3), np.uint8)]),
    "approximate": Case("Gelu", [IMAGE], opset=20),
    "coordinate_transformation_mode": Case("RoiAlign", ROIS, {"output_height": 2, "output_width": 2}),
    "reduction": Case("ScatterND", [Input((4,)), ints(1, 2).reshape(2, 1), normal(2)], opset=18),
    "padding_mode": Case("GridSample", [IMAGE, normal(1, 3, 3, 2)]),
    "nearest_mode": Case("Resize", [IMAGE, None, np.array([1, 1, 2, 2], np.float32)]),
    "mode": Case("Pad", [IMAGE, ints(0, 0, 1, 1, 0, 0, 1, 1)]),
}


@pytest.mark.parametrize("attribute", WORDS)
def test_a_word_that_the_standard_does_not_have(attribute: str, tmp_path: Path) -> None:
    case = WORDS[attribute]
    message = failure(replace(case, attributes={**case.attributes, attribute: "other"}).model(), tmp_path)
    assert f"its {attribute} is 'other', expected " in message


def test_a_word_that_the_mode_does_not_use(tmp_path: Path) -> None:
    case = Case(
        "Resize", [IMAGE, None, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear", "nearest_mode": "other"}
    )
    onnx.save(case.model(), tmp_path / "model.onnx")
    assert compile(tmp_path / "model.onnx", tmp_path / "model.lane", golden=False).layers


@pytest.mark.parametrize("dtype", [TensorProto.UINT16, TensorProto.DOUBLE, 33])
def test_other_types(dtype: int, tmp_path: Path) -> None:
    message = failure(Case("Abs", [Input((2, 3), dtype=dtype)]).model(), tmp_path)
    assert "in0 (input): it is " in message
    assert "expected one of float32, int8, int32, int64, bool, uint8" in message


def dynamic(*dims: int | str) -> onnx.ModelProto:
    return graph_model(f"(float[{','.join(map(str, dims))}] x) => (float[a,b,c,d] y) {{ y = Relu(x) }}")


def test_dynamic_dimensions_are_named(tmp_path: Path) -> None:
    message = failure(dynamic("batch", 3, "height", "width"), tmp_path)
    assert message == (
        "dynamic dimensions x[2] (height), x[3] (width): give their sizes in input_shapes, or on the command line as "
        "--shape x=1,3,?,? with a number for each ?"
    )


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"x": (1, 3, 5)}, "which [1, 3, 5] does not fit"),
        ({"x": (0, 3, 5, 5)}, "at least 1"),
        ({"image": (1, 3, 5, 5)}, "no input 'image'; its inputs are x"),
    ],
)
def test_wrong_input_shapes(shapes: dict[str, tuple[int, ...]], expected: str, tmp_path: Path) -> None:
    assert expected in failure(dynamic("batch", 3, "height", "width"), tmp_path, input_shapes=shapes)


def test_target_in_a_place_that_is_no_folder(tmp_path: Path) -> None:
    onnx.save(Case("Relu", [IMAGE]).model(), tmp_path / "model.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgelaneError, match=r"cannot write .*model.lane: .*file is not a folder"):
        compile(tmp_path / "model.onnx", tmp_path / "file" / "model.lane", golden=False)


def test_a_model_is_never_replaced_by_what_is_compiled_from_it(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(Case("Relu", [IMAGE]).model(), source)
    before = source.read_bytes()
    (tmp_path / "link.lane").symlink_to(source)
    for target in (source, tmp_path / "link.lane"):
        with pytest.raises(EdgelaneError, match=r"would replace the model .*model.onnx"):
            compile(source, target, golden=False)
    assert source.read_bytes() == before


def test_an_existing_target_survives_a_failure(tmp_path: Path) -> None:
    onnx.save(graph_model("(float[2,2] x) => (float y) { y = Det(x) }"), tmp_path / "model.onnx")
    (tmp_path / "model.lane").write_bytes(b"old")
    with pytest.raises(EdgelaneError):
        compile(tmp_path / "model.onnx", tmp_path / "model.lane")
    assert (tmp_path / "model.lane").read_bytes() == b"old"


def test_metadata_that_is_not_json(tmp_path: Path) -> None:
    model = Case("Relu", [IMAGE]).model()
    helper.set_model_props(model, {"edgelane.classes": "[oops"})
    assert "edgelane.classes is not JSON" in failure(model, tmp_path)


def test_onnx_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in list(sys.modules):
        if name.startswith(("edgelane.export.compiler.onnx_", "edgelane.export.compiler.qlinear")):
            monkeypatch.delitem(sys.modules, name)
    for name in ("onnx_file", "onnx_import"):
        monkeypatch.delattr(f"edgelane.export.compiler.{name}", raising=False)
    assert "pip install 'edgelane[export]'" in refused(tmp_path)


def test_scale_that_is_not_positive(tmp_path: Path) -> None:
    case = Case("QuantizeLinear", [IMAGE, np.float32(0), np.int8(0)])
    assert "its scale is not positive and finite" in failure(case.model(), tmp_path)


def test_weights_with_another_type(tmp_path: Path) -> None:
    model = graph_model("(float[1,2] x) => (float[1,2] y) { y = Add(x, w) }", {"w": np.ones(2, np.float64)})
    message = failure(model, tmp_path)
    assert message == "node add_0 (Add) is malformed: B has inconsistent type tensor(double)"
