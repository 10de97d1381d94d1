"""Parity finds equal models equal, on every kernel set, and names the node where a changed one parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_models import FLOAT, PADDED, changed, constants, quantized, values, write

from edgelane import _C
from edgelane.check.compare import compare, row_of
from edgelane.check.models import LaneModel, OnnxModel, TorchModel, open_model
from edgelane.export.compiler import compile, lane_file

FRAME = {"x": values(1, 3, 12, 12, seed=7) * 4}
OTHER_FRAME = {"x": values(1, 3, 12, 12, seed=8) * 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.onnx and int8.onnx with their compiled files, and *_wrong of each, with one weight changed."""
    made = tmp_path_factory.mktemp("models")
    write(made / "float.onnx")
    write(made / "int8.onnx", *quantized())
    changed(made / "float.onnx", made / "float_wrong.onnx", "w1", 0.02)
    changed(made / "int8.onnx", made / "int8_wrong.onnx", "w1", -30)
    for path in list(made.glob("*.onnx")):
        compile(path, path.with_suffix(".lane"))
    return made


@pytest.mark.parametrize("isa", _C.available_isas())
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_a_compiled_network_equals_its_model(kind: str, isa: str, folder: Path) -> None:
    lane = LaneModel(folder / f"{kind}.lane", isa)
    assert lane.session.isa == isa
    result = compare(OnnxModel(folder / f"{kind}.onnx"), lane, [FRAME, OTHER_FRAME], layers=True)
    assert result.ok
    assert result.first is None
    assert result.piecewise == (kind == "int8")
    assert {"node_b" if kind == "float" else "node_bq"} <= {row.node for row in result.layers}
    for row in result.layers:
        assert (row.dtype == "int8") == (row.off is not None)
        assert row.worst <= (1 if row.dtype == "int8" else 1e-5)


@pytest.mark.parametrize("reference", ["onnx", "lane"])
def test_the_first_float_node_that_parts(reference: str, folder: Path) -> None:
    models = OnnxModel(folder / "float.onnx"), LaneModel(folder / "float_wrong.lane")
    result = compare(*(models if reference == "onnx" else models[::-1]), [FRAME], layers=True)
    assert not result.ok
    assert result.first is not None
    # the second convolution ends in the addition and the activation behind it
    assert (result.first.node, result.first.op, result.first.value) == ("node_b", "Relu", "b")
    equal = [row.value for row in result.layers if row.ok]
    assert equal == ["a"]
    assert "another ONNX file" in result.note


def test_the_first_int8_node_that_parts(folder: Path) -> None:
    """What the layers behind the wrong one compute from its result is right, piece by piece."""
    result = compare(OnnxModel(folder / "int8.onnx"), LaneModel(folder / "int8_wrong.lane"), [FRAME])
    assert not result.ok
    assert [row.node for row in result.layers if not row.ok] == ["node_bq"]
    assert result.first is not None
    assert result.first.worst > 1


def test_without_layers_only_outputs_are_compared(folder: Path) -> None:
    result = compare(OnnxModel(folder / "float.onnx"), LaneModel(folder / "float_wrong.lane"), [FRAME])
    assert result.layers == []
    assert result.first is not None
    assert (result.first.value, result.first.node) == ("y", "node_y")
    assert not result.ok
    plain = result.to_dict()
    assert plain["first"]["value"] == "y"
    assert plain["ok"] is False


def test_the_worst_frame_counts(folder: Path) -> None:
    """A weight that only sees black pixels makes no difference."""
    black = {"x": np.zeros((1, 3, 12, 12), np.float32)}
    models = OnnxModel(folder / "float.onnx"), LaneModel(folder / "float_wrong.lane")
    assert compare(*models, [black]).ok
    for frames in ([black, FRAME], [FRAME, black]):
        assert not compare(*models, frames).ok


def test_tolerance(folder: Path) -> None:
    models = OnnxModel(folder / "float.onnx"), LaneModel(folder / "float_wrong.lane")
    worst = compare(*models, [FRAME]).outputs[0].worst
    assert compare(*models, [FRAME], tolerance=worst * 1.01).ok
    assert not compare(*models, [FRAME], tolerance=worst * 0.99).ok


def test_two_onnx_files_and_two_compiled_files(folder: Path) -> None:
    for suffix in ("onnx", "lane"):
        right, wrong = (open_model(folder / f"{name}.{suffix}") for name in ("float", "float_wrong"))
        assert compare(right, right, [FRAME], layers=True).ok
        result = compare(right, wrong, [FRAME], layers=True)
        assert result.first is not None
        assert result.first.value == ("second" if suffix == "onnx" else "b")


def test_uint8_activations(tmp_path: Path) -> None:
    """They are int8 in the compiled file, 128 lower."""
    body, made = quantized()
    made["z"], made["u"] = np.int8(0), np.uint8(100)
    for name in ("xd", "a", "b", "c", "m"):
        body = body.replace(f"{name}s, z)", f"{name}s, u)")
    path = write(tmp_path / "model.onnx", body, made)
    compile(path, tmp_path / "model.lane")
    result = compare(OnnxModel(path), LaneModel(tmp_path / "model.lane"), [FRAME])
    assert result.ok
    assert sum(row.dtype == "int8" for row in result.layers) >= 4


@pytest.mark.parametrize("on_grid", [False, True])
def test_biases_that_are_rounded_are_said_and_allowed_more(on_grid: bool, tmp_path: Path) -> None:
    """A coarse product of scales: rounding the bias moves it by up to a twentieth of a step of the output."""
    body, made = quantized()
    made["ws"], made["as"] = np.float32(0.1), np.float32(1.0371)
    grid = made["xds"] * made["ws"]
    made["b0"] = (grid * (np.rint(values(8, seed=3) * 400) + (0 if on_grid else 0.45))).astype(np.float32)
    path = write(tmp_path / "m.onnx", body.replace("(xd, d0)", "(xd, d0, b0)"), made)
    compile(path, tmp_path / "m.lane")
    result = compare(OnnxModel(path), LaneModel(tmp_path / "m.lane"), [FRAME, OTHER_FRAME])
    assert result.ok
    assert result.share == (0.001 if on_grid else 0.01)
    assert ("rounded to int32 (layers: 1, first node_first)" in result.note) == (not on_grid)


def test_values_inside_local_functions(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 17, "local": 1]>
        agraph (float[1,3,12,12] x) => (float[1,3,12,12] y) { h = local.soften(x) y = Relu(h) }
        <domain: "local", opset_import: ["": 17]> soften (a) => (c) { b = Sigmoid(a) d = Tanh(b) c = Neg(d) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    compile(tmp_path / "m.onnx", tmp_path / "m.lane")
    result = compare(OnnxModel(tmp_path / "m.onnx"), LaneModel(tmp_path / "m.lane"), [FRAME], layers=True)
    assert result.ok
    assert [row.op for row in result.layers] == ["Sigmoid", "Tanh", "Neg", "Relu"]


def test_a_file_that_names_no_values_is_not_called_equal(folder: Path, tmp_path: Path) -> None:
    content = lane_file.read(folder / "int8.lane")
    for number, tensor in enumerate(content.tensors):
        if tensor.kind == lane_file.INTERMEDIATE:
            tensor.name = f"t{number}"
    (tmp_path / "old.lane").write_bytes(lane_file.to_bytes(content))
    result = compare(OnnxModel(folder / "int8.onnx"), LaneModel(tmp_path / "old.lane"), [FRAME])
    assert not result.ok
    assert "compile it again" in result.problem


def test_models_of_other_inputs_are_a_problem(folder: Path, tmp_path: Path) -> None:
    small = "z = Relu(q)"
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 17]>\nagraph (float[1,3] q) => (float[1,3] z) {{ {small} }}'
    )
    onnx.save(model, tmp_path / "other.onnx")
    result = compare(OnnxModel(folder / "float.onnx"), OnnxModel(tmp_path / "other.onnx"), [FRAME])
    assert not result.ok
    assert "ONNX Runtime cannot run" in result.problem


def test_what_onnx_runtime_refuses_is_a_problem(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "float.onnx")
    model.graph.node[0].domain = "nobody"
    model.opset_import.append(onnx.helper.make_opsetid("nobody", 1))
    onnx.save(model, tmp_path / "strange.onnx")
    strange = OnnxModel(tmp_path / "strange.onnx")
    assert [spec.name for spec in strange.inputs] == ["x"]
    assert "ONNX Runtime does not load" in compare(strange, LaneModel(folder / "float.lane"), [FRAME]).problem


def test_rows() -> None:
    node = ("n", "Op")
    a = np.array([1.0, -4.0, 0.0, 2.0], np.float32)
    row = row_of("v", node, a, a + np.float32(0.002), 1e-4)
    assert row.worst == pytest.approx(0.0005, rel=1e-3)
    assert row.mean == pytest.approx(0.0005, rel=1e-3)
    assert not row.ok
    assert row_of("v", node, a, a.copy(), 0.0).ok
    assert row_of("v", node, np.zeros(0, np.float32), np.zeros(0, np.float32), 0.0).ok
    for bad in (np.nan, np.inf):
        spoilt = row_of("v", node, a, np.array([1, bad, 0, 2], np.float32), 1e-4)
        assert not spoilt.ok
        assert spoilt.to_dict()["worst"] is None
    assert not row_of("v", node, a, a[:2], 1.0).ok
    assert "[4] against [2]" in row_of("v", node, a, a[:2], 1.0).op


def test_steps() -> None:
    """One step on 0.1 % of the elements, or on one element of a small tensor."""
    zeros = np.zeros(4000, np.int8)
    for off, by, ok in ((4, 1, True), (5, 1, False), (1, 2, False)):
        other = zeros.copy()
        other[:off] = by
        row = row_of("v", ("n", "Op"), zeros, other, 1e-4)
        assert row.ok is ok
        assert (row.worst, row.off) == (by, off / 4000)
    small = np.zeros(10, np.int8)
    assert row_of("v", ("n", "Op"), small, np.eye(1, 10, dtype=np.int8)[0], 0.0).ok
    classes = np.arange(10)
    assert not row_of("v", ("n", "ArgMax"), classes, classes + 1, 0.0).ok


class Network(torch.nn.Module):
    """The float model of small_models in torch, its first convolution halved and doubled again by a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        made = {name: torch.from_numpy(value) for name, value in constants().items()}
        self.first, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.BatchNorm2d(8, eps=0.0)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.third = torch.nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.relu, self.pool = torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(16, 5, bias=False)
        torch.nn.init.constant_(self.norm.weight, 2.0)
        for layer, name in ((self.first, "w0"), (self.second, "w1"), (self.third, "w2"), (self.fc, "fc")):
            layer.weight.data = made[name] / (2 if name == "w0" else 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.relu(self.norm(self.first(x)))
        b = self.relu(self.second(a) + a)
        result: torch.Tensor = self.fc(self.pool(self.relu(self.third(b))).flatten(1))
        return result


def test_a_torch_module_equals_its_model(folder: Path) -> None:
    result = compare(OnnxModel(folder / "float.onnx"), TorchModel(Network(), "network"), [FRAME], layers=True)
    assert result.ok
    assert [(row.value, row.node) for row in result.layers] == [
        ("norm", "node_first"),  # the convolution before it has no value of its own in the graph
        ("relu", "node_a"),
        ("second", "node_second"),
        ("relu#2", "node_b"),
        ("third", "node_third"),
        ("relu#3", "node_c"),
        ("pool", "node_p"),
        ("fc", "node_y"),
    ]


@pytest.mark.parametrize("weight", ["first", "third"])
def test_the_first_torch_module_that_parts(weight: str, folder: Path) -> None:
    network = Network()
    getattr(network, weight).weight.data[3] += 0.05
    result = compare(OnnxModel(folder / "float.onnx"), TorchModel(network, "network"), [FRAME], layers=True)
    assert not result.ok
    assert result.first is not None
    expected = ("norm", "node_first") if weight == "first" else ("third", "node_third")
    assert (result.first.value, result.first.node) == expected


def test_torch_against_a_compiled_file(folder: Path) -> None:
    network = TorchModel(Network(), "network")
    assert compare(LaneModel(folder / "float.lane"), network, [FRAME]).ok
    assert not compare(LaneModel(folder / "float_wrong.lane"), network, [FRAME]).ok


def test_a_module_with_quantisers_is_compared_piece_by_piece(tmp_path: Path) -> None:
    from edgelane.compression import quantize_model
    from edgelane.export.onnx import export_module

    example = torch.from_numpy(FRAME["x"])
    int8 = quantize_model(Network().eval(), [example])
    export_module(int8, example, tmp_path / "model.onnx", {})
    model = OnnxModel(tmp_path / "model.onnx")
    frame = {"images": FRAME["x"]}
    result = compare(model, TorchModel(int8, "network"), [frame])
    assert result.ok
    assert "int8 tensors" in result.outputs[0].value
    wrong = compare(model, TorchModel(quantize_model(Network().eval(), [example * 2]), "network"), [frame])
    assert not wrong.ok
    assert "disagree" in wrong.problem


def test_a_module_that_fails_is_a_problem(folder: Path) -> None:
    result = compare(OnnxModel(folder / "float.onnx"), TorchModel(torch.nn.Linear(7, 5), "network"), [FRAME])
    assert not result.ok
    assert "network fails on the model's inputs" in result.problem


def test_more_outputs_than_the_other(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "two.onnx", FLOAT + " z = Relu(y)", outputs="float[1,5] y, float[1,5] z")
    result = compare(OnnxModel(folder / "float.onnx"), OnnxModel(tmp_path / "two.onnx"), [FRAME])
    assert "has 1 outputs" in result.problem
    assert PADDED in FLOAT
