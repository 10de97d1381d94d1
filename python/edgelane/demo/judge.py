"""Accuracy and speed of the deployed files, each engine on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.bench.agreement import check_agreement
from edgelane.bench.peers import Runner, runner
from edgelane.bench.timing import benchmark
from edgelane.files import read_json

if TYPE_CHECKING:
    from edgelane.data import DataBundle

PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
BASELINE = "ONNX Runtime dense fp32"


@dataclass(frozen=True)
class Variant:
    """One deployed network: its run folder and how its numbers are computed."""

    name: str
    folder: Path
    precision: str

    @property
    def onnx(self) -> Path:
        """What the peers run."""
        return self.folder / "model.onnx"

    @property
    def lane(self) -> Path:
        """What edgelane runs."""
        return self.folder / "model.lane"

    @property
    def title(self) -> str:
        """As the table names it: "pruned fp32" or "pruned+int8"."""
        return self.name if self.precision in self.name else f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Row:
    """One row of the table: an engine with a variant."""

    name: str
    kind: str
    variant: Variant

    @property
    def file(self) -> Path:
        """What this engine loads."""
        return self.variant.lane if self.kind == "edgelane" else self.variant.onnx


def table_rows(variants: Sequence[Variant]) -> list[Row]:
    """Edgelane on every variant; each peer on the dense network and on the int8 one (zeros change nothing for them)."""
    rows = [Row(f"edgelane {variant.title}", "edgelane", variant) for variant in variants]
    for kind, title in PEERS.items():
        rows += [Row(f"{title} {variant.title}", kind, variant) for variant in (variants[0], variants[-1])]
    return rows


def judge(variants: Sequence[Variant], bundle: DataBundle) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 on the test split, and size and MACs of the file, for each row's name."""
    from edgelane.training import evaluate

    result: dict[str, Any] = {}
    for row in table_rows(variants):
        buffer = _input_of(row, bundle)
        run = runner(row.kind, row.file, buffer, 1)
        report = read_json(row.variant.folder / "compile.json")
        result[row.name] = {
            "metrics": evaluate(_predictor(run, buffer), bundle.test, bundle.classes).to_dict(),
            "file": str(row.file),
            "bytes": row.file.stat().st_size,
            "macs": report["macs"] if row.kind == "edgelane" else report["dense_macs"],
        }
    return result


def measure(
    variants: Sequence[Variant],
    bundle: DataBundle,
    threads: Sequence[int],
    seconds: float,
    progress: Callable[[float, str], object] | None,
) -> dict[str, Any]:
    """One interleaved benchmark of all rows for each thread count on a picture of the test split, and edgelane's time
    per layer.

    Raises EdgelaneError when engines disagree about the outputs of the same network: then nothing is timed.
    """
    from edgelane.runtime import Session

    result: dict[str, Any] = {}
    image = np.asarray(bundle.test[0][0], np.float32)[None]
    for count in threads:
        runners: dict[str, Runner] = {}
        for row in table_rows(variants):
            buffer = _input_of(row, bundle)
            next(iter(buffer.values()))[...] = image
            runners[row.name] = runner(row.kind, row.file, buffer, count)
        errors = {}
        for variant in variants:
            outputs = {
                row.name: [np.array(value) for value in runners[row.name]()]
                for row in table_rows(variants)
                if row.variant == variant
            }
            errors.update(check_agreement(outputs, int8=variant.precision == "int8"))
        stage = f"{count} thread{'s' * (count > 1)}"
        report = None if progress is None else _bind(progress, stage)
        timed = benchmark(runners, seconds, baseline=BASELINE, progress=report)
        layers = {}
        for variant in variants:
            session = Session(variant.lane, threads=count)
            profile = session.profile({session.inputs[0].name: image})
            layers[variant.title] = [{key: getattr(row, key) for key in row.__dataclass_fields__} for row in profile]
        result[str(count)] = {**timed.to_dict(), "relative_error": errors, "layers": layers}
    return result


def _input_of(row: Row, bundle: DataBundle) -> dict[str, npt.NDArray[Any]]:
    """An input buffer for one picture under the name that the network declares."""
    from edgelane.runtime import Session

    shape = (1, 3, bundle.preprocessing.height, bundle.preprocessing.width)
    return {Session(row.variant.lane).inputs[0].name: np.zeros(shape, np.float32)}


def _predictor(
    run: Runner, buffer: dict[str, npt.NDArray[Any]]
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """A function for `edgelane.training.evaluate` from a runner: every engine reads its input buffer anew in each
    call.
    """
    (pixels,) = buffer.values()

    def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores = []
        for image in images:
            pixels[...] = image
            scores.append(np.array(run()[0], np.float32).reshape(-1))
        return np.stack(scores)

    return predict


def _bind(progress: Callable[[float, str], object], stage: str) -> Callable[[float], object]:
    return lambda fraction: progress(fraction, stage)
