"""What a lowering function works with: the ONNX node, the graph that grows, and the table of all lowering functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelane.export.compiler.graph import NONE, Activation, Array, Graph, Shape, Step, Tensor

MAX_RANK = 6
MOVABLE = ("float32", "int8", "int64", "bool")


class Unsupported(Exception):
    """The node cannot be expressed in a `.lane` file; the message is the reason."""


class Malformed(Exception):
    """The node breaks the rules of ONNX; the message says how."""


@dataclass
class Node:
    """One ONNX node with its inputs looked up. `shapes` are the inferred shapes of the outputs that the model uses."""

    name: str
    op: str
    opset: int
    inputs: list[Tensor | None]
    attributes: dict[str, Any]
    shapes: list[Shape | None]  # None for an output that is not used

    @property
    def x(self) -> Tensor:
        """The first input. Raises Unsupported where it is absent."""
        return self.input(0)

    @property
    def shape(self) -> Shape:
        """Shape of the first output."""
        shape = self.shapes[0]
        if shape is None:
            raise Unsupported("its first output is not used")
        return shape

    def has(self, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Tensor:
        """Return an input that must be there."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise Unsupported(f"input {index} is absent")
        return tensor

    def constant(self, index: int, what: str) -> Array:
        """Return the value of an input that must be constant."""
        tensor = self.input(index)
        if tensor.data is None:
            raise Unsupported(f"{what} is computed at run time, expected a constant")
        return tensor.data

    def scalar(self, index: int, what: str) -> float:
        """Return a constant input of one element."""
        value = self.constant(index, what)
        if value.size != 1:
            raise Unsupported(f"{what} has {value.size} elements, expected 1")
        return float(value.reshape(-1)[0])

    def ints(self, name: str, index: int) -> list[int] | None:
        """Return a list that older opsets have as an attribute and newer ones as a constant input, or None."""
        if name in self.attributes:
            return [int(value) for value in self.attributes[name]]
        if self.has(index):
            return [int(value) for value in self.constant(index, name).reshape(-1)]
        return None


class Builder:
    """Adds steps to a graph under the name of the node that is being lowered."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node_name = ""
        self.names: set[str] = set()

    def unique(self, name: str) -> str:
        """Return `name`, or the first of name.1, name.2, ... that is still free."""
        candidate, number = name, 0
        while candidate in self.names:
            number += 1
            candidate = f"{name}.{number}"
        self.names.add(candidate)
        return candidate

    def constant(self, data: Array, suffix: str) -> Tensor:
        """Make a constant that belongs to the present node."""
        data = np.ascontiguousarray(data)
        return Tensor(self.unique(f"{self.node_name}.{suffix}"), data.shape, str(data.dtype), data)

    def step(
        self,
        op: str,
        inputs: list[Tensor | None],
        shape: Shape,
        *,
        activation: Activation = NONE,
        dtype: str = "float32",
        **attributes: Any,
    ) -> Tensor:
        """Append a step and return its output."""
        shape = tuple(int(dim) for dim in shape)
        if len(shape) > MAX_RANK:
            raise Unsupported(f"a tensor of rank {len(shape)}, at most {MAX_RANK} is possible")
        if any(dim < 1 for dim in shape):
            raise Unsupported(f"an empty tensor of shape {list(shape)}")
        output = Tensor(self.unique(f"{self.node_name}.{op}"), shape, dtype)
        return self.graph.add(Step(op, self.node_name, inputs, output, attributes, activation))

    def moved(self, op: str, inputs: list[Tensor], shape: Shape, **attributes: Any) -> Tensor:
        """Append a step that moves elements of any dtype, all inputs alike."""
        first = inputs[0]
        if any(t.dtype != first.dtype or t.quantization != first.quantization for t in inputs):
            raise Unsupported("its inputs have different types or quantisation")
        if first.dtype not in MOVABLE:
            raise Unsupported(f"it moves {first.dtype} values, expected one of {', '.join(MOVABLE)}")
        if first.dtype == "int8" and first.quantization is None:
            raise Unsupported("its int8 input has no scale; put a DequantizeLinear right behind the input")
        output = self.step(op, list(inputs), shape, dtype=first.dtype, **attributes)
        output.quantization, output.stored_as = first.quantization, first.stored_as
        return output

    def reshape(self, x: Tensor, shape: Shape) -> Tensor:
        """Append a reshape unless `x` has that shape already."""
        return x if x.shape == tuple(shape) else self.moved("reshape", [x], shape)


Lowering = Callable[[Node, Builder], "Tensor | list[Tensor]"]
LOWERINGS: dict[str, Lowering] = {}
# These may meet constants and int8 or int64 values; every other op must have a float32 activation among its inputs.
ANY_DTYPE: set[str] = set()


def lowers(*ops: str, any_dtype: bool = False) -> Callable[[Lowering], Lowering]:
    """Enter a function into the table: it lowers the ONNX ops named here."""

    def register(function: Lowering) -> Lowering:
        for op in ops:
            LOWERINGS[op] = function
            if any_dtype:
                ANY_DTYPE.add(op)
        return function

    return register


def normalize_axis(axis: int, rank: int) -> int:
    """Map a negative axis to its positive counterpart."""
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def require_images(x: Tensor) -> None:
    """Raise Unsupported unless `x` is [n, c, h, w]."""
    if len(x.shape) != 4:
        raise Unsupported(f"an input of rank {len(x.shape)}, only 2-D images [n, c, h, w] are possible")
