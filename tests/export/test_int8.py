"""int8 for ONNX files: what becomes int8, with which numbers, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_cases import Array, compiled, graph_model, normal, onnxruntime_outputs, positive

from edgelane.__main__ import main
from edgelane.errors import EdgelaneError
from edgelane.export.int8 import quantize_onnx
from edgelane.export.int8.equalize import equalize
from edgelane.export.int8.images import PictureOptions, Samples
from edgelane.export.int8.network import Network
from edgelane.export.int8.placement import Graph
from edgelane.export.int8.rewrite import Int8, float_model, quantized_weight, rounded_bias, weight_scale
from edgelane.export.int8.source import read_source
from edgelane.export.int8.verb import GateError
from edgelane.export.lint import lint

SMALL = "(float[n,3,8,8] x) => (float[n,5] y)"
CHAIN = """{
    a = Conv<pads = [1, 1, 1, 1]>(x, first.weight)
    b = BatchNormalization(a, g, h, m, v)
    c = Relu(b)
    d = Conv<pads = [1, 1, 1, 1], group = 8>(c, second.weight, second.bias)
    e = Add(d, c)
    f = GlobalAveragePool(e)
    k = Flatten(f)
    y = Gemm<transB = 1>(k, fc.weight, fc.bias)
}"""


def small_constants() -> dict[str, Array]:
    return {
        "first.weight": normal(8, 3, 3, 3, seed=1),
        "g": positive(8, seed=2),
        "h": normal(8, seed=3),
        "m": normal(8, seed=4),
        "v": positive(8, seed=5),
        "second.weight": normal(8, 1, 3, 3, seed=6),
        "second.bias": normal(8, seed=7),
        "fc.weight": normal(5, 8, seed=8),
        "fc.bias": normal(5, seed=9),
    }


def saved(folder: Path, body: str, constants: dict[str, Array], signature: str = SMALL, **options: Any) -> Path:
    quoted = re.sub(r"(\w+\.(?:weight|bias))", r'"\1"', body)
    onnx.save(graph_model(f"{signature} {quoted}", constants, **options), folder / "model.onnx")
    return folder / "model.onnx"


def calibration(folder: Path, *shape: int, count: int = 12) -> Path:
    images = folder / "images"
    images.mkdir(exist_ok=True)
    np.save(images / "x.npy", normal(count, *(shape or (3, 8, 8)), seed=20))
    return images


def ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def initializers(path: Path) -> dict[str, Array]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return saved(tmp_path, CHAIN, small_constants())


def test_a_small_network_becomes_int8_throughout(small: Path, tmp_path: Path) -> None:
    model = onnx.load(small)
    model.metadata_props.add(key="edgelane.task", value="classification")
    onnx.save(model, small)
    report = quantize_onnx(small, calibration(tmp_path), tmp_path / "out.onnx", method="minmax")
    out = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(out, full_check=True)
    assert out.graph.input == model.graph.input
    assert out.graph.output == model.graph.output
    assert out.opset_import == model.opset_import
    assert next(entry.value for entry in out.metadata_props if entry.key == "edgelane.task") == "classification"
    assert "BatchNormalization" not in ops(tmp_path / "out.onnx")
    assert [row["name"] for row in report["layers"]] == ["first", "second", "fc"]
    assert all(row["dtype"] == "int8" for row in report["layers"])
    assert set(report["scales"]) == {"x", "c", "d", "e", "f", "k"}
    assert report["scales"]["f"] == report["scales"]["k"]
    assert report["scales"]["x"] == pytest.approx(np.abs(normal(12, 3, 8, 8, seed=20)).max() / 127)
    assert report == json.loads((tmp_path / "out.json").read_text())
    assert [finding for finding in lint(out) if finding.severity == "error"] == []
    assert report["sqnr_db"]["y"] > 30
    steps, _ = compiled(_fixed(out), tmp_path)
    assert {layer.dtype for layer in steps.layers if layer.op in ("conv2d", "linear")} == {"int8"}


def _fixed(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model


def test_weights_are_rounded_per_output_channel_and_biases_to_the_grid() -> None:
    weight = np.array([[1.27, -0.005], [0.0, 0.0], [-0.5, 0.25]], np.float32)
    bias = np.array([0.1, 0.7, 0.0], np.float32)
    scale = weight_scale(weight, 0, bias, np.float32(0.02))
    assert scale[[0, 2]] == pytest.approx([0.01, 0.5 / 127])
    assert scale[1] == pytest.approx(0.7 / 0.02 / 2**24)  # a channel of zeros keeps its bias
    assert quantized_weight(weight, 0, scale).tolist() == [[127, 0], [0, 0], [-127, 64]]
    assert rounded_bias(bias, scale, np.float32(0.02))[0] == pytest.approx(500 * 0.0002)
    assert weight_scale(weight.T, 1, bias, np.float32(0.02)) == pytest.approx(scale)
    assert weight_scale(weight, 0, None, np.float32(0.02), per_channel=False) == pytest.approx(0.01)


def test_a_matmul_with_its_bias_is_one_layer_and_gets_a_bias_by_correction(tmp_path: Path) -> None:
    body = "{ a = MatMul(x, up.weight) b = Add(a, up.bias) c = Relu(b) y = MatMul(c, down.weight) }"
    constants = {"up.weight": normal(6, 8), "up.bias": normal(8, seed=1), "down.weight": normal(8, 4, seed=2)}
    signature = "(float[n,7,6] x) => (float[n,7,4] y)"
    path = saved(tmp_path, body, constants, signature)
    images = calibration(tmp_path, 7, 6)
    report = quantize_onnx(path, images, tmp_path / "out.onnx", bias_correction=True)
    assert [(row["name"], row["dtype"]) for row in report["layers"]] == [("up", "int8"), ("down", "int8")]
    assert set(report["scales"]) == {"x", "c"}
    assert ops(tmp_path / "out.onnx").count("Add") == 2
    assert initializers(tmp_path / "out.onnx")["up.weight"].dtype == np.int8
    steps, _ = compiled(_fixed(onnx.load(tmp_path / "out.onnx")), tmp_path)
    assert [layer.dtype for layer in steps.layers if layer.op == "linear"] == ["int8", "int8"]


def test_bias_correction_takes_the_mean_error_back(small: Path, tmp_path: Path) -> None:
    images = calibration(tmp_path)
    feeds = {"x": np.load(images / "x.npy")}
    wanted = onnxruntime_outputs(small, feeds)["y"].mean(0)
    errors = {}
    for corrected in (False, True):
        quantize_onnx(small, images, tmp_path / "out.onnx", bias_correction=corrected, per_channel=False)
        found = onnxruntime_outputs(tmp_path / "out.onnx", feeds, as_written=True)["y"].mean(0)
        errors[corrected] = np.abs(found - wanted).max()
    assert errors[True] < 0.1 * errors[False]


INVERTED = """{
    a = Conv(x, first.weight, first.bias)
    b = Clip(a, zero, six)
    c = Conv<group = 8>(b, second.weight, second.bias)
    d = Relu(c)
    e = Conv(d, third.weight)
    y = GlobalAveragePool(e)
}"""


def inverted(folder: Path) -> Path:
    """An inverted bottleneck whose channels differ a thousandfold, the last beyond the limit."""
    spread = np.geomspace(0.003, 3, 8).astype(np.float32)
    constants = {
        "first.weight": normal(8, 3, 1, 1) * spread.reshape(8, 1, 1, 1),
        "first.bias": normal(8, seed=1) * spread,
        "zero": np.float32(0),
        "six": np.float32(6),
        "second.weight": normal(8, 1, 1, 1, seed=2),
        "second.bias": normal(8, seed=3) * spread,
        "third.weight": normal(4, 8, 1, 1, seed=4) / spread.reshape(1, 8, 1, 1),
    }
    return saved(folder, INVERTED, constants, "(float[n,3,8,8] x) => (float[n,4,1,1] y)")


def test_equalisation_levels_the_channels_that_share_a_scale(tmp_path: Path) -> None:
    path, images = inverted(tmp_path), calibration(tmp_path)
    plain = quantize_onnx(path, images, tmp_path / "plain.onnx")
    report = quantize_onnx(path, images, tmp_path / "out.onnx", equalize=True)
    assert report["equalized"] == [["first", "second"], ["second", "third"]]
    assert report["sqnr_db"]["y"] > plain["sqnr_db"]["y"] + 10
    assert "Clip" not in ops(tmp_path / "out.onnx")
    assert "Min" not in ops(tmp_path / "out.onnx")
    kept = quantize_onnx(path, images, tmp_path / "kept.onnx", equalize=True, float_layers=["second"])
    assert kept["equalized"] == []


def test_an_equalised_model_keeps_its_limits_where_it_is_float(tmp_path: Path) -> None:
    path = inverted(tmp_path)
    source = read_source(path)
    samples = Samples(calibration(tmp_path), source.original, PictureOptions())
    found = equalize(Graph(source.network), samples, range(12))
    assert list(found.limits) == ["b"]
    graph = Graph(Network(source.model, source.network.types))
    feeds = {"x": 3 * normal(6, 3, 8, 8, seed=77)}  # further than calibration went
    wanted = onnxruntime_outputs(path, feeds)["y"]
    assert np.abs(wanted - onnxruntime_outputs(source.model.SerializeToString(), feeds)["y"]).max() > 0.1
    same = float_model(graph, found.limits)
    assert np.allclose(onnxruntime_outputs(same.SerializeToString(), feeds)["y"], wanted, rtol=1e-4, atol=1e-4)
    placement = graph.place()
    scales = dict.fromkeys(placement.sources, 0.05)
    int8 = Int8(graph, placement, scales, limits=found.limits)
    assert [node.op_type for node in int8.model({"second"}).graph.node].count("Min") == 1
    assert [node.op_type for node in int8.model((), only={"first"}).graph.node].count("Min") == 1
    assert [node.op_type for node in int8.model(()).graph.node].count("Min") == 0


def test_activations_in_pieces_are_not_cut(tmp_path: Path) -> None:
    body = """{
        a = Conv(x, w1)
        s = Sigmoid(a)
        silu = Mul(a, s)
        b = Conv(silu, w2)
        t = Add(b, three)
        k = Clip(t, zero, six)
        m = Mul(b, k)
        hard = Div(m, six)
        c = Conv(hard, w3)
        q = Div(c, root)
        r = Erf(q)
        u = Add(r, one)
        p = Mul(c, u)
        gelu = Mul(p, half)
        y = Conv(gelu, w4)
    }"""
    scalars = {"three": 3, "zero": 0, "six": 6, "root": 2**0.5, "one": 1, "half": 0.5}
    constants = {name: np.float32(value) for name, value in scalars.items()}
    constants |= {f"w{index}": normal(4, 3 if index == 1 else 4, 1, 1, seed=index) for index in range(1, 5)}
    path = saved(tmp_path, body, constants, "(float[n,3,8,8] x) => (float[n,4,8,8] y)")
    report = quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx")
    assert set(report["scales"]) == {"x", "silu", "hard", "gelu"}
    steps, _ = compiled(_fixed(onnx.load(tmp_path / "out.onnx")), tmp_path)
    assert [(layer.op, layer.dtype) for layer in steps.layers] == [("quantize", "float32")] + 4 * [("conv2d", "int8")]


def test_a_gate_is_no_activation_function(tmp_path: Path) -> None:
    body = "{ a = Relu(x) p = GlobalAveragePool(a) g = Conv(p, w) s = Sigmoid(g) m = Mul(a, s) y = Conv(m, v) }"
    constants = {"w": normal(3, 3, 1, 1), "v": normal(4, 3, 1, 1)}
    path = saved(tmp_path, body, constants, "(float[n,3,8,8] x) => (float[n,4,8,8] y)")
    report = quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx")
    assert set(report["scales"]) == {"a", "p", "s", "m"}


def test_what_is_joined_shares_one_scale(tmp_path: Path) -> None:
    body = """{
        a = Conv(x, w1)
        b = Conv(x, w2)
        c = Concat<axis = 1>(a, b)
        d = MaxPool<kernel_shape = [2, 2]>(c)
        e = Concat<axis = 1>(d, d)
        y = Conv(e, w3)
    }"""
    constants = {"w1": normal(4, 3, 1, 1), "w2": 9 * normal(4, 3, 1, 1, seed=1), "w3": normal(4, 16, 1, 1)}
    path = saved(tmp_path, body, constants, "(float[n,3,8,8] x) => (float[n,4,7,7] y)")
    report = quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx", method="minmax")
    assert len({report["scales"][name] for name in "abcde"}) == 1
    assert lint(onnx.load(tmp_path / "out.onnx")) == []


def test_additions_are_fused_for_tensorrt_where_asked(small: Path, tmp_path: Path) -> None:
    images = calibration(tmp_path)
    report = quantize_onnx(small, images, tmp_path / "out.onnx", residual="fused")
    assert set(report["scales"]) == {"x", "c", "e", "f", "k"}
    assert lint(onnx.load(tmp_path / "out.onnx")) == []
    with pytest.raises(EdgelaneError, match="unknown residual 'neither'"):
        quantize_onnx(small, images, tmp_path / "out.onnx", residual="neither")


def test_float_layers_by_name_module_and_node(small: Path, tmp_path: Path) -> None:
    images = calibration(tmp_path)
    report = quantize_onnx(small, images, tmp_path / "out.onnx", float_layers=["second", "gemm_7"])
    assert [row["dtype"] for row in report["layers"]] == ["int8", "float32", "float32"]
    assert report["layers"][1]["reason"] == "asked for by name"
    assert set(report["scales"]) == {"x"}
    with pytest.raises(EdgelaneError, match="no layer named 'third'; its layers are first, second, fc"):
        quantize_onnx(small, images, tmp_path / "out.onnx", float_layers=["third"])
    with pytest.raises(EdgelaneError, match="no convolution or linear layer to quantise"):
        quantize_onnx(small, images, tmp_path / "out.onnx", float_layers=["first", "second", "fc"])


def test_the_most_sensitive_layers_stay_float_until_the_outputs_are_good_enough(small: Path, tmp_path: Path) -> None:
    images = calibration(tmp_path)
    plain = quantize_onnx(small, images, tmp_path / "out.onnx", sensitivity=True)
    noise = {entry["name"]: entry["sqnr_db"] for entry in plain["sensitivity"]}
    assert list(noise.values()) == sorted(noise.values())
    assert all(value > plain["sqnr_db"]["y"] for value in noise.values())
    level = plain["sqnr_db"]["y"] + 1
    report = quantize_onnx(small, images, tmp_path / "gated.onnx", min_sqnr=level)
    kept = [row["name"] for row in report["layers"] if row["dtype"] == "float32"]
    assert kept == [name for name in ("first", "second", "fc") if name in list(noise)[: len(kept)]]
    assert kept
    assert report["sqnr_db"]["y"] >= level
    with pytest.raises(GateError, match=r"nothing was written: .* expected 150 dB") as raised:
        quantize_onnx(small, images, tmp_path / "never.onnx", min_sqnr=150)
    assert [entry.name for entry in raised.value.sensitivity] == list(noise)
    assert not (tmp_path / "never.onnx").exists()


def test_what_cannot_be_int8_stays_float_with_its_reason(tmp_path: Path) -> None:
    body = "{ a = Conv(x, w1) b = ConvTranspose(a, w2) c = Softmax<axis = 1>(b) d = Mul(c, k) y = Conv(d, w3) }"
    constants = {name: normal(4, 4, 1, 1, seed=index) for index, name in enumerate(("w1", "w2", "w3"))}
    constants["k"] = normal(1, 4, 1, 1)
    path = saved(tmp_path, body, constants, "(float[n,4,8,8] x) => (float[n,4,8,8] y)")
    report = quantize_onnx(path, calibration(tmp_path, 4, 8, 8), tmp_path / "out.onnx")
    assert [row["dtype"] for row in report["layers"]] == ["int8", "float32", "int8"]
    assert "transposed" in report["layers"][1]["reason"]
    assert set(report["scales"]) == {"x", "d"}


def test_weights_that_two_layers_share_are_quantised_for_each(tmp_path: Path) -> None:
    body = "{ a = Conv(x, w, b1) c = Conv(a, w, b1) y = Relu(c) }"
    constants = {"w": normal(3, 3, 1, 1), "b1": normal(3)}
    path = saved(tmp_path, body, constants, "(float[n,3,8,8] x) => (float[n,3,8,8] y)")
    report = quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx")
    assert report["sqnr_db"]["y"] > 25
    stored = initializers(tmp_path / "out.onnx")
    assert sum(value.dtype == np.int8 and value.ndim == 4 for value in stored.values()) == 2
    assert "w" not in stored


def test_old_opsets_are_converted_and_metadata_kept(tmp_path: Path) -> None:
    body = "{ a = Conv(x, w) b = Clip<min = 0.0, max = 6.0>(a) y = Conv(b, v) }"
    constants = {"w": normal(4, 3, 1, 1), "v": normal(4, 4, 1, 1)}
    path = saved(tmp_path, body, constants, "(float[n,3,8,8] x) => (float[n,4,8,8] y)", opset=9)
    model = onnx.load(path)
    model.metadata_props.add(key="origin", value="elsewhere")
    onnx.save(model, path)
    report = quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx")
    out = onnx.load(tmp_path / "out.onnx")
    assert out.opset_import[0].version == 13
    assert {entry.key: entry.value for entry in out.metadata_props}["origin"] == "elsewhere"
    assert report["sqnr_db"]["y"] > 25


def test_external_data_is_read_and_the_result_is_one_file(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "external"
    folder.mkdir()
    onnx.save(onnx.load(small), folder / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    images = calibration(tmp_path)
    inside = quantize_onnx(small, images, tmp_path / "a.onnx")
    outside = quantize_onnx(folder / "m.onnx", images, tmp_path / "b.onnx")
    assert outside["scales"] == inside["scales"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_refusals(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = calibration(tmp_path)
    quantize_onnx(small, images, tmp_path / "out.onnx")
    with pytest.raises(EdgelaneError, match="is quantised already"):
        quantize_onnx(tmp_path / "out.onnx", images, tmp_path / "again.onnx")
    with pytest.raises(EdgelaneError, match="would replace"):
        quantize_onnx(small, images, small)
    with pytest.raises(EdgelaneError, match="unknown calibration method 'best'"):
        quantize_onnx(small, images, tmp_path / "again.onnx", method="best")
    with pytest.raises(EdgelaneError, match="does not exist"):
        quantize_onnx(tmp_path / "missing.onnx", images, tmp_path / "again.onnx")
    monkeypatch.setattr("edgelane.export.int8.source.MOST_BYTES", 1000)
    with pytest.raises(EdgelaneError, match="bytes of weights; ONNX Runtime, which calibrates, takes at most 1000"):
        quantize_onnx(small, images, tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_a_malformed_node_is_refused_before_any_library_computes_it(tmp_path: Path) -> None:
    body = "{ a, b = Split<axis = 1, num_outputs = 1>(x) c = Conv(a, w) y = Conv(c, v) }"
    constants = {"w": normal(4, 2, 1, 1), "v": normal(4, 4, 1, 1)}
    path = saved(tmp_path, body, constants, "(float[n,4,8,8] x) => (float[n,4,8,8] y)", opset=18)
    with pytest.raises(EdgelaneError, match="node split_0 \\(Split\\) is malformed: expected num_outputs"):
        quantize_onnx(path, calibration(tmp_path, 4, 8, 8), tmp_path / "out.onnx")


def test_nan_in_weights_names_them(tmp_path: Path) -> None:
    weight = normal(4, 3, 1, 1)
    weight[1, 2] = np.nan
    path = saved(tmp_path, "{ y = Conv(x, w) }", {"w": weight}, "(float[n,3,8,8] x) => (float[n,4,8,8] y)")
    with pytest.raises(EdgelaneError, match="1 of 12 values of 'w' are NaN or infinite"):
        quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx")


def test_nan_inside_the_model_names_the_value(tmp_path: Path) -> None:
    body = "{ a = Log(x) y = Conv(a, w) }"
    path = saved(tmp_path, body, {"w": normal(4, 3, 1, 1)}, "(float[n,3,8,8] x) => (float[n,4,8,8] y)")
    with pytest.raises(EdgelaneError, match=r"calibration batch 0: \d+ of 2304 values of activation 'a' are NaN"):
        quantize_onnx(path, calibration(tmp_path), tmp_path / "out.onnx")


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "onnxscript", "lightning", "scipy"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
from edgelane.__main__ import main
sys.exit(main(sys.argv[1:]) or ("torch" in sys.modules))
"""


def test_the_command_needs_no_torch(small: Path, tmp_path: Path) -> None:
    images = calibration(tmp_path)
    command = ["compress", str(small), "--int8", "--calibration", str(images), "--bias-correction", "--equalize"]
    options = ["--sensitivity", "--images", "8", "--float-layers", "fc", "--json"]
    done = subprocess.run([sys.executable, "-c", BLOCKED, *command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert Path(report["onnx"]) == small.with_suffix(".int8.onnx")
    assert report["calibration"]["used"] == 8
    assert report["calibration"]["judged_on"] == "others"
    assert [row["dtype"] for row in report["layers"]] == ["int8", "int8", "float32"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8", "--sparsity", "0.5"], "--sparsity: for a run folder, not an ONNX file"),
        (["--int8", "--set", "seed=1"], "--set: for a run folder, not an ONNX file"),
        (["--int8"], "an ONNX file can be made int8: edgelane compress"),
        (["--int8", "--calibration", "images", "--mean", "1,2"], "--mean: expected three numbers"),
        (["--int8", "--calibration", "images", "--size", "large"], "--size: expected height and width"),
        (["--int8", "--calibration", "images"], "calibration: images is not a folder"),
    ],
)
def test_the_command_says_what_is_wrong(
    small: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", str(small), *options]) == 1
    assert message in capsys.readouterr().err


def test_options_of_onnx_files_are_refused_for_run_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(tmp_path), "--int8", "--min-sqnr", "30"]) == 1
    assert "--min-sqnr: for an ONNX file, not a run folder" in capsys.readouterr().err
