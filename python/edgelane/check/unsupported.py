"""What can be said of a model that does not compile: what stands in the way, what helps, and what the rest holds."""

from __future__ import annotations

from dataclasses import dataclass

from edgelane.check.layers import SPARSE_OPS, LayerRow
from edgelane.export.compiler.emit import layer
from edgelane.export.compiler.patterns import examine
from edgelane.export.compiler.unsupported import UnsupportedNodes

WEIGHTED_OPS = (*SPARSE_OPS, "conv_transpose2d")
# Words in the compiler's reason, and what helps.
ADVICE = (
    ("computed at run time, expected a constant", "fold constants before the export (onnxsim, or opset 13 and newer)"),
    ("depends on values that are computed at run time", "export with fixed shapes"),
    ("training mode", "export the model after model.eval()"),
    ("expected a constant", "fold constants before the export"),
    ("expected one of float32", "leave this part out of the model, or compute it in float32"),
    ("expected float32", "leave this part out of the model, or compute it in float32"),
    ("computes something else", "use another operator"),
)
POST_PROCESSING = ("NonMaxSuppression", "TopK", "NonZero", "Loop", "If", "Scan")


@dataclass(frozen=True)
class Obstacle:
    """A node that the compiler cannot take, and what the user can do."""

    name: str
    op: str
    reason: str
    advice: str


def obstacles(error: UnsupportedNodes) -> list[Obstacle]:
    """One for each node, in the order of the graph."""
    end = f"end the network with `edgelane compile --outputs {','.join(error.cut)}`, and run the rest outside"
    return [
        Obstacle(node.name, node.op, node.reason, end if node.cut else _advice(node.op, node.reason))
        for node in error.nodes
    ]


def _advice(op: str, reason: str) -> str:
    if op in POST_PROCESSING:
        return "export the network without its post-processing, and run that outside"
    if "." in op:
        return "an operator of another domain: export with standard ONNX operators"
    return next((advice for words, advice in ADVICE if words in reason), "replace it, or cut the model in front of it")


def partial_rows(error: UnsupportedNodes) -> list[LayerRow]:
    """The layers with weights that could be read all the same, unfused, without kernels and times."""
    rows = []
    for step in error.graph.steps:
        if step.op not in WEIGHTED_OPS:
            continue
        stats = examine(step.other.data) if step.op in SPARSE_OPS and step.other.data is not None else None
        row = layer(step, stats, 0)
        dtype = "int8" if step.other.origin is not None else row.dtype
        rows.append(
            LayerRow(
                row.name,
                row.op,
                dtype,
                row.input_shape,
                row.output_shape,
                row.dense_macs,
                row.macs,
                row.density,
                row.block_density,
                row.format,
                "-",
                "-",
            )
        )
    return rows
