"""Models in float16 or bfloat16 become models in float32, the arithmetic that edgelane has."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgelane.export.compiler.onnx_file import to_array

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
NOTE = (
    "the model computes in float16 or bfloat16: the network computes in float32, and what the model takes and returns "
    "in these types is float32 as well"
)


def widen(model: onnx.ModelProto) -> bool:
    """Turn every value and every conversion to half precision into float32; say whether there was one.

    Each half-precision number is a float32 number, so that constants stay what they are. What the model rounds to half
    precision is not rounded any more.
    """
    changed = False
    pending: list[Any] = [model.graph, *model.functions]
    while pending:
        holder = pending.pop()
        if isinstance(holder, onnx.GraphProto):
            changed = _widen_types(holder) or changed
            for tensor in (*holder.initializer, *(sparse.values for sparse in holder.sparse_initializer)):
                changed = _widen_tensor(tensor) or changed
        for node in holder.node:
            for entry in node.attribute:
                if entry.name in TYPE_ATTRIBUTES and entry.i in HALF:
                    entry.i = TensorProto.FLOAT
                    changed = True
                pending += [*([entry.g] if entry.HasField("g") else []), *entry.graphs]
                sparse = [entry.sparse_tensor.values] if entry.HasField("sparse_tensor") else []
                for tensor in (*([entry.t] if entry.HasField("t") else []), *entry.tensors, *sparse):
                    changed = _widen_tensor(tensor) or changed
    return changed


def _widen_types(graph: onnx.GraphProto) -> bool:
    changed = False
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.HasField("tensor_type") and info.type.tensor_type.elem_type in HALF:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
            changed = True
    return changed


def _widen_tensor(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in HALF:
        return False
    values = to_array(tensor).astype(np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return True
