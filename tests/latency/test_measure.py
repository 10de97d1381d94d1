from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.latency.laws import conv

from edgelane.__main__ import main
from edgelane.doctor import examine
from edgelane.errors import EdgelaneError
from edgelane.latency import LatencyModel, calibrate, noise
from edgelane.latency.shapes import compile_proto
from edgelane.latency.synthetic import Setting, networks
from edgelane.latency.table import Table, table_path

SMALL = Setting(networks=2, rounds=2, repeats=1)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A tiny calibration: its file, the model, and what the progress bar was told."""
    path = tmp_path_factory.mktemp("calibration") / "table.json"
    said: list[tuple[float, str]] = []
    model = calibrate(
        path, setting=SMALL, isa="avx2" if "avx2" in _isas() else None, progress=lambda *a: said.append(a)
    )
    return path, model, said


def _isas() -> list[str]:
    from edgelane import _C

    return [str(isa) for isa in _C.available_isas()]


def test_calibration_measures_every_step_of_both_dtypes(calibrated):
    path, _, said = calibrated
    table = Table.read(path)
    assert {sample.shape.dtype for sample in table.samples} == {"float32", "int8"}
    assert {"conv2d", "import", "export"} <= {sample.shape.op for sample in table.samples}
    assert all(0 <= sample.time_us < 1e6 and sample.footprint_bytes > 0 for sample in table.samples)
    assert sum(sample.time_us for sample in table.samples) > 100
    assert len({sample.network for sample in table.samples}) == 4
    assert table.threads == 1
    assert table.spread >= 0
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert said[0] == (0.0, "float32, network 1 of 2")
    assert said[-1][0] == 1.0


def test_a_larger_layer_is_predicted_to_take_longer(calibrated):
    _, model, _ = calibrated
    small, large = conv(32, 32, 14, 3), conv(256, 256, 28, 3)
    for dtype in ("float32", "int8"):
        assert 0 < model.layer_us(small, dtype=dtype) < model.layer_us(large, dtype=dtype)
    assert LatencyModel.read(calibrated[0]).layer_us(large) == pytest.approx(model.layer_us(large), rel=0.01)


def test_the_networks_hold_what_they_stand_for():
    setting = Setting(networks=7, seed=1)
    int8 = [shape for proto in networks(setting, "int8") for _, shape in compile_proto(proto)[0]]
    assert {"conv2d", "linear", "max_pool2d", "concat", "binary", "global_average_pool", "quantize", "softmax"} <= {
        shape.op for shape in int8
    }
    convolutions = [shape for shape in int8 if shape.op == "conv2d"]
    assert any(shape.is_depthwise for shape in convolutions)
    assert any(shape.residual for shape in convolutions)
    assert all(shape.dtype == "int8" for shape in convolutions)  # none fell back to float32


def test_the_same_setting_makes_the_same_networks():
    first, again = (next(networks(SMALL, "int8")).SerializeToString() for _ in range(2))
    other = next(networks(replace(SMALL, seed=7), "int8")).SerializeToString()
    assert first == again != other


def test_noise_is_said(calibrated):
    table = calibrated[1].table
    assert noise(replace(table, spread=0.03, foreign_cores=0.1)) == ""
    assert "took 40% longer than its shortest" in noise(replace(table, spread=0.4, foreign_cores=0.1))
    assert "kept 1.5 cores busy" in noise(replace(table, spread=0.03, foreign_cores=1.5))
    assert noise(replace(table, spread=0.03, foreign_cores=None)) == ""


def test_a_kernel_set_that_the_cpu_lacks(tmp_path):
    with pytest.raises(EdgelaneError, match="unknown"):
        calibrate(tmp_path / "t.json", setting=SMALL, isa="unknown")
    assert not list(tmp_path.iterdir())


def test_the_verb_and_the_doctor(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("EDGELANE_CACHE", str(tmp_path))
    monkeypatch.setattr("edgelane.latency.synthetic.Setting", lambda: SMALL)
    row = next(finding for finding in examine() if finding.name == "latency calibration")
    assert (row.status, row.fix) == ("missing", "edgelane calibrate")
    assert main(["calibrate", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    path = table_path(1, summary["isa"])
    assert summary["path"] == str(path)
    assert path.is_file()
    assert summary["steps"] == len(Table.read(path).samples)
    assert summary["kernels"]
    row = next(finding for finding in examine() if finding.name == "latency calibration")
    assert row.status == "ok"
    assert path.name in row.detail
    assert LatencyModel.load().layer_us(conv(64, 64, 28)) > 0
