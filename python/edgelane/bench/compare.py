"""The library side of `edgelane bench`: one compiled model against other engines on the same inputs and threads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.bench.agreement import check_agreement
from edgelane.bench.peers import KINDS, Runner, runner
from edgelane.bench.timing import BenchmarkResult, benchmark
from edgelane.errors import EdgelaneError
from edgelane.extras import missing

if TYPE_CHECKING:
    from edgelane.runtime import TensorSpec


SYMMETRIC_NOTE = (
    "onnxruntime runs this Q/DQ network with uint8 activations of the same levels, which it fuses better than the "
    "symmetric ones"
)


@dataclass(frozen=True)
class Comparison:
    """Results of one model: for each thread count the benchmark, and how far each engine's outputs were from
    edgelane's.
    """

    model: Path
    precision: str
    results: dict[int, BenchmarkResult]
    errors: dict[int, dict[str, float]]
    runners: dict[str, dict[str, object]]
    layers: dict[int, list[dict[str, Any]]]
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Everything as JSON values."""
        return {
            "model": str(self.model),
            "precision": self.precision,
            "runners": self.runners,
            "notes": list(self.notes),
            "threads": {
                str(threads): {
                    **result.to_dict(),
                    "relative_error": self.errors[threads],
                    "layers": self.layers[threads],
                }
                for threads, result in self.results.items()
            },
        }


def compare(
    model: str | os.PathLike[str],
    against: Sequence[str] = (),
    *,
    threads: Sequence[int] = (1,),
    seconds: float = 10.0,
    self_test: bool = False,
    progress: Callable[[str, float], object] | None = None,
) -> Comparison:
    """Time the `.lane` file `model` against other engines, interleaved, once for each thread count, `seconds` each.

    `against` holds engine names; each runs the ONNX file beside the model (`model.lane` → `model.onnx`; torch:
    `compressed.pt` or `model.pt`), or `ENGINE=FILE` to time another file, for instance the dense network that `model`
    was pruned from. Engines on the model's own file must compute the same outputs as edgelane, or nothing is timed.
    Inputs are random and seeded. With `self_test`, edgelane computes the golden frame of `model` first. The baseline of
    the speed-ups is the first engine of `against`, or edgelane where there is none.

    Raises EdgelaneError for a missing file, an unknown engine, an ONNX file that `model` was not compiled from,
    outputs that disagree, or a self-test that fails.
    """
    from edgelane.runtime import Session

    path = Path(model)
    session = Session(path, self_test=self_test)
    feeds = random_feeds(session.inputs)
    targets = [_parse_target(text, path, session.metadata) for text in against]
    own_file = {"edgelane": True, **{name: own for name, _, _, own in targets}}
    int8 = _is_int8(session, feeds)

    results: dict[int, BenchmarkResult] = {}
    errors: dict[int, dict[str, float]] = {}
    layers: dict[int, list[dict[str, Any]]] = {}
    runners: dict[str, Runner] = {}
    for count in threads:
        runners = {"edgelane": runner("edgelane", path, feeds, count)}
        for name, kind, file, _ in targets:
            runners[name] = runner(kind, file, _rename(kind, file, feeds), count)
        outputs = {name: [np.array(value) for value in run()] for name, run in runners.items()}
        errors[count] = check_agreement({name: value for name, value in outputs.items() if own_file[name]}, int8=int8)
        baseline = targets[0][0] if targets else "edgelane"
        report = None if progress is None else _bind(progress, f"{count} thread{'s' * (count > 1)}")
        results[count] = benchmark(runners, seconds, baseline=baseline, progress=report)
        layers[count] = [asdict(row) for row in Session(path, threads=count).profile(feeds)]
    described: dict[str, dict[str, object]] = {
        name: {"engine": run.kind, "file": str(run.path), "version": run.version, "settings": run.settings}
        for name, run in runners.items()
    }
    changed = "onnxruntime" in runners and runners["onnxruntime"].settings["quantisers_made_unsigned"]
    notes = (SYMMETRIC_NOTE,) if changed else ()
    return Comparison(path, "int8" if int8 else "float32", results, errors, described, layers, seconds, notes)


def random_feeds(inputs: Sequence[TensorSpec], seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Inputs for a model: standard normal for float32 (what a normalised image looks like), uniform integers for the
    rest.
    """
    generator = np.random.default_rng(seed)
    feeds: dict[str, npt.NDArray[Any]] = {}
    for spec in inputs:
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            feeds[spec.name] = generator.standard_normal(spec.shape).astype(dtype)
        elif dtype.kind == "b":
            feeds[spec.name] = generator.integers(0, 2, spec.shape).astype(dtype)
        else:
            feeds[spec.name] = generator.integers(0, 100, spec.shape).astype(dtype)
    return feeds


def _parse_target(text: str, model: Path, metadata: Mapping[str, Any]) -> tuple[str, str, Path, bool]:
    """(name in the table, engine, file, whether it is the model's own file) of one entry of `against`."""
    kind, _, file = text.partition("=")
    if kind not in KINDS or (kind == "edgelane" and not file):
        raise EdgelaneError(
            f"unknown engine {text!r} to compare with; choose from {', '.join(KINDS[1:])}, or ENGINE=FILE"
        )
    if file and not Path(file).is_file():
        raise EdgelaneError(f"{file} does not exist")
    if file:
        return f"{kind} {file}", kind, Path(file), False
    if kind == "torch":
        found = next(
            (path for name in ("compressed.pt", "model.pt") if (path := model.with_name(name)).is_file()), None
        )
        if found is None:
            raise EdgelaneError(f"no compressed.pt or model.pt beside {model}; say which with torch=FILE")
        return kind, kind, found, True
    onnx = model.with_suffix(".onnx")
    if not onnx.is_file():
        raise EdgelaneError(
            f"{kind} needs the ONNX file that {model} was compiled from: {onnx} does not exist; say which with "
            f"{kind}=FILE"
        )
    wanted, found_hash = metadata.get("source_sha256"), hashlib.sha256(onnx.read_bytes()).hexdigest()
    if wanted is not None and wanted != found_hash:
        raise EdgelaneError(
            f"{model} was not compiled from {onnx} (SHA-256 {str(wanted)[:12]} expected, {found_hash[:12]} found); "
            f"compile it again, or say which file with {kind}=FILE"
        )
    return kind, kind, onnx, True


def _rename(kind: str, file: Path, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The same inputs under the names that the other file declares, in its order."""
    if kind == "torch":
        return feeds
    if kind == "edgelane":
        from edgelane.runtime import Session

        declared = [(spec.name, tuple(spec.shape)) for spec in Session(file).inputs]
    else:
        try:
            import onnx
        except ImportError as error:
            raise missing("onnx") from error
        try:
            graph = onnx.load(str(file), load_external_data=False).graph
        except Exception as error:  # protobuf's DecodeError has no stable import path
            raise EdgelaneError(f"{file} is not an ONNX file: {error}") from error
        constants = {initializer.name for initializer in graph.initializer}
        declared = [
            (value.name, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim))
            for value in graph.input
            if value.name not in constants
        ]
    shapes = [value.shape for value in feeds.values()]
    fits = len(declared) == len(shapes) and all(
        len(shape) == len(wanted) and all(have in (0, want) for have, want in zip(shape, wanted, strict=True))
        for (_, shape), wanted in zip(declared, shapes, strict=True)
    )
    if not fits:
        raise EdgelaneError(
            f"{file} takes inputs {declared}, the compiled model takes {shapes}: they cannot be compared"
        )
    return {name: value for (name, _), value in zip(declared, feeds.values(), strict=True)}


def _is_int8(session: Any, feeds: dict[str, npt.NDArray[Any]]) -> bool:
    return any("_s8_" in row.kernel for row in session.profile(feeds))


def _bind(progress: Callable[[str, float], object], stage: str) -> Callable[[float], object]:
    return lambda fraction: progress(stage, fraction)
