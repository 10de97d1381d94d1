"""ONNX Runtime: a model with any of its values as outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.functions import reads
from edgelane.export.compiler.onnx_file import first_line
from edgelane.export.int8.network import Array


class Runner:
    """Runs a model and returns the values of these names.

    What is quantised is computed as the model is written, in float32 on the int8 grid: ONNX Runtime's int8 kernels
    saturate on CPUs without VNNI instructions. Raises EdgelaneError where ONNX Runtime does not take the model.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str]) -> None:
        import onnxruntime

        self.outputs, self.inputs = list(outputs), list[str]()
        if not self.outputs:  # ONNX Runtime takes no empty graph
            return
        try:
            content = part_of(model, self.outputs).SerializeToString()
        except ValueError as error:  # protobuf's limit of 2 GiB
            raise EdgelaneError(f"the model is too large for ONNX Runtime in one piece: {first_line(error)}") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            self.inputs = [entry.name for entry in self.session.get_inputs()]
        except Exception as error:  # onnxruntime raises classes of its own that it does not export
            raise EdgelaneError(f"ONNX Runtime does not take the model: {first_line(error)}") from error

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The values for one batch of inputs; those that the values do not depend on are passed over."""
        if not self.outputs:
            return []
        try:
            results: list[Any] = self.session.run(self.outputs, {name: feeds[name] for name in self.inputs})
        except Exception as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
            raise EdgelaneError(f"the model does not run on {shapes}: {first_line(error)}") from error
        return results


def part_of(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that computes these values, which are its outputs."""
    graph, used = model.graph, set(outputs)
    live = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(reads(node))
            live.append(node)
    inputs = [info for info in graph.input if info.name in used]
    return model_of(model, live[::-1], inputs, outputs)


def model_of(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """A model of some of a model's nodes, with the constants that they read."""
    graph = model.graph
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = graph.name
    used = {value for node in nodes for value in reads(node)} | set(outputs)
    named = {info.name: info for info in (*graph.input, *graph.output)}
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(entry for entry in graph.initializer if entry.name in used)
    part.graph.input.extend(inputs)
    for name in outputs:
        part.graph.output.append(named.get(name, onnx.ValueInfoProto(name=name)))
    return part
