"""The order of the compiler's phases."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane._version import __version__
from edgelane.errors import EdgelaneError
from edgelane.export.compiler import activations, convolutions, lane_file, normalizations, passes, quantization
from edgelane.export.compiler.emit import Emitter
from edgelane.export.compiler.golden import NoGoldenError, expected_frame, image_inputs, proven_frame, random_inputs
from edgelane.export.compiler.graph import Graph, Step, Tensor, repeat
from edgelane.export.compiler.limits import with_limits
from edgelane.export.compiler.report import CompileReport
from edgelane.files import atomic_path, write_bytes

if TYPE_CHECKING:
    import onnx

JSON_METADATA = ("classes", "preprocessing", "compression", "detection")
PLAIN_METADATA = ("task",)


def optimise(graph: Graph) -> None:
    """Run every pass, in the order in which they build on one another."""
    passes.clean(graph)
    normalizations.recognise(graph)
    activations.recognise(graph)
    passes.fuse(graph)
    quantization.quantize(graph)
    repeat(graph, passes.fuse_activation, passes.fuse_residual)
    convolutions.compact(graph)
    passes.clean(graph)
    _separate_outputs(graph)
    graph.sort()


def compile_model(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    input_shapes: Mapping[str, Sequence[int]] | None,
    golden: str | os.PathLike[str] | bool,
    outputs: Sequence[str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> CompileReport:
    """See edgelane.export.compiler.compile."""
    try:
        from edgelane.export.compiler import cut, half, onnx_file, onnx_import
        from edgelane.export.compiler.input_shapes import fixed_input_shapes
    except ImportError as error:
        raise EdgelaneError(f"the compiler needs {error.name}: pip install 'edgelane[export]'") from error
    allowed = with_limits(limits)
    path = Path(source)
    if path.exists() and Path(target).exists() and path.samefile(target):
        raise EdgelaneError(f"the compiled file would replace the model {path}: choose another name for it")
    model, digest = onnx_file.load_model(path, allowed)
    if outputs is not None:
        cut.set_outputs(model, outputs)
    halves = half.widen(model)
    shapes = fixed_input_shapes(model, input_shapes)
    cut.set_input_shapes(model, shapes)
    graph = onnx_import.import_graph(model, shapes, limits=allowed)
    graph.notes += [half.NOTE] if halves else []
    optimise(graph)
    metadata: dict[str, Any] = {
        "edgelane_version": __version__,
        "source_sha256": digest,
        **_metadata({entry.key: entry.value for entry in model.metadata_props}),
    }
    emitter = Emitter(graph)
    if isinstance(golden, bool):
        golden = "random" if golden else "none"
    with atomic_path(target) as temporary:
        golden_state, parity = _write(temporary, model, graph, emitter, metadata, os.fspath(golden))
        size = temporary.stat().st_size
    return CompileReport(str(path), str(target), size, emitter.layers(), golden_state, graph.notes, parity)


def _write(
    place: Path, model: onnx.ModelProto, graph: Graph, emitter: Emitter, metadata: dict[str, Any], golden: str
) -> tuple[str, dict[str, float]]:
    """Write the file; return CompileReport's `golden` and `parity`. A golden frame is proven by what was written."""
    if golden == "none":
        write_bytes(place, lane_file.to_bytes(emitter.file(metadata)))
        return "not written: not asked for", {}
    try:
        feeds = random_inputs(graph) if golden == "random" else image_inputs(graph, golden, metadata)
        expected = expected_frame(model, graph, feeds)
        write_bytes(place, lane_file.to_bytes(emitter.file(metadata, expected)))
        frame, parity = proven_frame(place, graph, expected)
        if frame is not expected:
            write_bytes(place, lane_file.to_bytes(emitter.file(metadata, frame)))
        return "written", parity
    except NoGoldenError as error:
        if golden != "random":
            raise EdgelaneError(f"no golden frame of {golden}: {error}") from error
        write_bytes(place, lane_file.to_bytes(emitter.file(metadata)))
        return f"not written: {error}", {}


def to_bytes(graph: Graph) -> bytes:
    """Return the content of a `.lane` file that holds an imported graph and nothing else."""
    optimise(graph)
    emitter = Emitter(graph)
    return lane_file.to_bytes(emitter.file({"edgelane_version": __version__}))


def _metadata(properties: dict[str, str]) -> dict[str, Any]:
    """Return what an edgelane export wrote about classes, preprocessing, task and compression."""
    result: dict[str, Any] = {}
    for key in JSON_METADATA:
        text = properties.get(f"edgelane.{key}")
        if text is not None:
            try:
                result[key] = json.loads(text)
                json.dumps(result[key], allow_nan=False)  # Python reads NaN, and numbers too large, which are not JSON
            except (ValueError, RecursionError) as error:
                raise EdgelaneError(f"the model's metadata edgelane.{key} is not JSON: {error}") from error
    for key in PLAIN_METADATA:
        if f"edgelane.{key}" in properties:
            result[key] = properties[f"edgelane.{key}"]
    return result


def _separate_outputs(graph: Graph) -> None:
    """Give every output a tensor of its own where it is a constant, an input or another output as well."""
    seen: set[int] = {id(tensor) for tensor in graph.inputs}
    for position, tensor in enumerate(graph.outputs):
        if id(tensor) in seen or tensor.data is not None:
            copy = Tensor(graph.output_names[position], tensor.shape, tensor.dtype)
            copy.quantization, copy.stored_as = tensor.quantization, tensor.stored_as
            graph.outputs[position] = graph.add(Step("reshape", copy.name, [tensor], copy))
        seen.add(id(graph.outputs[position]))
