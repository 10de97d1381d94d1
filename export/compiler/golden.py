"""The golden frame: an input and the expected outputs, so that a deployed file can prove itself on any machine.

Outputs are ONNX Runtime's for the source model, as it is written, and the file must compute them on this machine before
it is given to anybody. Where an output depends on a rounding to int8, that proof is coarse: one tie that is rounded to
the other level in an early layer spreads through the layers behind it. So once that proof is given, the file holds its
own answer for such an output: integer arithmetic gives the same bits on every instruction set, and a self-test that
compares with those is as sharp as in float32.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.graph import Array, Graph, Step
from edgelane.export.compiler.lane_file import CLOSE, ROUNDED, SAME

if TYPE_CHECKING:
    import onnx

SEED = 20240229
MAX_PROTOBUF_BYTES = 2**31 - 1
# Ops that choose, move or convert values and round nothing in float32.
SELECTION = (
    "reshape", "transpose", "slice", "concat", "channel_shuffle", "pad", "max_pool2d", "gather", "gather_elements",
    "gather_nd", "where", "cast", "recode", "arg_reduce", "top_k", "non_max_suppression", "dequantize",
)  # fmt: skip
# Activations without exponentials, which every instruction set computes by the same float32 operations.
REPEATABLE_ACTIVATIONS = (
    "none", "relu", "clip", "leaky_relu", "prelu", "hard_sigmoid", "hard_swish", "abs", "neg", "floor", "ceil", "round",
    "sign",
)  # fmt: skip


class NoGoldenError(EdgelaneError):
    """There is no golden frame for this model; the message says why."""


@dataclass(frozen=True)
class GoldenFrame:
    """`values` of every input and output by name, and the rule of FORMAT.md for each output."""

    values: dict[str, Array]
    rules: dict[str, int]


@dataclass(frozen=True)
class Past:
    """What happened to a value on the way from the inputs.

    `rule`: SAME while every instruction set computes the same bits, CLOSE where float32 sums may have another order,
    ROUNDED where such values were rounded to int8 afterwards, so that some may lie on the neighbouring level.
    `int8`: whether anything was rounded to int8 at all.
    """

    rule: int = SAME
    int8: bool = False


def output_pasts(graph: Graph) -> dict[str, Past]:
    """Follow the values of a sorted graph from its inputs to its outputs."""
    known: dict[int, Past] = {}
    for step in graph.steps:
        inputs = [known.get(id(tensor), Past()) for tensor in step.inputs if tensor is not None]
        before = Past(max((past.rule for past in inputs), default=SAME), any(past.int8 for past in inputs))
        known[id(step.output)] = _after(step, before)
    outputs = zip(graph.output_names, graph.outputs, strict=True)
    return {name: known.get(id(tensor), Past()) for name, tensor in outputs}


def _after(step: Step, before: Past) -> Past:
    selects = step.op in SELECTION or (step.op == "resize" and step.attributes.get("mode") == "nearest")
    if selects and step.activation.kind == "none":
        return before
    if step.output.dtype == "int8":
        same = before.rule == SAME and step.activation.kind in REPEATABLE_ACTIVATIONS
        return Past(SAME if same else ROUNDED, True)
    if step.output.dtype == "float32":
        return replace(before, rule=max(before.rule, CLOSE))
    return before


def random_inputs(graph: Graph) -> dict[str, Array]:
    """Return the same pseudo-random input on every machine.

    float32 is standard normal, as a normalised image; int8 and uint8 take all their values; bool, int32 and int64,
    which may be indices, are 0 or 1.
    """
    generator = np.random.Generator(np.random.PCG64(SEED))
    feeds: dict[str, Array] = {}
    for tensor in graph.inputs:
        if tensor.dtype == "float32":
            feeds[tensor.name] = generator.standard_normal(tensor.shape, dtype=np.float32)
        else:
            low, high = {"int8": (-128, 128), "uint8": (0, 256)}.get(tensor.dtype, (0, 2))
            feeds[tensor.name] = generator.integers(low, high, tensor.shape).astype(tensor.dtype)
    return feeds


def image_inputs(graph: Graph, image: str | os.PathLike[str], metadata: Mapping[str, Any]) -> dict[str, Array]:
    """Prepare a picture as `edgelane run` does, by the preprocessing in the model's metadata.

    Raises EdgelaneError for an unreadable picture, a model without preprocessing, and any but one float32 input of the
    shape that the preprocessing makes.
    """
    from edgelane.extras import missing
    from edgelane.preprocessing import Preprocessing, read_image

    if "preprocessing" not in metadata:
        raise EdgelaneError(
            f"golden frame {os.fspath(image)}: expected the model to say how to prepare a picture, found no metadata "
            'entry edgelane.preprocessing {"height", "width", "mean", "std"}; export it with `edgelane export`, or use '
            "random"
        )
    preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
    wanted = [("float32", (1, 3, preprocessing.height, preprocessing.width))]
    found = [(tensor.dtype, tensor.shape) for tensor in graph.inputs]
    if found != wanted:
        raise EdgelaneError(
            f"golden frame {os.fspath(image)}: expected the one input that the preprocessing makes, {_specs(wanted)}, "
            f"found {_specs(found)}; use random"
        )
    try:
        return {graph.inputs[0].name: preprocessing.apply(read_image(image))[None]}
    except ImportError as error:
        raise missing("PIL") from error


def _specs(specs: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{dtype} {list(shape)}" for dtype, shape in specs)


def expected_frame(model: onnx.ModelProto, graph: Graph, feeds: dict[str, Array]) -> GoldenFrame:
    """Run the source model once in ONNX Runtime. Raises NoGoldenError where that is not possible.

    ONNX Runtime gets the model that was read and checked, with all of its data, so that it opens no file by itself, and
    only what the outputs depend on, which is what the compiler has understood. Changes `model`.
    """
    try:
        import onnxruntime
    except ImportError:
        raise NoGoldenError("onnxruntime is not installed (pip install onnxruntime)") from None
    _drop_dead_nodes(model.graph)
    if model.ByteSize() > MAX_PROTOBUF_BYTES:
        raise NoGoldenError(f"ONNX Runtime takes up to {MAX_PROTOBUF_BYTES} bytes at once, found {model.ByteSize()}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The model as it is written: a fusion that goes wrong must not become what a deployed file is held to.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = dict(zip(graph.output_names, session.run(graph.output_names, feeds), strict=True))
    except Exception as error:  # onnxruntime raises classes of its own that it does not export
        raise NoGoldenError(f"ONNX Runtime cannot run the source model: {str(error).splitlines()[0]}") from error
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        wanted, found = (tensor.dtype, tensor.shape), (str(results[name].dtype), results[name].shape)
        if found != wanted:
            raise NoGoldenError(
                f"expected the output {name!r} to be {_specs([wanted])}, ONNX Runtime gives {_specs([found])}"
            )
        if not np.all(np.isfinite(results[name])):
            raise NoGoldenError(f"the model's output {name!r} for the golden input is not finite")
    rules = {name: ROUNDED if past.int8 else past.rule for name, past in output_pasts(graph).items()}
    return GoldenFrame({**feeds, **results}, rules)


def proven_frame(lane: Path, graph: Graph, frame: GoldenFrame) -> tuple[GoldenFrame, dict[str, float]]:
    """Run the file `lane`, which holds `frame`, on this machine.

    Returns the frame that it shall hold, `frame` itself where nothing is rounded to int8, and how far each output is
    from ONNX Runtime's, relative to its largest magnitude.

    Raises NoGoldenError where the file does not run here, or its outputs do not agree with ONNX Runtime's.
    """
    try:
        from edgelane.runtime import Session

        session = Session(lane, threads=1)
        rows = session.compare_golden()
    except EdgelaneError as error:
        raise NoGoldenError(f"the file does not run on this machine: {error}".replace(f"{lane}: ", "")) from error
    for row in rows:
        if not row.agrees:
            raise NoGoldenError(f"edgelane on this machine and ONNX Runtime disagree: {row.message}")
    errors = {row.output: row.error for row in rows}
    rounded = {name: past for name, past in output_pasts(graph).items() if past.int8}
    if not rounded:
        return frame, errors
    results = session.run({tensor.name: frame.values[tensor.name] for tensor in graph.inputs})
    values = {**frame.values, **{name: results[name] for name in rounded}}
    rules = {**frame.rules, **{name: past.rule for name, past in rounded.items()}}
    return GoldenFrame(values, rules), errors


def _drop_dead_nodes(graph: onnx.GraphProto) -> None:
    """Remove nodes that no output of the model depends on; the compiler has not looked at them either."""
    used = {info.name for info in graph.output}
    live = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(_reads(node))
            live.append(node)
    if len(live) < len(graph.node):
        live.reverse()
        del graph.node[:]
        graph.node.extend(live)


def _reads(node: onnx.NodeProto) -> set[str]:
    """All names that a node or a graph inside it reads."""
    names: set[str] = set()
    pending: list[Any] = [node]
    while pending:
        inner = pending.pop()
        names.update(inner.input)
        for attribute in inner.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                names.update(info.name for info in graph.output)
                pending += graph.node
    return names
