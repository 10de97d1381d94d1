"""Two models on the same inputs: worst and mean difference of each output, and of each value inside.

float32: a value may differ by 1e-4 of its largest magnitude, the inputs of both models being the same.

int8: a value that lies between two steps may be rounded to either, and a deep network amplifies that. So a compiled
network is judged piece by piece: ONNX Runtime computes each int8 value from the int8 values that the compiled network
itself had before it. There the two may differ by one step on 0.1 % of the elements (or on one element, in small
tensors) and by more on none. How far the two are apart at the end, where differences add up, is reported beside that.
Float biases that edgelane has to round to int32 move more values to the next step: with such biases, which are
reported, one step is allowed on 1 % of the elements.

torch against ONNX: the outputs, and for each module the value inside the graph that equals its result, if any does. A
module whose result is folded into the next one (a convolution before its BatchNorm) has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from edgelane.check.models import Array, LaneModel, Model, OnnxModel, TorchModel, Values
from edgelane.errors import EdgelaneError
from edgelane.export.parity import SHARE_OFF_BY_ONE, TOLERANCE, compare_torch_onnx

Frame = Mapping[str, Array]
# Rounding moves a bias by up to half of input scale times weight scale, in practice by up to some hundredths of a step
# of the output: as many values as that share of the distances between steps land on the next one.
SHARE_WITH_ROUNDED_BIASES = 0.01


@dataclass(frozen=True)
class Row:
    """One output or inner value.

    `worst` and `mean`: differences in parts of the largest magnitude, of integers in steps; infinite where a value is
    not finite or the shapes differ. `off`: of integers, the share of elements that differ; else None.
    """

    value: str
    node: str
    op: str
    dtype: str
    elements: int
    worst: float
    mean: float
    off: float | None
    ok: bool

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; what is infinite is null."""
        return {key: None if value == np.inf else value for key, value in asdict(self).items()}


@dataclass
class Comparison:
    """`outputs` end to end; `layers` as the module says, in the order of execution; `problem`: why there is no parity;
    `note`: what the user should know.
    """

    reference: str
    other: str
    tolerance: float
    outputs: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    piecewise: bool = False
    share: float = SHARE_OFF_BY_ONE  # of int8 values that may be off by one step
    note: str = ""
    problem: str = ""

    @property
    def judged(self) -> list[Row]:
        """What the verdict rests on, in the order of execution: piecewise, not the outputs end to end."""
        return self.layers if self.piecewise else [*self.layers, *self.outputs]

    @property
    def first(self) -> Row | None:
        """The first value that is not equal, in the order of execution."""
        return next((row for row in self.judged if not row.ok), None)

    @property
    def ok(self) -> bool:
        """Whether everything that was judged is within the tolerance."""
        return not self.problem and bool(self.judged) and self.first is None

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "reference": self.reference,
            "other": self.other,
            "ok": self.ok,
            "tolerance": self.tolerance,
            "piecewise": self.piecewise,
            "share": self.share,
            "note": self.note,
            "problem": self.problem,
            "first": self.first.to_dict() if self.first else None,
            "outputs": [row.to_dict() for row in self.outputs],
            "layers": [row.to_dict() for row in self.layers],
        }


def compare(
    reference: Model, other: Model, frames: Sequence[Frame], *, layers: bool = False, tolerance: float = TOLERANCE
) -> Comparison:
    """Run both models on every frame (inputs by the reference's names) and compare; rows hold the worst of all frames.

    `layers`: compare inner values too; int8 networks always are, against ONNX. Models that cannot be run on the same
    inputs are not equal: `problem` says why.
    """
    result = Comparison(reference.name, other.name, tolerance)
    try:
        for frame in frames:
            outputs, inner = _compare_frame(reference, other, frame, layers, tolerance, result)
            result.outputs = _worst(result.outputs, outputs)
            result.layers = _worst(result.layers, inner)
    except EdgelaneError as error:
        result.problem = str(error)
    return result


def _compare_frame(
    reference: Model, other: Model, frame: Frame, layers: bool, tolerance: float, result: Comparison
) -> tuple[list[Row], list[Row]]:
    """Rows of outputs and of inner values."""
    theirs = _for(other, frame)
    if isinstance(reference, OnnxModel) and isinstance(other, LaneModel):
        return _lane_rows(reference, other, frame, theirs, layers, tolerance, result)
    if isinstance(reference, LaneModel) and isinstance(other, OnnxModel):
        return _lane_rows(other, reference, theirs, frame, layers, tolerance, result)
    if isinstance(reference, OnnxModel) and isinstance(other, TorchModel):
        return _torch_rows(reference, other, frame, layers, tolerance)
    if isinstance(reference, TorchModel) and isinstance(other, OnnxModel):
        return _torch_rows(other, reference, theirs, layers, tolerance)
    outputs = _outputs(reference, other, reference.run(frame), other.run(theirs), tolerance)
    if not layers or isinstance(reference, TorchModel) or isinstance(other, TorchModel):
        return outputs, []
    known = set(other.names())
    names = [name for name in reference.names() if name in known and name not in reference.outputs]
    ours, found, nodes = reference.values(frame, names), other.values(theirs, names), reference.nodes()
    kept = [name for name in names if ours[name].dtype.kind in "fi" and ours[name].dtype.itemsize in (1, 4)]
    return outputs, [row_of(name, nodes.get(name, ("", "")), ours[name], found[name], tolerance) for name in kept]


def _lane_rows(
    onnx: OnnxModel, lane: LaneModel, onnx_feeds: Frame, lane_feeds: Frame, layers: bool, tolerance: float,
    result: Comparison,
) -> tuple[list[Row], list[Row]]:  # fmt: skip
    notes = []
    if lane.session.metadata.get("source_sha256", onnx.digest) != onnx.digest:
        notes.append(f"{lane.path} was compiled from another ONNX file than {onnx.path}")
    nodes = onnx.nodes()
    known = set(nodes)
    own = set(lane.outputs) == set(onnx.outputs) or not set(lane.outputs) <= known
    # A network that was compiled with other outputs returns values inside the model.
    expected = onnx.run(onnx_feeds) if own else onnx.values(onnx_feeds, lane.outputs)
    outputs = _outputs(onnx, lane, expected, lane.run(lane_feeds), tolerance)
    names = [name for name in lane.names() if name in known]
    int8 = any(tensor.dtype == "int8" and tensor.data is None for tensor in lane.content.tensors)
    result.note = "; ".join(notes)
    if not int8 and not layers:
        return outputs, []
    if int8 and not any(name not in lane.outputs for name in names):
        raise EdgelaneError(
            f"{lane.path} does not say which values of {onnx.path} it computes, so int8 cannot be compared value by "
            "value: compile it again"
        )
    position = {name: index for index, name in enumerate(onnx.names())}
    names.sort(key=position.__getitem__)
    found = lane.values(lane_feeds, names)
    wanted = onnx.values(onnx_feeds, names)
    share = SHARE_OFF_BY_ONE
    if int8:
        rounded = onnx.rounded_biases()
        if rounded:
            share = SHARE_WITH_ROUNDED_BIASES
            notes.append(
                f"{onnx.path}: float biases that are no multiples of input scale times weight scale are rounded to "
                f"int32 (layers: {len(rounded)}, first {rounded[0]}): one step is allowed on {share:.0%} of the values"
            )
        result.piecewise, result.share = True, share
        levels = {name: _unsigned(found[name], wanted[name].dtype) for name in names if found[name].dtype == np.int8}
        wanted = onnx.pieces(onnx_feeds, names, levels)
    result.note = "; ".join(notes)
    rows = [row_of(name, nodes[name], _signed(wanted[name]), found[name], tolerance, share) for name in names]
    return outputs, rows


def _torch_rows(
    onnx: OnnxModel, torch_model: TorchModel, feeds: Frame, layers: bool, tolerance: float
) -> tuple[list[Row], list[Row]]:
    if torch_model.quantized:
        return _fake_quantized(onnx, torch_model, feeds)
    if not layers:
        return _outputs(onnx, torch_model, onnx.run(feeds), torch_model.run(feeds), tolerance), []
    expected, modules = torch_model.modules(feeds)
    nodes = onnx.nodes()
    values = onnx.values(feeds, onnx.names())
    rows = []
    for path, module_value in modules.items():
        alike = [
            name for name, value in values.items() if value.dtype == np.float32 and value.shape == module_value.shape
        ]
        if alike:
            found = [row_of(path, nodes[name], module_value, values[name], tolerance) for name in alike]
            rows.append(min(found, key=lambda row: row.worst))
    outputs = _outputs(onnx, torch_model, {name: values[name] for name in onnx.outputs}, expected, tolerance)
    if all(row.ok for row in outputs):
        return outputs, [row for row in rows if row.ok]  # the others are folded into something
    return outputs, [row for row, after in zip(rows, [*rows[1:], None], strict=True) if not _folded(row, after)]


def _folded(row: Row, after: Row | None) -> bool:
    """Whether a module's result seems to be computed together with the next one's."""
    return not row.ok and after is not None and (after.ok or after.node == row.node)


def _fake_quantized(onnx: OnnxModel, torch_model: TorchModel, feeds: Frame) -> tuple[list[Row], list[Row]]:
    """A torch module with quantisers: every piece between two of them, on torch's levels."""
    import torch

    inputs = [torch.from_numpy(np.ascontiguousarray(value)) for value in feeds.values()]
    parity = compare_torch_onnx(torch_model.module, onnx.path, inputs)
    name = f"{parity.tensors} int8 tensors and the outputs, piece by piece"
    return [Row(name, "", "", "float32", 0, parity.largest, parity.mean, parity.off_by_one, True)], []


def _outputs(reference: Model, other: Model, ours: Values, theirs: Values, tolerance: float) -> list[Row]:
    """Outputs by name where the names agree, else by position."""
    if len(ours) != len(theirs):
        raise EdgelaneError(f"{reference.name} has {len(ours)} outputs, {other.name} has {len(theirs)}")
    nodes = {} if isinstance(reference, TorchModel) else reference.nodes()
    by_name = set(ours) == set(theirs)
    pairs = [(name, value, theirs[name]) for name, value in ours.items()] if by_name else [
        (name, value, found) for (name, value), found in zip(ours.items(), theirs.values(), strict=True)
    ]  # fmt: skip
    return [row_of(name, nodes.get(name, ("", "")), _signed(a), _signed(b), tolerance) for name, a, b in pairs]


def _for(model: Model, frame: Frame) -> Frame:
    """The frame under the names of another model: as they are where they agree, else by position."""
    names = [spec.name for spec in model.inputs] if model.inputs is not None else list(frame)
    if set(names) == set(frame):
        return {name: frame[name] for name in names}
    if len(names) != len(frame):
        raise EdgelaneError(f"{model.name} has {len(names)} inputs, expected {len(frame)}: {', '.join(frame)}")
    return dict(zip(names, frame.values(), strict=True))


def row_of(
    value: str, node: tuple[str, str], wanted: Array, found: Array, tolerance: float, share: float = SHARE_OFF_BY_ONE
) -> Row:
    """Measure one value; `share` of int8 elements may be off by one step."""
    dtype, elements = str(wanted.dtype), int(wanted.size)
    row = Row(value, *node, dtype, elements, np.inf, np.inf, None, False)
    if wanted.shape != found.shape or wanted.dtype.kind != found.dtype.kind:
        return replace(row, op=f"{row.op} {list(wanted.shape)} against {list(found.shape)}")
    if elements == 0:
        return replace(row, worst=0.0, mean=0.0, ok=True)
    difference = np.abs(wanted.astype(np.float64) - found.astype(np.float64))
    if wanted.dtype.kind != "f":
        off = int((difference > 0).sum())
        steps, allowed = (1, max(1, int(share * elements))) if wanted.dtype == np.int8 else (0, 0)
        ok = bool(difference.max() <= steps) and off <= allowed
        return replace(row, worst=float(difference.max()), mean=float(difference.mean()), off=off / elements, ok=ok)
    if not np.isfinite(difference).all():
        return row
    magnitude = max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    worst = float(difference.max()) / magnitude
    return replace(row, worst=worst, mean=float(difference.mean()) / magnitude, ok=worst <= tolerance)


def _worst(before: list[Row], rows: list[Row]) -> list[Row]:
    """The worse of both rows for each value."""
    known = {row.value: row for row in before}
    return [
        row if row.value not in known else max(known[row.value], row, key=lambda r: (not r.ok, r.worst)) for row in rows
    ]


def _signed(value: Array) -> Array:
    """uint8 as the int8 that edgelane makes of it."""
    return (value.astype(np.int16) - 128).astype(np.int8) if value.dtype == np.uint8 else value


def _unsigned(value: Array, dtype: np.dtype[Any]) -> Array:
    return (value.astype(np.int16) + 128).astype(np.uint8) if dtype == np.uint8 else value
