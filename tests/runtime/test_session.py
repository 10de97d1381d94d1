from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict

import numpy as np
import pytest
from lane_models import Builder, classifier, expected_scores

import edgelane
from edgelane import _C, EdgelaneError, Session
from edgelane.export.compiler.lane_file import INPUT, OUTPUT, to_bytes


@pytest.fixture
def images():
    return np.random.default_rng(1).standard_normal((1, 4, 6, 6)).astype(np.float32)


@pytest.fixture
def lane(tmp_path):
    path = tmp_path / "classifier.lane"
    path.write_bytes(to_bytes(classifier()))
    return path


def test_run_computes_the_network(lane, images):
    outputs = Session(lane).run({"images": images})
    assert list(outputs) == ["scores", "codes"]
    np.testing.assert_allclose(outputs["scores"], expected_scores(classifier(), images), atol=1e-6)
    assert outputs["codes"].dtype == np.int8
    assert outputs["codes"].shape == (1, 5, 3, 3)


def test_specs_and_properties(lane):
    session = Session(str(lane), threads=2, isa="scalar")
    (spec,) = session.inputs
    assert (spec.name, spec.shape, spec.dtype) == ("images", (1, 4, 6, 6), np.float32)
    assert spec.scale is None
    scores, codes = session.outputs
    assert (scores.name, scores.shape, scores.dtype) == ("scores", (1, 3), np.float32)
    assert codes.dtype == np.int8
    assert (codes.scale, codes.zero_point) == (pytest.approx(0.2), 3)
    assert (session.threads, session.isa) == (2, "scalar")
    assert session.metadata == {"classes": ["a", "b", "c"]}
    assert "conv" in session.plan()
    assert session.arena_bytes > 0
    assert session.packed_bytes > 0
    assert "classifier.lane" in repr(session)


def test_rows_that_suppression_does_not_need_are_cut_off(tmp_path):
    b = Builder()
    boxes, scores = b.tensor("boxes", INPUT, (1, 6, 4)), b.tensor("scores", INPUT, (1, 2, 6))
    chosen = b.tensor("chosen", OUTPUT, (8, 3), "int64")
    b.step(
        "nms", "non_max_suppression", [boxes, scores], chosen,
        max_per_class=[4], iou_threshold=[0.5], score_threshold=[float(np.float32(0.4))],
    )  # fmt: skip
    path = tmp_path / "nms.lane"
    path.write_bytes(to_bytes(b.file()))
    session = Session(path)
    (spec,) = session.outputs
    assert (spec.shape, spec.variable_rows) == ((8, 3), True)
    assert not session.inputs[0].variable_rows
    lefts = np.array([0, 0.1, -0.1, 10, 10.1, 100], np.float32)  # two groups that overlap, and one box alone
    corners = np.stack([np.zeros(6, np.float32), lefts, np.ones(6, np.float32), lefts + 1], axis=1)[None]
    values = np.array([[[0.9, 0.75, 0.6, 0.95, 0.5, 0.3], [0, 0, 0.5, 0, 0, 0.6]]], np.float32)
    for threads in (1, 2):
        found = Session(path, threads=threads).run({"boxes": corners, "scores": values})["chosen"]
        np.testing.assert_array_equal(found, [[0, 0, 3], [0, 0, 0], [0, 1, 5], [0, 1, 2]])
    assert session.run({"boxes": corners, "scores": values * 0})["chosen"].shape == (0, 3)


def test_same_bits_for_every_number_of_threads(lane, images):
    expected = Session(lane).run({"images": images})
    for threads in (1, 2, 3):
        found = Session(lane, threads=threads).run({"images": images})
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_arrays_that_are_not_contiguous_are_copied(lane, images):
    session = Session(lane)
    strided = np.asfortranarray(images)
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(session.run({"images": strided})["scores"], session.run({"images": images})["scores"])


def test_results_are_the_callers_own(lane, images):
    session = Session(lane)
    first = session.run({"images": images})["scores"]
    kept = first.copy()
    session.run({"images": images + 1})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "missing input 'images'"),
        ({"image": np.zeros((1, 4, 6, 6), np.float32)}, "unknown input 'image'; this network's inputs are 'images'"),
        ({"images": np.zeros((1, 4, 6, 6))}, "expected dtype float32, found float64"),
        ({"images": np.zeros((1, 4, 6, 6), ">f4")}, "expected dtype float32, found >f4"),
        ({"images": np.zeros((4, 6, 6), np.float32)}, r"expected shape \[1, 4, 6, 6\], found \[4, 6, 6\]"),
        ({"images": np.zeros((2, 4, 6, 6), np.float32)}, r"expected shape \[1, 4, 6, 6\], found \[2, 4, 6, 6\]"),
        ({"images": [[1.0], [1.0, 2.0]]}, "expected an array"),
        ({"images": None}, "expected dtype float32, found object"),
        ([np.zeros((1, 4, 6, 6), np.float32)], "expected a dict from input names to arrays, found list"),
    ],
)
def test_wrong_feeds(lane, feeds, message):
    session = Session(lane)
    for call in (session.run, session.profile):
        with pytest.raises(EdgelaneError, match=message) as caught:
            call(feeds)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be between 1 and 1024, found 0"),
        ({"threads": -3}, "found -3"),
        ({"threads": 2**40}, "expected threads to be a whole number"),
        ({"threads": 1.5}, "expected threads to be a whole number, found 1.5"),
        ({"threads": True}, "expected threads to be a whole number"),
        ({"cores": "0-", "threads": 1}, "expected CPU numbers below 8192 such as 2,3 or 0-3, found '0-'"),
        ({"cores": [8191]}, "CPU 8191 is not available to this process, which may use"),
        ({"cores": []}, "expected cores such as"),
        ({"cores": 0}, "expected cores such as"),
        ({"cores": [0.5]}, "expected a core to be a whole number"),
        ({"cores": [-1]}, "expected CPU numbers"),
        ({"isa": "avx9"}, "unknown instruction set 'avx9'"),
        ({"isa": 2}, "expected isa to be a name"),
    ],
)
def test_wrong_options(lane, options, message):
    with pytest.raises(EdgelaneError, match=message):
        Session(lane, **options)


def test_instruction_sets(lane, images, monkeypatch):
    expected = Session(lane, isa="scalar").run({"images": images})
    assert "scalar" in _C.available_isas()
    for isa in _C.available_isas():
        session = Session(lane, isa=isa)
        assert session.isa == isa
        found = session.run({"images": images})
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
        assert np.abs(found["codes"].astype(int) - expected["codes"]).max() <= 1
        monkeypatch.setenv("EDGELANE_ISA", isa)
        assert Session(lane).isa == isa
    monkeypatch.setenv("EDGELANE_ISA", "nonsense")
    with pytest.raises(EdgelaneError, match="EDGELANE_ISA: unknown instruction set 'nonsense'"):
        Session(lane)


def test_bad_files(tmp_path, lane):
    content = lane.read_bytes()
    newer = bytearray(content)
    newer[8] = 9
    cases = {
        "empty": (b"", "not a .lane file"),
        "text": (b"hello, this is no network " * 20, "not a .lane file"),
        "truncated": (content[:-1], f"the file is cut off: expected {len(content)} bytes, found {len(content) - 1}"),
        "flipped": (content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "checksum"),
        "newer": (bytes(newer), "version 9 is newer than 2"),
    }
    for name, (damaged, message) in cases.items():
        path = tmp_path / f"{name}.lane"
        path.write_bytes(damaged)
        with pytest.raises(EdgelaneError, match=message) as caught:
            Session(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(EdgelaneError, match="there is no such file"):
        Session(tmp_path / "missing.lane")
    with pytest.raises(EdgelaneError, match="directory"):
        Session(tmp_path)
    with pytest.raises(EdgelaneError, match="expected a path"):
        Session("model\0.lane")


def test_metadata_that_is_not_an_object(tmp_path):
    path = tmp_path / "list.lane"
    path.write_bytes(to_bytes(classifier(metadata=["classes"])))
    with pytest.raises(EdgelaneError, match="expected the metadata to be a JSON object, found list"):
        Session(path)


def test_golden_frame(tmp_path, lane, images):
    assert Session(lane).check_golden() is None
    outputs = Session(lane).run({"images": images})
    path = tmp_path / "golden.lane"

    def write(scores):
        frame = lambda x, s, c: {x: images, s: scores, c: outputs["codes"]}  # noqa: E731
        path.write_bytes(to_bytes(classifier(golden=frame)))

    write(outputs["scores"])
    assert Session(path).check_golden() == 0.0
    write(outputs["scores"] + np.float32(0.1))
    assert Session(path).check_golden() == pytest.approx(0.1 / (outputs["scores"].max() + 0.1), rel=1e-4)


def test_profile(lane, images):
    session = Session(lane)
    rows = session.profile({"images": images}, repeats=3)
    steps = ["conv", "residual", "pool", "flatten", "fc", "softmax", "quantize", "conv8"]
    assert [row.step for row in rows] == ["images", *steps, "scores", "codes"]
    assert [row.op for row in rows][::10] == ["import", "export"]
    conv = rows[1]
    assert conv.op == "conv2d"
    assert conv.kernel.startswith("conv2d_f32_")
    assert conv.kernel in {kernel["name"] for kernel in _C.kernels()}
    assert conv.dense_macs == 8 * 4 * 9 * 36
    assert conv.density == pytest.approx(5 / 6)
    assert all(row.time_us >= 0 for row in rows)
    assert [asdict(step) for step in session.steps()] == [
        {key: value for key, value in asdict(row).items() if key != "time_us"} for row in rows[1:-2]
    ]
    with pytest.raises(EdgelaneError, match="expected repeats of 1 or more, found 0"):
        session.profile({"images": images}, repeats=0)


def test_cores(lane, images, monkeypatch):
    allowed = sorted(os.sched_getaffinity(0))
    expected = Session(lane).run({"images": images})["scores"]
    session = Session(lane, cores=allowed)
    assert session.threads == len(allowed)
    np.testing.assert_array_equal(session.run({"images": images})["scores"], expected)
    assert Session(lane, threads=1, cores=",".join(map(str, reversed(allowed)))).threads == 1
    assert os.sched_getaffinity(0) == set(allowed), "the caller is never pinned"
    with pytest.raises(EdgelaneError, match=f"expected a CPU for each of {len(allowed) + 1} threads, found cores"):
        Session(lane, threads=len(allowed) + 1, cores=allowed)
    monkeypatch.setenv("EDGELANE_CORES", str(allowed[0]))
    assert Session(lane).threads == 1
    with pytest.raises(EdgelaneError, match="expected a CPU for each of 2 threads"):
        Session(lane, threads=2)
    monkeypatch.setenv("EDGELANE_CORES", "all")
    with pytest.raises(EdgelaneError, match="EDGELANE_CORES: expected CPU numbers"):
        Session(lane)


def test_sessions_share_their_threads(lane, images):
    tasks = lambda: len(os.listdir("/proc/self/task"))  # noqa: E731
    first = Session(lane, threads=3)
    before = tasks()
    others = [Session(lane, threads=count) for count in (2, 3, 3)]
    assert tasks() == before
    expected = first.run({"images": images})["scores"]
    wrong = []

    def work(session):
        for _ in range(200):
            if not np.array_equal(session.run({"images": images})["scores"], expected):
                wrong.append(1)

    callers = [threading.Thread(target=work, args=(session,)) for session in (first, *others)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_threads_may_share_a_session(lane, images):
    session = Session(lane, threads=2)
    expected = session.run({"images": images})["scores"]
    wrong = []

    def work():
        for _ in range(200):
            if not np.array_equal(session.run({"images": images})["scores"], expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_module_functions():
    assert _C.version() == edgelane.__version__
    assert _C.cpu_name()
    kernels = _C.kernels()
    assert len({kernel["name"] for kernel in kernels}) == len(kernels) > 20
    x86, arm = {"avx2", "avx_vnni", "avx512", "avx512_vnni"}, {"neon", "neon_dotprod", "neon_i8mm"}
    assert {kernel["isa"] for kernel in kernels} == {"scalar", *x86, *arm}


def test_import_needs_numpy_only():
    script = (
        "import sys, json, edgelane; edgelane.Session; edgelane.EdgelaneError; edgelane.__version__\n"
        "print(json.dumps([m for m in ('torch', 'onnx', 'onnxruntime', 'typer', 'rich', 'PIL') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgelane.nonsense  # noqa: B018
    assert "Session" in dir(edgelane)
