"""The golden frame: an input and ONNX Runtime's output for it, so that a deployed file can prove itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgelane.export.compiler.graph import Array, Graph

if TYPE_CHECKING:
    import onnx

SEED = 20240229
MAX_PROTOBUF_BYTES = 2**31 - 1


def golden_inputs(graph: Graph) -> dict[str, Array]:
    """Return the same pseudo-random input on every machine: standard normal, or all int8 values."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    feeds: dict[str, Array] = {}
    for tensor in graph.inputs:
        if tensor.dtype == "float32":
            feeds[tensor.name] = generator.standard_normal(tensor.shape, dtype=np.float32)
        else:
            feeds[tensor.name] = generator.integers(-128, 128, tensor.shape).astype(tensor.dtype)
    return feeds


def golden_frame(model: onnx.ModelProto, graph: Graph) -> tuple[dict[str, Array], str]:
    """Run the source model once. Return inputs and outputs by name, and "written"; or nothing, and why.

    ONNX Runtime gets the model that was read and checked, with all of its data, so that it opens no file by itself, and
    only what the outputs depend on, which is what the compiler has understood. Changes `model`.
    """
    try:
        import onnxruntime
    except ImportError:
        return {}, "not written: onnxruntime is not installed (pip install onnxruntime)"
    _drop_dead_nodes(model.graph)
    if model.ByteSize() > MAX_PROTOBUF_BYTES:
        return {}, f"not written: ONNX Runtime takes up to {MAX_PROTOBUF_BYTES} bytes at once, found {model.ByteSize()}"
    feeds = golden_inputs(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The model as it is written: a fusion that goes wrong must not become what a deployed file is held to.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(graph.output_names, feeds)
    except Exception as error:  # onnxruntime raises classes of its own that it does not export
        return {}, f"not written: ONNX Runtime cannot run the source model: {str(error).splitlines()[0]}"
    frame = dict(zip(graph.output_names, results, strict=True))
    if not all(np.all(np.isfinite(value)) for value in frame.values()):
        return {}, "not written: the model's output for the golden input is not finite"
    return {**feeds, **frame}, "written"


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
