"""Engines in children: what they are told, what they answer, and what is said when one fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("edgelane._C", reason="the extension is not built")
pytest.importorskip("onnxruntime", reason="a peer")

import edgelane
from edgelane.bench.processes import Worker, take_turns
from edgelane.doctor import write_tiny_network
from edgelane.errors import EdgelaneError

INPUTS = [["images", [1, 3, 16, 16], "float32"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_network(folder / "tiny.onnx")
    edgelane.compile(folder / "tiny.onnx", folder / "tiny.lane")
    return folder


def arguments(folder: Path, kind: str, name: str) -> dict[str, Any]:
    path = str(folder / name)
    return {"kind": kind, "path": path, "threads": 1, "inputs": INPUTS, "warm": path, "warm_inputs": INPUTS}


def test_two_engines_take_turns_and_agree(folder, tmp_path):
    with Worker("edgelane") as own, Worker("onnxruntime") as peer:
        own.tell("load", **arguments(folder, "edgelane", "tiny.lane"))
        facts = peer.ask("load", **arguments(folder, "onnxruntime", "tiny.onnx"))
        assert own.answer()["settings"] == {"isa": edgelane.Session(folder / "tiny.lane").isa}
        assert facts["load_ms"] > 0
        assert facts["settings"]["execution_mode"] == "sequential"
        rounds = take_turns({"own": own, "peer": peer}, 0.01, calls=2, minimum_rounds=3)
        assert all(len(turn) == 2 and min(turn) > 0 for found in rounds.values() for turn in found)
        outputs = []
        for worker in (own, peer):
            worker.ask("outputs", path=str(tmp_path / f"{worker.name}.npz"))
            with np.load(tmp_path / f"{worker.name}.npz") as arrays:
                outputs.append(arrays["arr_0"])
        np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
        assert own.ask("reload") > 0
        assert {row["op"] for row in own.ask("profile")} >= {"conv2d", "linear"}


def test_the_peak_of_memory_is_that_of_the_model(folder, tmp_path):
    """A network with 8 MB of weights takes at least those; the tiny one that was loaded before does not count."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    weights = np.random.default_rng(0).standard_normal((1024, 2048)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["images", "w"], ["y"], transB=1)],
        "large",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 2048])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])],
        [numpy_helper.from_array(weights, "w")],
    )
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "l.onnx")
    edgelane.compile(tmp_path / "l.onnx", tmp_path / "l.lane")
    peaks = []
    for large in (False, True):
        with Worker("edgelane") as worker:
            how = arguments(folder, "edgelane", "tiny.lane")
            if large:
                how.update(path=str(tmp_path / "l.lane"), inputs=[["images", [1, 2048], "float32"]])
            peaks.append(worker.ask("load", **how)["peak_kib"])
    assert peaks[0] < 3 * 1024
    assert 8 * 1024 < peaks[1] < 40 * 1024


def test_a_worker_has_its_own_environment(folder):
    with Worker("forced", {"EDGELANE_ISA": "scalar"}) as worker:
        assert worker.ask("load", **arguments(folder, "edgelane", "tiny.lane"))["settings"] == {"isa": "scalar"}


def test_jitter_has_loops_as_long_as_the_runs(folder):
    with Worker("edgelane") as worker:
        worker.ask("pin", cores=[max(os.sched_getaffinity(0))])
        worker.ask("load", **arguments(folder, "edgelane", "tiny.lane"))
        found = worker.ask("jitter", seconds=0.2)
    runs, spins = (float(np.median(found[key])) for key in ("runs_ms", "spins_ms"))
    assert len(found["runs_ms"]) == len(found["spins_ms"]) > 10
    assert 0.2 < spins / runs < 5


def test_a_childs_error_is_told_and_does_not_end_it(folder):
    with Worker("edgelane") as worker:
        with pytest.raises(EdgelaneError, match=r"^edgelane: .*nowhere\.lane does not exist$"):
            worker.ask("load", **{**arguments(folder, "edgelane", "tiny.lane"), "path": str(folder / "nowhere.lane")})
        assert worker.ask("cpu_seconds") > 0


def test_a_child_that_dies_is_named():
    with Worker("edgelane") as worker:
        worker.ask("cpu_seconds")
        os.kill(worker.process_id, signal.SIGKILL)
        with pytest.raises(EdgelaneError, match=r"^edgelane ended with status -9: it said nothing$"):
            worker.ask("cpu_seconds")
