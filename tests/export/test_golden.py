"""The golden frame: whose answer it holds by which rule, and what it finds on every instruction set of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_cases import Array, compiled, graph_model, normal, onnxruntime_outputs, rng
from PIL import Image
from qdq_builder import IMAGE, SCALE, QdqBuilder

from edgelane import _C, EdgelaneError, Session
from edgelane.export.compiler import compile, golden, lane_file
from edgelane.export.compiler.graph import Graph, Tensor
from edgelane.export.compiler.lane_file import CLOSE, ROUNDED, SAME
from edgelane.preprocessing import Preprocessing

SIZE = 12
PREPROCESSING = Preprocessing(SIZE, SIZE).to_dict()


def frame_of(content: lane_file.LaneFile) -> tuple[dict[str, Array], dict[str, int]]:
    """The golden frame by the names of the tensors."""
    names = [tensor.name for tensor in content.tensors]
    values = {names[index]: value for index, value in content.golden.items()}
    return values, {names[index]: rule for index, rule in content.golden_rules.items()}


def float_network() -> onnx.ModelProto:
    body = "c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Relu(c) z = Transpose<perm = [0, 1, 3, 2]>(x)"
    return graph_model(f"(float[1,3,{SIZE},{SIZE}] x) => (float y, float z) {{ {body} }}", {"w": normal(8, 3, 3, 3)})


def int8_network(activation: str = "Relu") -> onnx.ModelProto:
    """Two int8 convolutions with an activation between them, to float32."""
    b = QdqBuilder()
    x = b.round_trip(b.input(*IMAGE), SCALE)
    h = b.round_trip(b.node(activation, b.node("Conv", x, b.weight(16, 8, 3, 3))), SCALE)
    return b.model(b.round_trip(b.node("Conv", h, b.weight(6, 16, 3, 3, seed=3)), 0.2))


def altered(content: lane_file.LaneFile, folder: Path, name: str, change: float) -> Path:
    """A copy of a file whose expected output is off by `change` in its last element."""
    index = next(i for i, tensor in enumerate(content.tensors) if tensor.name == name)
    value = content.golden[index].copy()
    value.reshape(-1)[-1] += np.asarray(change, value.dtype)
    content.golden[index] = value
    path = folder / "altered.lane"
    path.write_bytes(lane_file.to_bytes(content))
    return path


def test_float32_outputs_are_onnxruntimes(tmp_path: Path) -> None:
    report, content = compiled(float_network(), tmp_path, golden=True)
    values, rules = frame_of(content)
    expected = onnxruntime_outputs(tmp_path / "model.onnx", {"x": values["x"]}, as_written=True)
    for name in ("y", "z"):
        np.testing.assert_array_equal(values[name], expected[name])
    assert rules == {"y": CLOSE, "z": SAME}
    assert report.golden == "written"
    assert report.parity["z"] == 0.0
    assert 0.0 <= report.parity["y"] < 1e-6
    assert report.to_dict()["parity"] == report.parity


@pytest.mark.parametrize(
    ("activation", "rule"), [("Relu", SAME), ("LeakyRelu", SAME), ("HardSwish", SAME), ("Sigmoid", ROUNDED)]
)
def test_int8_outputs_are_edgelanes_own(activation: str, rule: int, tmp_path: Path) -> None:
    report, content = compiled(int8_network(activation), tmp_path, golden=True)
    values, rules = frame_of(content)
    (name,) = rules
    feeds = {key: value for key, value in values.items() if key != name}
    np.testing.assert_array_equal(values[name], Session(tmp_path / "model.lane").run(feeds)[name])
    assert rules == {name: rule}
    wanted = onnxruntime_outputs(tmp_path / "model.onnx", feeds, as_written=True)[name]
    assert report.parity[name] == pytest.approx(np.abs(values[name] - wanted).max() / np.abs(wanted).max(), rel=1e-5)


def test_float32_between_int8_layers_is_rounded(tmp_path: Path) -> None:
    b = QdqBuilder()
    h = b.node("Softmax", b.round_trip(b.input(*IMAGE), SCALE), axis=1)
    y = b.node("Conv", b.round_trip(h, 0.01), b.weight(6, 8, 1, 1))
    _, content = compiled(b.model(b.round_trip(y, 0.01)), tmp_path, golden=True)
    assert list(content.golden_rules.values()) == [ROUNDED]


def test_every_instruction_set_passes_and_finds_a_wrong_answer(tmp_path: Path) -> None:
    for model, change in ((float_network(), 0.5), (int8_network(), 0.2)):
        _, content = compiled(model, tmp_path, golden=True)
        name = content.tensors[next(iter(content.golden_rules))].name
        wrong = altered(content, tmp_path, name, change)
        for isa in _C.available_isas():
            assert Session(tmp_path / "model.lane", isa=isa, self_test=True).isa == isa
            with pytest.raises(
                EdgelaneError, match=f"altered.lane: self-test failed on {isa}: output .{name}. differs "
            ):
                Session(wrong, isa=isa, self_test=True)
        Session(wrong)  # without a self-test nothing is run


def test_the_environments_instruction_set_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, content = compiled(float_network(), tmp_path, golden=True)
    wrong = altered(content, tmp_path, "y", 0.5)
    monkeypatch.setenv("EDGELANE_ISA", "scalar")
    with pytest.raises(EdgelaneError, match="self-test failed on scalar"):
        Session(wrong, self_test=True)


def test_without_a_golden_frame_a_self_test_fails(tmp_path: Path) -> None:
    compiled(float_network(), tmp_path)
    with pytest.raises(EdgelaneError, match="found none; compile the file with --golden random or --golden IMAGE"):
        Session(tmp_path / "model.lane", self_test=True)
    with pytest.raises(EdgelaneError, match="expected self_test to be True or False, found 1"):
        Session(tmp_path / "model.lane", self_test=1)  # type: ignore[arg-type]


@pytest.fixture
def disagree(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Array], Array]], None]:
    """Return a function that lets ONNX Runtime answer something else: what the given one makes of each output."""
    import onnxruntime

    original = onnxruntime.InferenceSession

    def use(change: Callable[[Array], Array]) -> None:
        class OtherAnswers:
            def __init__(self, *args: Any, **options: Any) -> None:
                self.session = original(*args, **options)

            def run(self, names: list[str], feeds: dict[str, Array]) -> list[Array]:
                return [change(value) for value in self.session.run(names, feeds)]

        monkeypatch.setattr(onnxruntime, "InferenceSession", OtherAnswers)

    return use


@pytest.mark.parametrize("model", [float_network(), int8_network()], ids=["float32", "int8"])
def test_a_file_that_disagrees_with_onnxruntime_gets_no_frame(
    model: onnx.ModelProto, disagree: Any, tmp_path: Path
) -> None:
    disagree(lambda value: value[..., ::-1].copy())  # mirrored
    report, content = compiled(model, tmp_path, golden=True)
    assert report.golden.startswith("not written: edgelane on this machine and ONNX Runtime disagree: output ")
    assert "expected " in report.golden
    assert (content.golden, report.parity) == ({}, {})
    assert not list(tmp_path.glob(".*"))


def test_onnxruntimes_output_must_have_the_dtype_and_shape_of_the_file(disagree: Any, tmp_path: Path) -> None:
    disagree(lambda value: value.astype(np.float64))
    report, _ = compiled(float_network(), tmp_path, golden=True)
    assert "expected the output 'y' to be float32 [1, 8, 12, 12], ONNX Runtime gives float64" in report.golden


def test_an_output_that_is_not_finite_proves_nothing(tmp_path: Path) -> None:
    model = graph_model("(float[1,4] x) => (float[1,4] y) { y = Log(x) }")
    report, _ = compiled(model, tmp_path, golden=True)
    assert report.golden == "not written: the model's output 'y' for the golden input is not finite"


def test_random_inputs_of_every_dtype() -> None:
    dtypes = ("float32", "int8", "uint8", "bool", "int32", "int64")
    graph = Graph([Tensor(dtype, (40, 50), dtype) for dtype in dtypes])
    feeds = golden.random_inputs(graph)
    assert {name: str(value.dtype) for name, value in feeds.items()} == {dtype: dtype for dtype in dtypes}
    assert abs(feeds["float32"].std() - 1) < 0.1
    assert (feeds["int8"].min(), feeds["int8"].max()) == (-128, 127)
    assert (feeds["uint8"].min(), feeds["uint8"].max()) == (0, 255)
    for dtype in ("bool", "int32", "int64"):
        assert np.unique(feeds[dtype]).tolist() == [0, 1]
    for name, value in golden.random_inputs(graph).items():
        np.testing.assert_array_equal(value, feeds[name])


# ---- a picture ----


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(rng(4).integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(path)
    return path


def save(model: onnx.ModelProto, folder: Path, preprocessing: Any = PREPROCESSING) -> Path:
    if preprocessing is not None:
        onnx.helper.set_model_props(model, {"edgelane.preprocessing": json.dumps(preprocessing)})
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_picture_is_prepared_as_the_model_says(picture: Path, tmp_path: Path) -> None:
    report = compile(save(float_network(), tmp_path), tmp_path / "model.lane", golden=picture)
    assert report.golden == "written"
    values, _ = frame_of(lane_file.read(tmp_path / "model.lane"))
    np.testing.assert_array_equal(values["x"][0], Preprocessing.from_dict(PREPROCESSING).apply(Image.open(picture)))
    assert Session(tmp_path / "model.lane", self_test=True).check_golden() == report.parity["y"]


@pytest.mark.parametrize(
    ("shape", "preprocessing", "message"),
    [
        (
            "1,3,12,12",
            None,
            "how to prepare a picture, found no metadata entry edgelane.preprocessing",
        ),
        ("1,3,12,13", PREPROCESSING, r"float32 \[1, 3, 12, 12\], found float32 \[1, 3, 12, 13\]; use random"),
        ("2,3,12,12", PREPROCESSING, r"found float32 \[2, 3, 12, 12\]; use random"),
        ("1,3,12,12", {"height": 12}, "preprocessing: width, mean, std missing"),
    ],
)
def test_a_picture_that_is_no_input(
    shape: str, preprocessing: Any, message: str, picture: Path, tmp_path: Path
) -> None:
    model = graph_model(f"(float[{shape}] x) => (float[{shape}] y) {{ y = Relu(x) }}")
    with pytest.raises(EdgelaneError, match=message):
        compile(save(model, tmp_path, preprocessing), tmp_path / "model.lane", golden=str(picture))
    assert not (tmp_path / "model.lane").exists()


def test_a_picture_needs_a_network_with_one_input(picture: Path, tmp_path: Path) -> None:
    shape = f"float[1,3,{SIZE},{SIZE}]"
    model = graph_model(f"({shape} a, {shape} b) => ({shape} y) {{ y = Add(a, b) }}")
    with pytest.raises(EdgelaneError, match=r"found float32 \[1, 3, 12, 12\], float32 \[1, 3, 12, 12\]; use random"):
        compile(save(model, tmp_path), tmp_path / "model.lane", golden=picture)


def test_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    source = save(float_network(), tmp_path)
    with pytest.raises(EdgelaneError, match=r"absent.png does not exist"):
        compile(source, tmp_path / "model.lane", golden=tmp_path / "absent.png")
    with pytest.raises(EdgelaneError, match=r"cannot read the picture .*model.onnx"):
        compile(source, tmp_path / "model.lane", golden=source)


def test_a_picture_that_proves_nothing_is_an_error(picture: Path, disagree: Any, tmp_path: Path) -> None:
    disagree(lambda value: value + np.float32(1))
    with pytest.raises(EdgelaneError, match=r"no golden frame of .*street.png: edgelane on this machine and ONNX"):
        compile(save(float_network(), tmp_path), tmp_path / "model.lane", golden=picture)
    assert not (tmp_path / "model.lane").exists()
    assert not list(tmp_path.glob(".*"))
