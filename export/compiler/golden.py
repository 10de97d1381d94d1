"""The golden frame: an input and ONNX Runtime's output for it, so that a deployed file can prove itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelane.export.compiler.graph import Array, Graph

SEED = 20240229


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


def golden_frame(source: Path, graph: Graph) -> tuple[dict[str, Array], str]:
    """Run the source model once. Return inputs and outputs by name, and "written"; or nothing, and why."""
    try:
        import onnxruntime
    except ImportError:
        return {}, "not written: onnxruntime is not installed (pip install onnxruntime)"
    feeds = golden_inputs(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The model as it is written: a fusion that goes wrong must not become what a deployed file is held to.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        results = session.run(graph.output_names, feeds)
    except Exception as error:  # onnxruntime raises classes of its own that it does not export
        return {}, f"not written: ONNX Runtime cannot run the source model: {str(error).splitlines()[0]}"
    frame = dict(zip(graph.output_names, results, strict=True))
    if not all(np.all(np.isfinite(value)) for value in frame.values()):
        return {}, "not written: the model's output for the golden input is not finite"
    return {**feeds, **frame}, "written"
