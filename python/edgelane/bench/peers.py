"""Runners for edgelane and for what users would run instead, set up as each project's own documentation advises for
lowest latency.

| kind | settings, besides the thread count |
|---|---|
| edgelane | none |
| onnxruntime | sequential execution, all graph optimisations, spinning stops when a run returns |
| openvino | PERFORMANCE_HINT=LATENCY, one stream, INFERENCE_PRECISION_HINT=f32 |
| torch | eager, eval and inference mode, masks folded into the weights; float models only |

onnxruntime's worker threads would otherwise spin on after a run and be timed as part of the next engine.

OpenVINO computes float32 models in bfloat16 by default on CPUs with AVX512-BF16 or AMX: faster, with an error of
about 1 % on logits. That is another numeric contract, so every runner is held to float32; the int8 parts of int8
models are not affected by the hint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgelane.bench.machine import version
from edgelane.bench.signal_stack import kept_signal_stack
from edgelane.errors import EdgelaneError
from edgelane.extras import missing

Array = npt.NDArray[Any]
KINDS = ("edgelane", "onnxruntime", "openvino", "torch")


class Call(Protocol):
    """One inference."""

    def __call__(self) -> list[Array]:
        """Return the outputs in the model's order."""


@dataclass
class Loader:
    """One engine, imported, with one model file made ready for it. Each `load` makes a new session from the file."""

    kind: str
    path: Path
    threads: int
    version: str | None
    load: Callable[[Mapping[str, Array]], Call]
    settings: dict[str, object] = field(default_factory=dict)


@dataclass
class Runner:
    """One engine with one model and one set of inputs; calling it does one inference and returns the outputs in the
    model's order.
    """

    kind: str
    path: Path
    threads: int
    version: str | None
    call: Call
    settings: dict[str, object] = field(default_factory=dict)

    def __call__(self) -> list[Array]:
        """Do one inference."""
        return self.call()


def runner(kind: str, path: str | os.PathLike[str], feeds: Mapping[str, Array], threads: int = 1) -> Runner:
    """Make a runner of `kind` for the model at `path` with the inputs `feeds` on `threads` threads.

    `path` is a `.lane` file for edgelane, a checkpoint written by edgelane for torch, and an ONNX file for the others.
    Raises EdgelaneError for an unknown kind, an engine that is not installed, or a model that it refuses.
    """
    made = loader(kind, path, threads)
    call = made.load(dict(feeds))
    return Runner(kind, made.path, threads, made.version, call, made.settings)


def loader(kind: str, path: str | os.PathLike[str], threads: int = 1) -> Loader:
    """Everything that `runner` does before a session is made: the import of the engine, and the form of the file that
    it wants. Raises EdgelaneError as `runner` does; a refused model is found by `Loader.load`.
    """
    makers = {"edgelane": _edgelane, "onnxruntime": _onnxruntime, "openvino": _openvino, "torch": _torch}
    if kind not in makers:
        raise EdgelaneError(f"unknown engine {kind!r}; choose from {', '.join(KINDS)}")
    if threads < 1:
        raise EdgelaneError(f"the thread count must be at least 1, found {threads}")
    path = Path(path)
    if not path.is_file():
        raise EdgelaneError(f"{path} does not exist")
    return makers[kind](path, threads)


def _edgelane(path: Path, threads: int) -> Loader:
    from edgelane._version import __version__
    from edgelane.runtime import Session

    settings: dict[str, object] = {}

    def load(feeds: Mapping[str, Array]) -> Call:
        session = Session(path, threads=threads)
        settings["isa"] = session.isa
        names = [spec.name for spec in session.outputs]

        def call() -> list[Array]:
            outputs = session.run(feeds)
            return [outputs[name] for name in names]

        return call

    return Loader("edgelane", path, threads, __version__, load, settings)


def _onnxruntime(path: Path, threads: int) -> Loader:
    ort = _import("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    model, unsigned = _as_onnxruntime_wants_it(path)
    settings: dict[str, object] = {
        "execution_mode": "sequential",
        "graph_optimization": "all",
        "force_spinning_stop": True,
        "quantisers_made_unsigned": unsigned,
    }

    def load(feeds: Mapping[str, Array]) -> Call:
        try:
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class for what it raises
            raise EdgelaneError(f"onnxruntime refuses {path}: {_first_line(error)}") from error
        names = [output.name for output in session.get_outputs()]

        def call() -> list[Array]:
            outputs: list[Array] = session.run(names, feeds)
            return outputs

        return call

    return Loader("onnxruntime", path, threads, version("onnxruntime"), load, settings)


def _as_onnxruntime_wants_it(path: Path) -> tuple[str | bytes, int]:
    """Return the model, with uint8 instead of symmetric int8 activations where they cannot be negative, and how many.

    onnxruntime computes much of a symmetric network in float32, so its time would be unfairly long.
    """
    onnx = _import("onnx")
    from edgelane.export.unsigned import unsigned_activations

    try:
        proto = onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError, or an external data file that is missing
        raise EdgelaneError(f"onnxruntime refuses {path}: {_first_line(error)}") from error
    changed = unsigned_activations(proto)
    return (proto.SerializeToString(), changed) if changed else (str(path), 0)


def _openvino(path: Path, threads: int) -> Loader:
    openvino = _import("openvino")
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()

    def load(feeds: Mapping[str, Array]) -> Call:
        try:
            with kept_signal_stack():
                request = core.compile_model(str(path), "CPU", settings).create_infer_request()
        except Exception as error:  # openvino raises RuntimeError and its subclasses, onnx frontends others
            raise EdgelaneError(f"openvino refuses {path}: {_first_line(error)}") from error
        outputs = request.model_outputs

        def call() -> list[Array]:
            result = request.infer(feeds, share_inputs=True, share_outputs=True)
            return [result[output] for output in outputs]

        return call

    return Loader("openvino", path, threads, version("openvino"), load, settings)


def _torch(path: Path, threads: int) -> Loader:
    torch = _import("torch")
    from edgelane.checkpoint import Checkpoint
    from edgelane.compression import finalize

    checkpoint = Checkpoint.load(path)
    if "int8" in checkpoint.kind:
        raise EdgelaneError(
            f"{path} is an int8 model: torch only simulates int8 in float32, so its time would say nothing"
        )

    def load(feeds: Mapping[str, Array]) -> Call:
        module = finalize(checkpoint.build()).eval()  # zeros in plain weights: masks would cost more than the network
        inputs = [torch.from_numpy(np.ascontiguousarray(value)) for value in feeds.values()]

        def call() -> list[Array]:
            torch.set_num_threads(threads)  # one global for the process, so another torch runner may have changed it
            with torch.inference_mode():
                result = module(*inputs)
            return [value.numpy() for value in (result if isinstance(result, (tuple, list)) else (result,))]

        return call

    return Loader("torch", path, threads, version("torch"), load, {"mode": "eager, inference_mode"})


def _import(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing(package) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
