"""From a float32 ONNX file and a folder of images to an int8 ONNX file and a report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgelane._version import __version__
from edgelane.errors import EdgelaneError
from edgelane.export.compiler.onnx_file import first_line
from edgelane.export.int8.bias import bias_corrections
from edgelane.export.int8.equalize import Equalized, equalize
from edgelane.export.int8.images import PictureOptions, Samples
from edgelane.export.int8.judge import Judge, Verdict
from edgelane.export.int8.network import Array, Network
from edgelane.export.int8.placement import RESIDUALS, Graph
from edgelane.export.int8.ranges import observe
from edgelane.export.int8.rewrite import Int8, float_model
from edgelane.export.int8.sensitivity import LayerSensitivity, sensitivity
from edgelane.export.int8.source import Source, read_source
from edgelane.files import atomic_path, write_json
from edgelane.observers import check_method

SAME_DB = 60.0  # folding rounds float32 differently, which leaves well above 100 dB
ASKED, NOISY = "asked for by name", "left in float for the signal to noise of the outputs"


class GateError(EdgelaneError):
    """Nothing that is int8 meets what was asked for. sensitivity: of each layer, the most sensitive first."""

    def __init__(self, message: str, found: Sequence[LayerSensitivity]) -> None:
        super().__init__(message)
        self.sensitivity = list(found)


@dataclass(frozen=True)
class Settings:
    """How to quantise. `quantize_onnx` says what each means."""

    method: str = "mse"
    per_channel: bool = True
    equalize: bool = False
    bias_correction: bool = False
    residual: str = "both"
    float_layers: tuple[str, ...] = ()
    calibration_images: int = 256
    seed: int = 0
    sensitivity: bool = False
    min_sqnr: float | None = None
    max_drop: float | None = None
    pictures: PictureOptions = field(default_factory=PictureOptions)

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.residual not in RESIDUALS:
            raise EdgelaneError(f"unknown residual {self.residual!r}; expected one of {', '.join(RESIDUALS)}")
        if self.calibration_images < 1:
            raise EdgelaneError(f"expected at least 1 image for calibration, found {self.calibration_images}")
        if self.max_drop is not None and not self.max_drop >= 0:
            raise EdgelaneError(f"expected a drop of 0 or more points, found {self.max_drop}")

    def to_dict(self) -> dict[str, Any]:
        """All settings but how pictures are prepared, as JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "pictures"}
        return {**values, "float_layers": list(self.float_layers)}


def quantize_onnx(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[float, str], None] = lambda fraction, stage: None,
    **settings: Any,
) -> dict[str, Any]:
    """Write the float32 ONNX model `path` as int8 to `out` (default: MODEL.int8.onnx), and a report beside it.

    images: a folder of pictures, or of tensors in .npy files (of the one input) or .npz files (by input name), one or
        many in a file. Pictures are prepared as the model's metadata `edgelane.preprocessing` says.

    Settings:
    method: how a tensor's range follows from its values: minmax, moving_average, percentile, mse or entropy.
    per_channel: one scale for each output channel of weights; else one for all.
    equalize: scale channels between convolutions before calibration, see `equalize`.
    bias_correction: take the mean error of each output channel back, see `bias`.
    residual: which operands of an addition are int8: "both", or "fused" for TensorRT, see
        `edgelane.compression.placement`.
    float_layers: names of layers, of modules that hold them or of ONNX nodes, that stay float32.
    calibration_images: how many of the folder's samples calibrate, chosen by `seed`; up to as many others judge, or
        the same where there are no others.
    sensitivity: find for each layer what it costs alone.
    min_sqnr: signal to noise in dB that each output has to reach; the layers that cost most stay float until it does.
    max_drop: points (100 is all) of accuracy that may be lost, for folders whose subfolders are named as the classes
        in the model's metadata `edgelane.classes`; layers stay float as for min_sqnr.
    pictures: a `PictureOptions` in place of the model's metadata.

    The file keeps the names of inputs, outputs and values, the metadata and the opset (13 where it was older). Returns
    the report, which is also written as JSON: "layers" with dtype, scales and why one stays float, "scales" of the
    values, "sqnr_db" of each output, "accuracy" where it is known.

    Raises EdgelaneError, and writes nothing, for a model that is malformed, quantised already, larger than 2 GiB or
    has no layer that can be int8; for a folder without usable images; and as GateError where the gate is not met.
    """
    return _Run(path, images, out, _settings(settings), progress).run()


def _settings(values: dict[str, Any]) -> Settings:
    values = dict(values)
    if "float_layers" in values:
        values["float_layers"] = tuple(values["float_layers"])
    try:
        return Settings(**values)
    except TypeError as error:
        raise EdgelaneError(f"quantize_onnx: {first_line(error)}") from error


class _Run:
    def __init__(
        self,
        path: str | os.PathLike[str],
        images: str | os.PathLike[str],
        out: str | os.PathLike[str] | None,
        settings: Settings,
        progress: Callable[[float, str], None],
    ) -> None:
        self.path, self.images, self.settings, self.progress = Path(path), images, settings, progress
        self.out = self.path.with_suffix(".int8.onnx") if out is None else Path(out)
        if self.out.exists() and self.path.exists() and self.out.samefile(self.path):
            raise EdgelaneError(f"the int8 model would replace {self.path}: choose another name for it")
        self.sensitivity: list[LayerSensitivity] = []
        self.equalized = Equalized([], {})
        self.kept: dict[str, str] = {}  # float layers with the reason

    def stage(self, name: str) -> Callable[[float], None]:
        """A callback for the share of a stage that is done."""
        return lambda fraction: self.progress(fraction, name)

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        settings = self.settings
        source = read_source(self.path)
        network, graph = source.network, Graph(source.network)
        self.kept = dict.fromkeys(_named(graph, settings.float_layers, self.path), ASKED)
        if not graph.place(self.kept).layers:
            raise EdgelaneError(f"{self.path} has no convolution or linear layer to quantise{_why(graph)}")
        _check_weights(graph, self.path)
        self.samples = Samples(self.images, source.original, settings.pictures)
        if settings.max_drop is not None and self.samples.labels is None:
            raise EdgelaneError(
                "--max-drop needs the classes of the images: a folder for each of the classes in the model's metadata "
                "entry edgelane.classes; without them use --min-sqnr"
            )
        self.calibrating, self.judging = _split(len(self.samples), settings, self.samples.batch or 1)
        self.judge = Judge(source.original, self.samples, self.judging)
        self._check_same(network.model)
        if settings.equalize:
            self.equalized = equalize(graph, self.samples, self.calibrating, self.kept)
            graph = Graph(Network(network.model, network.types))
        exact = float_model(graph, self.equalized.limits)
        if settings.equalize:
            self._check_same(exact)
        placement = graph.place(self.kept, settings.residual)
        observers = observe(exact, placement.sources, self.samples, self.calibrating, self.stage("calibrating"))
        scales = {origin: observer.scale(settings.method) for origin, observer in observers.items()}
        self.int8 = Int8(graph, placement, scales, settings.residual, settings.per_channel, self.equalized.limits)
        model, verdict = self._through_gate()
        if settings.sensitivity:
            self._find_sensitivity()
        return self._write(source, model, verdict, started)

    def _check_same(self, model: onnx.ModelProto) -> None:
        """Refuse to go on where folding changed what the model computes."""
        found = self.judge.compare(model, self.samples.batch or 16, accuracy=False).worst_db
        if found < SAME_DB:
            raise EdgelaneError(
                f"{self.path}: the model with constants and BatchNorm folded differs from the file: {found:.1f} dB of "
                f"signal to noise, expected at least {SAME_DB:.0f} dB"
            )

    def _build(self, kept: dict[str, str]) -> tuple[onnx.ModelProto, Verdict]:
        corrections: dict[str, Array] | None = None
        if self.settings.bias_correction:
            corrections = bias_corrections(
                self.int8, kept, self.samples, self.calibrating, self.stage("correcting biases")
            )
        model = self.int8.model(kept, corrections=corrections)
        return model, self.judge.compare(model)

    def _lacks(self, verdict: Verdict) -> str:
        """What a verdict lacks; "" where it passes the gate."""
        settings, before = self.settings, self.judge.accuracy
        if settings.min_sqnr is not None and verdict.worst_db < settings.min_sqnr:
            return f"{verdict.worst_db:.1f} dB of signal to noise at the outputs, expected {settings.min_sqnr:g} dB"
        if settings.max_drop is not None and before is not None and verdict.accuracy is not None:
            drop = 100 * (before - verdict.accuracy)
            if drop > settings.max_drop + 1e-9:
                return f"{drop:.2f} points of accuracy lost, expected at most {settings.max_drop:g}"
        return ""

    def _find_sensitivity(self) -> None:
        if not self.sensitivity:
            self.sensitivity = sensitivity(self.int8, self.judge, self.stage("sensitivity of layers"))

    def _through_gate(self) -> tuple[onnx.ModelProto, Verdict]:
        """The model with as few of the most sensitive layers in float as the gate takes."""
        model, verdict = self._build(self.kept)
        if not self._lacks(verdict):
            return model, verdict
        self._find_sensitivity()
        order = [entry.name for entry in self.sensitivity if entry.name not in self.kept]
        asked = self.kept
        failing, passing, count = 0, None, 1
        while passing is None and failing < len(order) - 1:
            count = min(count, len(order) - 1)  # one layer at least is int8
            kept = asked | dict.fromkeys(order[:count], NOISY)
            model, verdict = self._build(kept)
            if self._lacks(verdict):
                failing, count = count, 2 * count
            else:
                passing = (count, kept, model, verdict)
        if passing is None:
            worst = ", ".join(f"{entry.name} ({entry.sqnr_db:.1f} dB)" for entry in self.sensitivity[:5])
            raise GateError(
                f"nothing was written: with one layer in int8 there are still {self._lacks(verdict)}; "
                f"the most sensitive layers are {worst}",
                self.sensitivity,
            )
        while passing[0] - failing > 1:
            count = (passing[0] + failing) // 2
            kept = asked | dict.fromkeys(order[:count], NOISY)
            model, verdict = self._build(kept)
            if self._lacks(verdict):
                failing = count
            else:
                passing = (count, kept, model, verdict)
        _, self.kept, model, verdict = passing
        return model, verdict

    def _write(self, source: Source, model: onnx.ModelProto, verdict: Verdict, started: float) -> dict[str, Any]:
        _record(model, self.settings, list(self.kept))
        with atomic_path(self.out) as temporary:
            try:
                onnx.checker.check_model(model, full_check=True)
                onnx.save(model, temporary)
            except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
                raise EdgelaneError(f"the int8 model is not valid ONNX: {first_line(error)}") from error
            size = temporary.stat().st_size
        placement = self.int8.place(self.kept)
        report = {
            "edgelane": __version__,
            "kind": "int8",
            "source": str(self.path),
            "source_sha256": source.sha256,
            "onnx": str(self.out),
            "bytes": size,
            "source_bytes": self.path.stat().st_size,
            "settings": self.settings.to_dict(),
            "calibration": {
                "folder": os.fspath(self.images),
                "found": len(self.samples),
                "used": len(self.calibrating),
                "judged": len(self.judging),
                "judged_on": "the same" if self.judging == self.calibrating else "others",
            },
            "sqnr_db": verdict.sqnr_db,
            "accuracy": None if verdict.accuracy is None else {"float": self.judge.accuracy, "int8": verdict.accuracy},
            "layers": self._layers(),
            "scales": {value: self.int8.scales[value] for value in placement.quantized},
            "sensitivity": [entry.to_dict() for entry in self.sensitivity],
            "equalized": [list(pair) for pair in self.equalized.pairs],
            "duration_s": time.perf_counter() - started,
        }
        write_json(self.out.with_suffix(".json"), report)
        return report

    def _layers(self) -> list[dict[str, Any]]:
        noise = {entry.name: entry.sqnr_db for entry in self.sensitivity}
        rows = []
        for layer in self.int8.graph.layers:
            reason = layer.reason or self.kept.get(layer.name, "")
            weight = self.int8.network.constant(layer.weight)
            rows.append(
                {
                    "name": layer.name,
                    "node": layer.node.name,
                    "op": layer.node.op_type,
                    "shape": [] if weight is None else list(weight.shape),
                    "dtype": "float32" if reason else "int8",
                    "reason": reason,
                    "input_scale": None if reason else self.int8.scales[layer.input],
                    "sqnr_db": noise.get(layer.name),
                }
            )
        return rows


def _named(graph: Graph, names: Sequence[str], path: Path) -> list[str]:
    """The layers that names stand for: of themselves, of modules that hold them, or of their nodes."""
    found: list[str] = []
    for name in names:
        covered = [
            layer.name
            for layer in graph.layers
            if name in (layer.name, layer.node.name) or layer.name.startswith(f"{name}.")
        ]
        if not covered:
            raise EdgelaneError(
                f"float layers: {path} has no layer named {name!r}; its layers are "
                f"{', '.join(layer.name for layer in graph.layers)}"
            )
        found += covered
    return list(dict.fromkeys(found))


def _check_weights(graph: Graph, path: Path) -> None:
    """Raise EdgelaneError for NaN and infinity in weights or biases."""
    for layer in graph.layers:
        for name in filter(None, (layer.weight, layer.bias)):
            value = graph.network.constant(name)
            if value is not None and value.dtype.kind == "f" and not np.all(np.isfinite(value)):
                bad = value.size - int(np.count_nonzero(np.isfinite(value)))
                raise EdgelaneError(f"{path}: {bad} of {value.size} values of {name!r} are NaN or infinite")


def _why(graph: Graph) -> str:
    reasons = dict.fromkeys(f"{layer.name}: {layer.reason}" for layer in graph.layers if layer.reason)
    return f" ({'; '.join(list(reasons)[:3])})" if reasons else ""


def _split(found: int, settings: Settings, batch: int) -> tuple[list[int], list[int]]:
    """The samples that calibrate and those that judge, both in whole batches that the model demands."""
    order = np.random.default_rng(settings.seed).permutation(found).tolist()
    used = max(batch, settings.calibration_images // batch * batch)
    calibrating, others = order[:used], order[used : 2 * used]
    calibrating, others = (part[: len(part) // batch * batch] for part in (calibrating, others))
    return calibrating, others or calibrating


def _record(model: onnx.ModelProto, settings: Settings, float_layers: list[str]) -> None:
    """Say in the metadata entry edgelane.compression how the model was quantised, beside what it says already."""
    entry = next((entry for entry in model.metadata_props if entry.key == "edgelane.compression"), None)
    if entry is None:
        entry = model.metadata_props.add(key="edgelane.compression")
    try:
        known = json.loads(entry.value or "{}")
    except ValueError:
        known = {}
    quantization = {
        "method": settings.method,
        "skip": float_layers,
        "residual": settings.residual,
        "bias_correction": settings.bias_correction,
        "rounding": "nearest",
    }
    entry.value = json.dumps({**(known if isinstance(known, dict) else {}), "quantization": quantization})
