"""Helpers of the compiler tests: small models, and one input through ONNX Runtime and through a compiled file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgelane.export.compiler import CompileReport, compile, lane_file

Array = np.ndarray[Any, Any]
IR_VERSION = 10


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def normal(*shape: int, seed: int = 0) -> Array:
    return rng(seed).standard_normal(shape, dtype=np.float32)


def positive(*shape: int, seed: int = 0) -> Array:
    return rng(seed).uniform(0.2, 3.0, shape).astype(np.float32)


@dataclass
class Input:
    """An input of a test model. `values` makes its data from the shape."""

    shape: tuple[int, ...]
    values: Callable[..., Array] = normal
    dtype: int = TensorProto.FLOAT


@dataclass
class Case:
    """One node and its inputs: `Input` for run-time values, arrays for constants, None for absent ones."""

    op: str
    inputs: Sequence[Input | Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    domain: str = ""

    def model(self) -> onnx.ModelProto:
        names, inputs, constants = [], [], []
        for index, value in enumerate(self.inputs):
            name = f"in{index}" if value is not None else ""
            names.append(name)
            if isinstance(value, Input):
                inputs.append(helper.make_tensor_value_info(name, value.dtype, value.shape))
            elif value is not None:
                constants.append(numpy_helper.from_array(value, name))
        outputs = [f"out{index}" for index in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, name="the_node", domain=self.domain, **self.attributes)
        return make_model([node], inputs, outputs, constants, self.opset)

    def feeds(self) -> dict[str, Array]:
        return {
            f"in{index}": value.values(*value.shape, seed=index + 1)
            for index, value in enumerate(self.inputs)
            if isinstance(value, Input)
        }


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    constants: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    output_rank: int | None = None,
) -> onnx.ModelProto:
    """Make a model. Types of outputs are inferred; where that is not possible, they are float of `output_rank`."""
    declared = [
        helper.make_empty_tensor_value_info(name)
        if output_rank is None
        else helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * output_rank)
        for name in outputs
    ]
    graph = helper.make_graph(
        list(nodes),
        "test",
        list(inputs),
        declared,
        list(constants),
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def graph_model(
    text: str, constants: dict[str, Array] | None = None, opset: int = 17, microsoft: bool = False
) -> onnx.ModelProto:
    """Parse `agraph (float[1,2] x) => (float[1,2] y) { y = Relu(x) }`, with constants by name."""
    imports = f'"": {opset}' + (', "com.microsoft": 1' if microsoft else "")
    model = onnx.parser.parse_model(f"<ir_version: {IR_VERSION}, opset_import: [{imports}]>\nagraph {text}")
    for name, value in (constants or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    return model


def onnxruntime_outputs(path: Path | bytes, feeds: dict[str, Array], as_written: bool = False) -> dict[str, Array]:
    """Run a model; `as_written` keeps ONNX Runtime from fusing nodes into kernels with another arithmetic."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = path if isinstance(path, bytes) else str(path)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def edgelane_outputs(path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    from edgelane.runtime import Session

    return Session(path, threads=1).run(feeds)


def compiled(model: onnx.ModelProto, folder: Path, golden: bool = False) -> tuple[CompileReport, lane_file.LaneFile]:
    """Save and compile a model as folder/model.onnx and folder/model.lane; return the report and the file's content."""
    onnx.save(model, folder / "model.onnx")
    report = compile(folder / "model.onnx", folder / "model.lane", golden=golden)
    return report, lane_file.read(folder / "model.lane")


def every_value(path: Path, feeds: dict[str, Array]) -> dict[str, tuple[Array, Array]]:
    """What the steps of the model's compiled file compute, and ONNX Runtime, by the name of the ONNX value."""
    target = path.with_name("every_value.lane")
    content = lane_file.with_every_value(lane_file.read(path.with_suffix(".lane")))
    target.write_bytes(lane_file.to_bytes(content))
    results = edgelane_outputs(target, feeds)
    model = onnx.load(path)
    known = {name for node in model.graph.node for name in node.output} & set(results)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(known))
    expected = onnxruntime_outputs(model.SerializeToString(), feeds, as_written=True)
    return {name: (results[name], _signed(value)) for name, value in expected.items()}


def _signed(value: Array) -> Array:
    return (value.astype(np.int16) - 128).astype(np.int8) if value.dtype == np.uint8 else value


def relative_error(result: Array, expected: Array) -> float:
    """Largest difference, relative to the largest magnitude expected."""
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    difference = np.abs(result.astype(np.float64) - expected.astype(np.float64)).max(initial=0)
    return float(difference / max(np.abs(expected.astype(np.float64)).max(initial=0), 1e-30))


def assert_same_as_onnxruntime(
    model: onnx.ModelProto, feeds: dict[str, Array], folder: Path, tolerance: float
) -> lane_file.LaneFile:
    """Compile the model, run both sides, compare every output; return the compiled file's content."""
    _, content = compiled(model, folder)
    expected = onnxruntime_outputs(folder / "model.onnx", feeds)
    results = edgelane_outputs(folder / "model.lane", feeds)
    assert list(results) == list(expected)
    for name, value in expected.items():
        assert relative_error(results[name], value) <= tolerance, name
    return content


def ops(content: lane_file.LaneFile) -> list[str]:
    return [step.op for step in content.steps]
