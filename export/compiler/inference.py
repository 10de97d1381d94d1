"""Types and shapes of a node's outputs, as the rules of ONNX give them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.graph import Array
from edgelane.export.compiler.native_guard import guard
from edgelane.export.compiler.onnx_file import first_line

# Constants up to this many elements are shown to shape inference; shapes, axes and pads are all smaller.
SHAPE_DATA_ELEMENTS = 1024
# Versions of operators whose inference serves older ones. Before 22 it gave pools with ceil_mode windows that lie in
# the padding alone, which no engine computes; before 13 there was no axis, which QLinear operators need.
MENDED = {"MaxPool": 22, "AveragePool": 22, "QuantizeLinear": 13, "DequantizeLinear": 13}


def output_types(
    proto: onnx.NodeProto,
    name: str,
    opset: int,
    types: Mapping[str, onnx.TypeProto],
    values: Mapping[str, Array | None],
    ir_version: int,
) -> dict[str, onnx.TypeProto]:
    """Return the types of a node's outputs by name, with shapes as far as these follow from its inputs.

    `values` are those of the inputs that are constant. Raises EdgelaneError where the node breaks the rules of ONNX.
    """
    known = {source: value for source, value in values.items() if value is not None}
    data = {
        source: numpy_helper.from_array(np.asarray(value), source)
        for source, value in known.items()
        if value.size <= SHAPE_DATA_ELEMENTS
    }
    guard(proto, name)
    try:
        version = schema_version(proto.op_type, opset)
        return dict(
            shape_inference.infer_node_outputs(
                onnx.defs.get_schema(proto.op_type, version, ""),
                proto,
                dict(types),
                data,
                opset_imports=[onnx.helper.make_opsetid("", version)],
                ir_version=ir_version,
            )
        )
    except (
        onnx.defs.SchemaError,
        shape_inference.InferenceError,
        onnx.checker.ValidationError,
        RuntimeError,
    ) as error:
        raise EdgelaneError(f"node {name} ({proto.op_type}) is malformed: {first_line(error)}") from error


def schema_version(op: str, opset: int) -> int:
    """Return the version of the operator set whose rules give an operator's shape."""
    if op in MENDED:
        return max(opset, MENDED[op])
    # An operator of ONNX Runtime's own domain may stand in a model that is older than the standard one.
    return opset if onnx.defs.has(op, opset) else onnx.defs.onnx_opset_version()


def input_name(proto: onnx.NodeProto, index: int, opset: int) -> str:
    """Return what the standard calls an input of a node."""
    schema = onnx.defs.get_schema(proto.op_type, schema_version(proto.op_type, opset), "")
    return f"its input {schema.inputs[index].name}"


def dtype_name(element: int) -> str:
    """Return numpy's name of an element type: "float32", "uint8"; "string" for text; "type 99" where ONNX has none."""
    if element not in onnx.TensorProto.DataType.values():
        return f"type {element}"
    name = str(onnx.TensorProto.DataType.Name(element)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
