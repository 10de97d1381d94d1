"""`edgelane check` as it is typed: what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import FLOAT, PADDED, changed, constants, quantized, write

from edgelane import _C
from edgelane.__main__ import main
from edgelane.cli.check import parse_isas
from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    weights = constants()
    weights["w1"][:, 2:] = 0
    write(made / "float.onnx", FLOAT, weights)
    write(made / "int8.onnx", *quantized())
    changed(made / "float.onnx", made / "float_wrong.onnx", "w2", 0.5)
    for name in ("float", "float_wrong"):
        compile(made / f"{name}.onnx", made / f"{name}.lane")
    return made


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """What `edgelane check ...` prints; blanks in a row are one."""
    assert main(["check", *map(str, words)]) == code
    return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())


def test_a_sound_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, folder / "float.onnx", "--layers")
    assert "operators: all supported" in text
    assert "node_second conv2d float32 1x8x12x12 1x8x12x12 0.08 0.02 25% 50% 25% 50%" in text
    assert "node_first conv2d float32 1x3x12x12 1x8x12x12 0.03 0.03 100% 100% 100% 100% dense" in text
    assert f"measured here: {_C.available_isas()[-1]}, 1 thread" in text
    assert f"{folder / 'float.onnx'} (ONNX Runtime) and compiled on {_C.available_isas()[-1]}: equal" in text
    assert "a node_a Relu float32 1152" in text, "values inside, with --layers"
    assert "Q/DQ" not in text, "a float model has none"
    assert text.endswith("\nok")


def test_every_kernel_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, folder / "int8.onnx", "--isa", "all")
    for isa in _C.available_isas():
        assert f"(ONNX Runtime) and compiled on {isa}: equal; end to end, where int8 steps add up" in text
    assert "Q/DQ for TensorRT 10 and 11: 0 errors, 0 that cost speed" in text
    assert text.count("values from the same int8 values before them") == len(_C.available_isas())
    assert parse_isas(None) == [None]
    assert parse_isas("scalar,scalar") == ["scalar"]
    with pytest.raises(EdgelaneError, match="this CPU has no kernel set 'fast'; it has scalar"):
        parse_isas("scalar,fast")


def test_a_wrong_file_is_found_at_its_node(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, folder / "float.onnx", "--against", folder / "float_wrong.lane", "--layers", code=1)
    assert "first part at node_c (Relu), value c: worst" in text
    assert "compiled on" not in text, "the .lane file that was given takes the place of one made for this"
    assert text.endswith("\nfailed")
    text = said(capsys, folder / "float.onnx", "--against", folder / "float_wrong.lane", code=1)
    assert "first part at node_y (Gemm), value y" in text
    assert "--layers looks inside" in text


def test_a_loose_tolerance_is_not_silent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["check", str(folder / "float.onnx"), "--against", str(folder / "float_wrong.lane"), "--tolerance", "1"])
        == 0
    )
    captured = capsys.readouterr()
    assert "--tolerance 1 is looser than edgelane's own 0.0001" in captured.err
    assert "was compiled from another ONNX file" in captured.err


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder / "float.onnx"), "--against", str(folder / "float_wrong.onnx"), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["failed"]) == (False, True)
    assert {row["name"] for row in result["layers"]} >= {"node_first", "node_second", "node_third", "node_y"}
    compiled, other = result["comparisons"]
    assert compiled["ok"]
    assert compiled["layers"] == []
    assert other["first"]["node"] == "node_y"
    assert result["findings"] == []


def test_inputs_from_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "black.npy", np.zeros((1, 3, 12, 12), np.float32))
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    wrong = [folder / "float.onnx", "--against", folder / "float_wrong.onnx"]
    said(capsys, *wrong, "--input", tmp_path / "black.npy")  # the changed weight sees nothing
    said(capsys, *wrong, "--input", tmp_path / "black.npy", "--input", tmp_path / "picture.png", code=1)


def test_a_model_that_does_not_compile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, made = quantized()
    body = body.replace("xdq = QuantizeLinear(x,", "e = com.example.Denoise(x) xdq = QuantizeLinear(e,")
    write(tmp_path / "m.onnx", body, made, domain="com.example")
    text = said(capsys, tmp_path / "m.onnx", code=1)
    assert "1 node not supported" in text
    assert "node_e com.example.Denoise edgelane does not know this operator an operator of another domain" in text


def test_layers_and_lint_of_a_model_that_does_not_compile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, made = quantized()
    made["u"] = np.uint8(0)
    body = body.replace("(x, xds, z)", "(x, xds, u)").replace("(xdq, xds, z)", "(xdq, xds, u)")
    body = body.replace("f = Flatten(m)", "f = Flatten(m) n = NonZero(m) k = Cast<to = 1>(n)")
    write(tmp_path / "m.onnx", body, made, "float[1,5] y, float[r,c] k")
    text = said(capsys, tmp_path / "m.onnx", code=1)
    assert "node_n NonZero its input X is computed at run time, expected a constant end the network with" in text
    assert "node_third conv2d int8 1x8x12x12 1x16x12x12 0.17" in text
    assert "2 errors, 0 that cost speed" in text
    assert "node_xdq (QuantizeLinear): uint8 activations" in text


def test_a_model_that_is_cut(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands behind the cut need not compile, and the outputs are values inside the model."""
    body = FLOAT + " n = NonZero(y) k = Cast<to = 1>(n)"
    write(tmp_path / "m.onnx", body, outputs="float[r,c] k")
    said(capsys, tmp_path / "m.onnx", code=1)
    text = said(capsys, tmp_path / "m.onnx", "--outputs", "y, b")
    assert "y node_y Gemm float32 5" in text
    assert "b node_b Relu float32 1152" in text
    compile(tmp_path / "m.onnx", tmp_path / "m.lane", outputs=["y"])
    assert "y node_y Gemm float32 5" in said(
        capsys, tmp_path / "m.onnx", "--outputs", "y", "--against", tmp_path / "m.lane"
    )


def test_strict_fails_on_what_tensorrt_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, made = quantized()
    made["u"] = np.uint8(100)
    body = body.replace("(x, xds, z)", "(x, xds, u)").replace("(xdq, xds, z)", "(xdq, xds, u)")
    write(tmp_path / "m.onnx", body, made)
    assert "error zero-point: TensorRT wants zero point 0 everywhere. Fix:" in said(capsys, tmp_path / "m.onnx")
    said(capsys, tmp_path / "m.onnx", "--strict", code=1)


def test_a_compiled_file_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, folder / "float.lane", "--isa", "all")
    assert "node_second conv2d" in text
    assert f"float.lane on scalar and {folder / 'float.lane'} on {_C.available_isas()[-1]}: equal" in text
    assert "operators" not in text


def colour_classifier(path: Path, swapped: bool = False) -> Path:
    """Red or blue: the mean of one channel minus that of the other."""
    weights = np.array([[-1, 0, 1], [1, 0, -1]], np.float32)
    made = {"fc": weights[::-1].copy() if swapped else weights, "k": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)}
    body = "h = Conv(x, k) p = GlobalAveragePool(h) f = Flatten(p) y = Gemm<transB = 1>(f, fc)"
    return write(path, body, made, "float[1,2] y")


def test_the_task_metric_of_every_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for colour, rgb in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / "data" / colour).mkdir(parents=True)
        for number in range(12):
            picture = Image.new("RGB", (14, 14), rgb)
            picture.putpixel((number, 3), (number * 9, 40, 7))  # two pictures of one split may not be the same
            picture.save(tmp_path / "data" / colour / f"{number}.png")
    right, wrong = colour_classifier(tmp_path / "r.onnx"), colour_classifier(tmp_path / "w.onnx", swapped=True)
    text = said(capsys, right, "--against", wrong, "--data", tmp_path / "data", code=1)
    rows = {line.split(" (")[0].split(" on ")[0]: line for line in text.splitlines() if line.count("%") == 4}
    assert "100.00% 100.00% 100.00% 100.00%" in rows[str(right)]
    assert "100.00% 100.00% 100.00% 100.00%" in rows["compiled"]
    assert " 0.00% 0.00% 0.00% 0.00%" in rows[str(wrong)]


def test_a_run_folder_stands_for_what_is_in_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path)]) == 1
    assert f"holds no model.onnx: run `edgelane export {tmp_path}` first" in capsys.readouterr().err
    (tmp_path / "model.onnx").write_bytes((folder / "float.onnx").read_bytes())
    (tmp_path / "model.lane").write_bytes((folder / "float_wrong.lane").read_bytes())
    assert f"{tmp_path / 'model.lane'} on" in said(capsys, tmp_path, code=1)
    (tmp_path / "model.lane").write_bytes((folder / "float.lane").read_bytes())
    said(capsys, tmp_path)


def test_open_dimensions_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    path = write(tmp_path / "m.onnx", f"y = Conv<{PADDED}>(x, w0)", {"w0": constants()["w0"]}, "float[1,8,h,w] y")
    model = onnx.load(path)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "hw"
    onnx.save(model, path)
    assert main(["check", str(path)]) == 1
    assert "dynamic dimensions" in capsys.readouterr().err
    assert "1x3x7x9 1x8x7x9" in said(capsys, path, "--shape", "x=1,3,7,9")
