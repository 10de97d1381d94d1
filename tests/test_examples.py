"""The C and C++ examples, as `make cpp-test` builds them, on a network and on everything a user may mistype."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the network is compiled here")

import edgelane
from edgelane.doctor import write_tiny_network

BUILD = Path(__file__).resolve().parent.parent / "build" / "cmake"
FRAME_BYTES = 3 * 16 * 16 * 4
NAMES = ("minimal_c", "minimal_cpp", "camera_loop_cpp")

pytestmark = pytest.mark.skipif(
    not all((BUILD / f"example_{name}").is_file() for name in NAMES),
    reason="the examples are not built: make cpp-test",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, frames for it, and things that are neither."""
    folder = tmp_path_factory.mktemp("examples")
    write_tiny_network(folder / "tiny.onnx")
    edgelane.compile(folder / "tiny.onnx", folder / "tiny.lane")
    edgelane.compile(folder / "tiny.onnx", folder / "unproven.lane", golden="none")
    (folder / "frames.raw").write_bytes(bytes(2 * FRAME_BYTES))
    (folder / "half.raw").write_bytes(bytes(FRAME_BYTES // 2))
    (folder / "empty.raw").write_bytes(b"")
    return folder


def example(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(BUILD / f"example_{name}"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["minimal_c", "tiny.lane"], "output scores, 16 bytes"),
        (["minimal_cpp", "tiny.lane", "2"], "2 threads, output scores"),
        (["camera_loop_cpp", "tiny.lane", "-", "1000", "50"], "deadlines missed: "),
        (["camera_loop_cpp", "tiny.lane", "frames.raw", "1000", "5", "2"], "5 frames at 1000.0 per second"),
    ],
)
def test_it_runs(words: list[str], expected: str, folder: Path) -> None:
    done = example(folder, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        *(([name], "usage: ") for name in NAMES),
        *(([name, "absent.lane"], "absent.lane: there is no such file") for name in NAMES),
        *(([name, "tiny.onnx"], "not a .lane file") for name in NAMES),
        (["minimal_cpp", "tiny.lane", "two"], "expected a number of threads, found two"),
        (["camera_loop_cpp", "unproven.lane"], "unproven.lane: self-test failed: expected a golden frame, found none"),
        (["camera_loop_cpp", "tiny.lane", "absent.raw"], "absent.raw: expected frames of 3072 bytes"),
        (["camera_loop_cpp", "tiny.lane", "half.raw"], "half.raw: expected frames of 3072 bytes, found 1536"),
        (["camera_loop_cpp", "tiny.lane", "empty.raw"], "empty.raw: expected frames of 3072 bytes, found 0"),
        (["camera_loop_cpp", "tiny.lane", "."], "expected frames of 3072 bytes"),
        (["camera_loop_cpp", "tiny.lane", "-", "fast"], "expected frames per second from 0.001 to 1e+06, found fast"),
        (["camera_loop_cpp", "tiny.lane", "-", "1e12"], "expected frames per second from 0.001 to 1e+06, found 1e12"),
        (["camera_loop_cpp", "tiny.lane", "-", "30", "0"], "expected frames to run from 1 to 1e+08, found 0"),
        (["camera_loop_cpp", "tiny.lane", "-", "30", "5", "x"], "expected threads from 1 to 1024, found x"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(words: list[str], expected: str, folder: Path) -> None:
    done = example(folder, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
