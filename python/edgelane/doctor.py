"""What works on this machine, what is missing, and the command that gets it."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgelane._version import __version__
from edgelane.bench import machine
from edgelane.errors import EdgelaneError
from edgelane.extras import EXTRA_OF, install_command

Status = Literal["ok", "missing", "broken"]
OLDEST_PYTHON = (3, 10)
BUILD = "a C++17 compiler, then: pip install --force-reinstall --no-deps edgelane (or: pip install -e . in a clone)"
# The import names whose version a bug report needs; PIL and av are what `edgelane run` reads pictures and videos with.
PACKAGES = ("torch", "torchvision", "lightning", "onnx", "onnxruntime", "openvino", "PIL", "av", "matplotlib", "jinja2")
DISTRIBUTION_OF = {"PIL": "pillow"}


@dataclass(frozen=True)
class Finding:
    """One fact. `missing` limits what can be done here, `broken` means that edgelane itself does not work; both have
    a fix.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        """As JSON values."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at this machine. Nothing is installed, downloaded or left behind; takes a second or two."""
    checks: tuple[Callable[[], Finding], ...] = (
        _edgelane,
        _python,
        _cpu,
        _isas,
        _memory,
        _governor,
        _compiler,
        _build_tools,
        _golden,
        _calibration,
        *(lambda package=package: _package(package) for package in PACKAGES),
        _gpu,
        _cuda_compiler,
        _tensorrt,
    )
    return [check() for check in checks]


def _edgelane() -> Finding:
    try:
        from edgelane import _C
    except ImportError as error:
        return Finding("edgelane", "broken", f"{__version__}, but its extension cannot be loaded: {error}", BUILD)
    if _C.version() != __version__:
        return Finding("edgelane", "broken", f"Python part {__version__}, extension {_C.version()}", BUILD)
    return Finding("edgelane", "ok", __version__)


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", "broken", f"{found}, expected 3.10 or newer", "install a newer Python")
    return Finding("Python", "ok", f"{found} ({sys.executable})")


def _cpu() -> Finding:
    usable, cores = machine.usable_cores(), machine.environment()["cores"]
    return Finding("CPU", "ok", f"{machine.cpu_name()}, {usable} of {cores} cores usable")


def _isas() -> Finding:
    isas = machine.available_isas()
    if isas is None:
        return Finding("instruction sets", "broken", "unknown without the extension", BUILD)
    from edgelane import _C

    count = len(_C.kernels())
    return Finding(
        "instruction sets", "ok", f"{', '.join(isas)}; {count} kernels; the best one is used, --isa forces another"
    )


def _memory() -> Finding:
    memory = machine.memory_gib()
    return Finding("memory", "ok", "unknown" if memory is None else f"{memory} GiB")


def _governor() -> Finding:
    governor = machine.environment()["governor"]
    if governor is None:
        return Finding("CPU governor", "ok", "not readable here (a virtual machine or container)")
    if governor not in ("performance", "schedutil"):
        fix = "sudo cpupower frequency-set -g performance (for benchmarks)"
        return Finding("CPU governor", "missing", f"{governor}: latencies will vary with the clock", fix)
    return Finding("CPU governor", "ok", str(governor))


def _calibration() -> Finding:
    from edgelane.latency.table import COMMAND, tables

    found = tables()
    if not found:
        return Finding("latency calibration", "missing", "none of this CPU: no latency can be predicted", COMMAND)
    return Finding("latency calibration", "ok", ", ".join(str(path) for path in found))


def _compiler() -> Finding:
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path:
            return Finding("C++ compiler", "ok", _first_line([path, "--version"]) or path)
    return Finding("C++ compiler", "missing", "only needed to build edgelane", "sudo apt install g++")


def _build_tools() -> Finding:
    folder = Path(sys.executable).parent
    found = [name for name in ("cmake", "ninja") if shutil.which(name) or (folder / name).exists()]
    if len(found) == 2:
        return Finding("CMake and Ninja", "ok", "found")
    return Finding("CMake and Ninja", "missing", "only needed to build edgelane", "pip install cmake ninja")


def _golden() -> Finding:
    """Compile a small network with a golden frame and run it on every instruction set: the shortest proof that
    results are right.
    """
    name = "golden network"
    isas = machine.available_isas()
    if isas is None:
        return Finding(name, "broken", "cannot run without the extension", BUILD)
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        return Finding(name, "missing", f"not checked: {error.name} is needed to compile one", install_command("onnx"))
    from edgelane.export.compiler import compile as compile_model
    from edgelane.runtime import Session

    worst = 0.0
    try:
        with tempfile.TemporaryDirectory(prefix="edgelane-doctor-") as folder:
            source, target = Path(folder) / "tiny.onnx", Path(folder) / "tiny.lane"
            write_tiny_network(source)
            report = compile_model(source, target)
            if report.golden != "written":
                return Finding(name, "broken", f"golden frame {report.golden}", "report this as a bug")
            for isa in isas:
                worst = max(worst, Session(target, isa=isa, self_test=True).check_golden() or 0.0)
    except EdgelaneError as error:
        return Finding(name, "broken", str(error), "report this as a bug")
    return Finding(name, "ok", f"compiled and run on {', '.join(isas)}: largest error {worst:.1e}")


def write_tiny_network(path: Path) -> None:
    """A network of a dense and a 4x4-block-sparse convolution, pooling and a linear layer, as ONNX; seeded, 3x16x16
    in, 4 out.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(7)
    sparse = generator.standard_normal((16, 16, 3, 3)).astype(np.float32)
    keep = generator.random((4, 4, 3, 3)) < 0.25
    sparse *= np.kron(keep, np.ones((4, 4, 1, 1), np.float32)).astype(np.float32)
    constants = {
        "stem.weight": generator.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "stem.bias": generator.standard_normal(16).astype(np.float32),
        "sparse.weight": sparse,
        "head.weight": generator.standard_normal((4, 16)).astype(np.float32),
        "head.bias": generator.standard_normal(4).astype(np.float32),
    }
    nodes = [
        helper.make_node(
            "Conv", ["images", "stem.weight", "stem.bias"], ["a"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["a"], ["b"], "stem.relu"),
        helper.make_node("Conv", ["b", "sparse.weight"], ["c"], "sparse", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "b"], ["d"], "residual"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "pool"),
        helper.make_node("Flatten", ["e"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["scores"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def _package(package: str) -> Finding:
    found = machine.version(DISTRIBUTION_OF.get(package, package))
    if found is None:
        return Finding(package, "missing", f"extra [{EXTRA_OF[package]}]", install_command(package))
    return Finding(package, "ok", found)


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    line = _first_line([tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]) if tool else ""
    if line:
        return Finding("GPU", "ok", line)
    if ctypes.util.find_library("cuda"):
        return Finding("GPU", "ok", "CUDA driver library found, but no nvidia-smi that names the device")
    return Finding(
        "GPU", "missing", "no NVIDIA GPU or driver: CPU only", "see https://docs.nvidia.com/cuda for the driver"
    )


def _cuda_compiler() -> Finding:
    tool = shutil.which("nvcc")
    if tool is None:
        return Finding(
            "CUDA toolkit",
            "missing",
            "no nvcc on the PATH",
            "see https://docs.nvidia.com/cuda, or on Jetson: sudo apt install nvidia-jetpack",
        )
    try:
        text = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("CUDA toolkit", "missing", f"{tool} does not run: {error}", "reinstall the CUDA toolkit")
    release = next((line.strip() for line in text.splitlines() if "release" in line), text.strip().splitlines()[-1])
    return Finding("CUDA toolkit", "ok", release)


def _tensorrt() -> Finding:
    found = machine.version("tensorrt")
    if found is None:
        fix = f"{install_command('tensorrt')}, or on Jetson: sudo apt install tensorrt"
        return Finding(
            "TensorRT", "missing", f"edgelane {__version__} does not use it yet; .lane files do not need it", fix
        )
    return Finding("TensorRT", "ok", found)


def _first_line(command: list[str]) -> str:
    """First line that a command prints, or nothing where it fails."""
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(text.splitlines()), "").strip()
