"""Everything that `edgelane check` finds out about one model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane.check.compare import Comparison, compare
from edgelane.check.inputs import noise, read_frame
from edgelane.check.layers import LayerRow, layer_rows
from edgelane.check.models import InputSpec, LaneModel, Model, OnnxModel, open_model
from edgelane.check.task import load_data, metrics
from edgelane.check.unsupported import Obstacle, obstacles, partial_rows
from edgelane.errors import EdgelaneError
from edgelane.export.compiler.unsupported import UnsupportedNodes
from edgelane.export.parity import TOLERANCE

if TYPE_CHECKING:
    from edgelane.export.lint import Finding


@dataclass
class Check:
    """What was found. `isa` and `threads` are those of the times in `layers`; "" where nothing could be compiled."""

    model: str
    isa: str = ""
    threads: int = 1
    layers: list[LayerRow] = field(default_factory=list)
    unsupported: list[Obstacle] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    quantized: bool = False  # whether the ONNX model has Q/DQ that the findings are about
    findings: list[Finding] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    data: str = ""
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the model can be compiled and everything that was compared is equal."""
        return not self.unsupported and all(comparison.ok for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "model": self.model,
            "ok": self.ok,
            "isa": self.isa,
            "threads": self.threads,
            "unsupported": [asdict(node) for node in self.unsupported],
            "notes": self.notes,
            "layers": [row.to_dict() for row in self.layers],
            "quantized": self.quantized,
            "findings": [finding.to_dict() for finding in self.findings],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "data": self.data,
            "metrics": self.metrics,
        }


def check(
    model: str | os.PathLike[str],
    against: Sequence[str | os.PathLike[str]] = (),
    *,
    inputs: Sequence[str | os.PathLike[str]] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
    isas: Sequence[str | None] = (None,),
    threads: int = 1,
    layers: bool = False,
    tolerance: float = TOLERANCE,
    data: str | None = None,
) -> Check:
    """Look at `model` from every side, and compare it with each of `against`.

    `model` and `against`: ONNX, `.lane`, edgelane checkpoints, torch modules (see `open_model`), and run folders, which
    stand for all that is in them. An ONNX model is compared with what it compiles to as well, unless a `.lane` file is
    among `against`. `inputs`: .npz, .npy or picture files, each one frame; none means noise. `isas`: the kernel sets to
    run compiled files on; None is the best one here. `outputs`: values at which an ONNX model is cut before it is
    compiled. `data`: a data set that every model is judged on.

    Raises EdgelaneError for files that cannot be read and models that cannot be run on the same inputs; what is wrong
    with the model itself stands in the result.
    """
    source, others, options = _run_folder(model, against)
    reference = open_model(source, isa=isas[0], threads=threads, input_shapes=input_shapes)
    result = Check(str(source), threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        lanes: list[LaneModel] = []
        if isinstance(reference, OnnxModel):
            from edgelane.export.lint import lint
            from edgelane.export.qdq_view import View

            result.quantized = View(reference.proto).quantized
            result.findings = lint(reference.proto)
            lane = _compiled(reference, Path(folder) / "model.lane", input_shapes, outputs, result)
            lanes = [] if lane is None else [LaneModel(lane, isa, threads, "compiled") for isa in isas]
        elif isinstance(reference, LaneModel):
            lanes = [reference, *(LaneModel(reference.path, isa, threads) for isa in isas[1:])]
        models: list[Model] = []
        for other in others:
            models += _opened(other, isas, threads, input_shapes)
        if isinstance(reference, LaneModel):
            models[:0] = lanes[1:]
        elif not any(isinstance(other, LaneModel) for other in models):
            models[:0] = lanes
        specs = _specs([reference, *models])
        frames = _frames(inputs, specs, reference)
        if lanes:
            result.isa = lanes[-1].isa
            result.layers = layer_rows(lanes[-1], _by_position(lanes[-1], frames[0]))
        result.comparisons = [compare(reference, other, frames, layers=layers, tolerance=tolerance) for other in models]
        if data is not None:
            result.data = data
            task = options.pop("task", None) or _task([reference, *models])
            bundle = load_data(data, specs, task, options if options.pop("name", None) == data else {})
            result.metrics = metrics([reference, *models], specs[0], bundle)
    return result


def _run_folder(
    model: str | os.PathLike[str], against: Sequence[str | os.PathLike[str]]
) -> tuple[str, list[str], dict[str, Any]]:
    """The model, what it is compared with, and how its data were loaded, run folders resolved."""
    source, others = os.fspath(model), [os.fspath(other) for other in against]
    options: dict[str, Any] = {}
    if Path(source).is_dir():
        folder = Path(source)
        if not (folder / "model.onnx").is_file():
            raise EdgelaneError(f"{folder} holds no model.onnx: run `edgelane export {folder}` first")
        source = str(folder / "model.onnx")
        parts = _parts(folder)
        others = [str(part) for part in parts] + others
        if parts and parts[0].suffix == ".pt":
            from edgelane.checkpoint import Checkpoint

            checkpoint = Checkpoint.load(parts[0])
            options = {**checkpoint.data_options, "name": checkpoint.data, "task": checkpoint.task}
    expanded: list[str] = []
    for other in others:
        expanded += (
            [str(p) for p in (*_parts(Path(other)), Path(other, "model.onnx"))] if Path(other).is_dir() else [other]
        )
    return source, expanded, options


def _parts(folder: Path) -> list[Path]:
    """The checkpoint that was exported and the compiled file, where they are there."""
    checkpoint = next((folder / name for name in ("compressed.pt", "model.pt") if (folder / name).is_file()), None)
    lane = folder / "model.lane"
    return [path for path in (checkpoint, lane) if path is not None and path.is_file()]


def _compiled(
    model: OnnxModel,
    target: Path,
    input_shapes: Mapping[str, Sequence[int]] | None,
    outputs: Sequence[str] | None,
    result: Check,
) -> Path | None:
    """Compile the model; where that is not possible, say what stands in the way and what the rest holds."""
    from edgelane.export.compiler import compile

    try:
        report = compile(model.path, target, input_shapes=input_shapes, golden=False, outputs=outputs)
    except UnsupportedNodes as error:
        result.unsupported = obstacles(error)
        result.layers = partial_rows(error)
        return None
    result.notes = report.notes
    return target


def _opened(
    other: str, isas: Sequence[str | None], threads: int, input_shapes: Mapping[str, Sequence[int]] | None
) -> list[Model]:
    """One model, or a compiled one on each kernel set."""
    first = open_model(other, isa=isas[0], threads=threads, input_shapes=input_shapes)
    if not isinstance(first, LaneModel):
        return [first]
    return [first, *(LaneModel(first.path, isa, threads) for isa in isas[1:])]


def _specs(models: Sequence[Model]) -> list[InputSpec]:
    """The inputs of the first model that declares any; torch modules do not."""
    specs = next((model.inputs for model in models if model.inputs is not None), None)
    if specs is None:
        raise EdgelaneError(f"{models[0].name} does not say what its inputs are: give --against an ONNX or .lane file")
    return specs


def _frames(
    files: Sequence[str | os.PathLike[str]], specs: Sequence[InputSpec], reference: Model
) -> list[dict[str, Any]]:
    if not files:
        return [noise(specs)]
    return [read_frame(Path(file), specs, _preprocessing(reference)) for file in files]


def _preprocessing(model: Model) -> dict[str, Any] | None:
    if isinstance(model, LaneModel):
        found = model.session.metadata.get("preprocessing")
        return found if isinstance(found, dict) else None
    import json

    text = _entry(model, "preprocessing")
    try:
        found = json.loads(text) if text else None
    except ValueError as error:
        raise EdgelaneError(f"{model.name}: the metadata edgelane.preprocessing is not JSON: {error}") from error
    return found if isinstance(found, dict) else None


def _task(models: Sequence[Model]) -> str:
    """What the first model that says so was trained for; classification where none does."""
    for model in models:
        found = model.session.metadata.get("task") if isinstance(model, LaneModel) else _entry(model, "task")
        if found:
            return str(found)
    return "classification"


def _entry(model: Model, key: str) -> str:
    """An ONNX file's metadata under `edgelane.<key>`."""
    if not isinstance(model, OnnxModel):
        return ""
    return next((entry.value for entry in model.proto.metadata_props if entry.key == f"edgelane.{key}"), "")


def _by_position(model: LaneModel, frame: Mapping[str, Any]) -> dict[str, Any]:
    """The frame under the compiled network's own names."""
    return dict(zip((spec.name for spec in model.inputs), frame.values(), strict=True))
