"""The main graph of a model for reading and rewriting: producers, readers, constants, types."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgelane.export.compiler.functions import reads
from edgelane.export.compiler.onnx_file import STANDARD_DOMAINS, opset_of, to_array

Array = npt.NDArray[Any]
Dims = tuple[int | None, ...]  # None: known only at run time
FLOAT = onnx.TensorProto.FLOAT


class Network:
    """A view of `model`, which later changes to the model do not reach: make a new one then.

    types: of values, as far as they are known.
    """

    def __init__(self, model: onnx.ModelProto, types: dict[str, onnx.TypeProto]) -> None:
        self.model = model
        self.types = types
        self.opset = opset_of(model)
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {value: node for node in self.nodes for value in node.output if value}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for value in reads(node):
                self.readers[value].append(node)
        self.inputs = [info.name for info in model.graph.input if info.name not in self.initializers]
        self.outputs = [info.name for info in model.graph.output]
        self._arrays: dict[str, Array] = {}

    def constant(self, value: str) -> Array | None:
        """The values of an initialiser, else None."""
        if value not in self._arrays:
            tensor = self.initializers.get(value)
            if tensor is None:
                return None
            self._arrays[value] = to_array(tensor)
        return self._arrays[value]

    def is_constant(self, value: str) -> bool:
        """Whether `value` is an initialiser."""
        return value in self.initializers

    def dims(self, value: str) -> Dims | None:
        """The sizes of a value; None where not even its rank is known."""
        kind = self.types.get(value)
        return None if kind is None else dims_of(kind)

    def is_float(self, value: str) -> bool:
        """Whether a value is known to be float32."""
        kind = self.types.get(value)
        return kind is not None and kind.tensor_type.elem_type == FLOAT

    def is_scalar(self, value: str) -> bool:
        """Whether a value is known to be one number, as what is computed of sizes."""
        dims = self.dims(value)
        return dims is not None and all(size == 1 for size in dims) and len(dims) < 2

    def only_reader(self, value: str) -> onnx.NodeProto | None:
        """The one node that reads `value`, where nothing else does and it is no output of the model."""
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.outputs else None


def dims_of(kind: onnx.TypeProto) -> Dims | None:
    """The sizes that a type states; None where it states no rank."""
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.tensor_type.shape.dim)


def is_standard(node: onnx.NodeProto) -> bool:
    """Whether a node's operator is one of the ONNX standard's."""
    return node.domain in STANDARD_DOMAINS


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, text as str."""
    for entry in node.attribute:
        if entry.name == name:
            value = onnx.helper.get_attribute_value(entry)
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return default


def set_initializer(model: onnx.ModelProto, name: str, value: Array) -> None:
    """Give the initialiser `name` new values, or add it."""
    tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
    for entry in model.graph.initializer:
        if entry.name == name:
            entry.CopyFrom(tensor)
            return
    model.graph.initializer.append(tensor)


class Names:
    """Names that a model does not have yet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._taken = {info.name for info in (*graph.input, *graph.output, *graph.initializer)}
        self._taken.update(node.name for node in graph.node)
        for node in graph.node:
            self._taken.update((*node.output, *reads(node)))

    def new(self, wanted: str) -> str:
        """`wanted`, with a number where it is taken."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name
