"""What a lowering function works with: the ONNX node, the graph that grows, and the table of all lowering functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgelane.export.compiler.graph import NONE, Activation, Array, Graph, Quantization, Shape, Step, Tensor

MAX_RANK = 6
DTYPES = ("float32", "int8", "int32", "int64", "bool", "uint8")
RAW = Quantization(1.0, 0)  # of integers that mean themselves
# Arithmetic in these is done in int32, whose low bits are the result.
NARROW = ("int8", "uint8")
MAX_TABLE = 2**26  # entries of a table of weights or indices that stands for an operator


class Unsupported(Exception):
    """The node cannot be expressed in a `.lane` file; the message is the reason."""


class NeedsConstant(Unsupported):
    """The node can be expressed if `tensor`, which is computed at run time, is a constant."""

    def __init__(self, what: str, tensor: Tensor) -> None:
        super().__init__(f"{what} is computed at run time, expected a constant")
        self.tensor = tensor


class Malformed(Exception):
    """The node breaks the rules of ONNX; the message says how."""


@dataclass
class Node:
    """One ONNX node with its inputs looked up."""

    name: str
    op: str
    opset: int
    inputs: list[Tensor | None]
    attributes: dict[str, Any]
    shapes: list[Shape | None]  # of the outputs, as inferred; None where they depend on values
    dtypes: list[str]  # of the outputs
    used: list[bool]  # whether the model uses an output

    @property
    def x(self) -> Tensor:
        """The first input. Raises Unsupported where it is absent."""
        return self.input(0)

    @property
    def shape(self) -> Shape:
        """Shape of the first output."""
        shape = self.shapes[0]
        if shape is None:
            raise Unsupported("the shape of its output depends on values that are computed at run time")
        return shape

    def has(self, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def wants(self, index: int) -> bool:
        """Whether the model uses an output."""
        return index < len(self.used) and self.used[index]

    def input(self, index: int) -> Tensor:
        """Return an input that must be there."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise Unsupported(f"input {index} is absent")
        return tensor

    def optional(self, index: int) -> Tensor | None:
        """Return an input that may be absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int, what: str) -> Array:
        """Return the value of an input that must be constant."""
        tensor = self.input(index)
        if tensor.data is None:
            raise NeedsConstant(what, tensor)
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
            value = self.attributes[name]
            return [int(item) for item in value] if isinstance(value, (list, tuple)) else [int(value)]
        if self.has(index):
            return [int(value) for value in self.constant(index, name).reshape(-1)]
        return None

    def flag(self, name: str, default: int = 0) -> int:
        """Return an attribute of one integer."""
        return int(self.attributes.get(name, default))

    def choice(self, name: str, allowed: tuple[str, ...], default: str = "") -> str:
        """Return an attribute that is one of the allowed words, by default the first of them."""
        value: str = self.attributes.get(name, default or allowed[0])
        if value not in allowed:
            raise Unsupported(f"its {name} is {value!r}, expected {' or '.join(allowed)}")
        return value

    def real(self, name: str, default: float) -> float:
        """Return an attribute of one float."""
        return float(self.attributes.get(name, default))


class Builder:
    """Adds steps to a graph under the name of the node that is being lowered."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node_name = ""
        self.names: set[str] = set()
        self.numbers: dict[
            str, int
        ] = {}  # the last one behind each name, so that a name asked for n times takes n steps

    def unique(self, name: str) -> str:
        """Return `name`, or the first of name.1, name.2, ... that is still free."""
        candidate, number = name, self.numbers.get(name, 0)
        while candidate in self.names:
            number += 1
            candidate = f"{name}.{number}"
        self.numbers[name] = number
        self.names.add(candidate)
        return candidate

    def constant(self, data: Array, suffix: str) -> Tensor:
        """Make a constant that belongs to the present node."""
        data = np.ascontiguousarray(data).reshape(np.shape(data))  # numpy gives a scalar an axis there
        return constant_tensor(self.unique(f"{self.node_name}.{suffix}"), data)

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
        if 0 in shape:  # what has no elements is known
            return self.constant(np.empty(shape, dtype), op)
        for tensor in inputs:
            if tensor is not None and 0 in tensor.shape:
                raise Unsupported(f"an empty tensor of shape {list(tensor.shape)}")
        output = Tensor(self.unique(f"{self.node_name}.{op}"), shape, dtype)
        if dtype == "int8":
            output.quantization, output.stored_as = RAW, "int8"
        return self.graph.add(Step(op, self.node_name, inputs, output, attributes, activation))

    def moved(
        self, op: str, inputs: list[Tensor], shape: Shape, others: tuple[Tensor, ...] = (), **attributes: Any
    ) -> Tensor:
        """Append a step that moves elements of any dtype, all of `inputs` alike; `others` are indices behind them."""
        inputs = self.alike(inputs)
        first = inputs[0]
        if first.dtype not in DTYPES:
            raise Unsupported(f"it moves {first.dtype} values, expected one of {', '.join(DTYPES)}")
        output = self.step(op, [*inputs, *others], shape, dtype=first.dtype, **attributes)
        if output.data is None:
            output.quantization, output.stored_as = first.quantization, first.stored_as
        return output

    def alike(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the tensors with one dtype and quantisation: integers that differ there as integers alone."""
        first = tensors[0]
        if all(
            (t.dtype, t.quantization, t.stored_as) == (first.dtype, first.quantization, first.stored_as)
            for t in tensors
        ):
            return tensors
        plain = [self.plain(tensor) for tensor in tensors]
        if any(tensor.dtype != plain[0].dtype for tensor in plain):
            raise Unsupported(f"its inputs have different types: {', '.join(tensor.dtype for tensor in plain)}")
        return plain

    def plain(self, x: Tensor) -> Tensor:
        """Return `x` as integers that mean themselves where it is quantised: what the ONNX value is by itself."""
        if x.data is not None or x.quantization is None or (x.quantization == RAW and x.stored_as != "uint8"):
            return x
        if x.stored_as == "uint8":
            return self.step("recode", [x], x.shape, dtype="uint8")
        return self.step("cast", [self.step("cast", [x], x.shape, dtype="int32")], x.shape, dtype="int8")

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Return `x` as another type."""
        if dtype not in DTYPES:
            raise Unsupported(f"from {x.dtype} to {dtype}")
        if x.data is not None:
            return x if x.dtype == dtype else self.constant(_converted(x.data, dtype), "cast")
        if x.dtype not in DTYPES:
            raise Unsupported(f"from {x.dtype} to {dtype}")
        if x.stored_as == "uint8":
            x = self.plain(x)
        if x.dtype == dtype:
            return self.plain(x)
        return self.step("cast", [x], x.shape, dtype=dtype)

    def widened(self, x: Tensor) -> Tensor:
        """Return int8 and uint8 values as int32, in which arithmetic is possible, and others as they are."""
        return self.cast(x, "int32") if x.dtype in NARROW else x

    def reshape(self, x: Tensor, shape: Shape) -> Tensor:
        """Append a reshape unless `x` has that shape already."""
        shape = tuple(int(dim) for dim in shape)
        if x.data is not None:
            if x.shape == shape:
                return x
            return self.constant(x.data.reshape(shape), "reshaped")
        return x if x.shape == shape else self.moved("reshape", [x], shape)

    def transpose(self, x: Tensor, perm: list[int]) -> Tensor:
        """Append a transpose unless it does nothing."""
        if perm == sorted(perm):
            return x
        shape = tuple(x.shape[axis] for axis in perm)
        if x.data is not None:
            return self.constant(x.data.transpose(perm), "transposed")
        return self.moved("transpose", [x], shape, perm=perm)

    def binary(self, function: str, a: Tensor, b: Tensor) -> Tensor:
        """Append an element-wise function of two tensors of one type, broadcast against each other."""
        if a.dtype != b.dtype:
            raise Unsupported(f"operands of {a.dtype} and {b.dtype}")
        dtype = "bool" if function in ("equal", "less", "less_or_equal") else a.dtype
        shape = np.broadcast_shapes(a.shape, b.shape)
        return self.step("binary", [a, b], shape, dtype=dtype, function=function)

    def unary(self, x: Tensor, kind: str, alpha: float = 0.0, beta: float = 0.0, dtype: str = "") -> Tensor:
        """Append an activation as a step of its own."""
        return self.step("unary", [x], x.shape, dtype=dtype or x.dtype, activation=Activation(kind, alpha, beta))

    def like(self, x: Tensor, value: float, suffix: str = "value") -> Tensor:
        """Make a constant of one element with the dtype of `x`."""
        return self.constant(np.array(value, x.dtype), suffix)

    def affine(self, x: Tensor, scale: Array, shift: Array) -> Tensor:
        """Append x * scale[c] + shift[c] along axis 1."""
        inputs = [
            x,
            self.constant(scale.astype(np.float32), "scale"),
            self.constant(shift.astype(np.float32), "shift"),
        ]
        return self.step("affine", list(inputs), x.shape)

    def where(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Append a selection between two tensors of one type."""
        a, b = self.alike([a, b])
        shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
        output = self.step("where", [condition, a, b], shape, dtype=a.dtype)
        output.quantization, output.stored_as = a.quantization, a.stored_as
        return output

    def take(self, x: Tensor, indices: Array, axis: int) -> Tensor:
        """Append a gather of constant, positive indices along an axis."""
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        table = self.constant(np.asarray(indices, np.int64), "indices")
        return self.moved("gather", [x], shape, (table,), axis=axis)

    def reduce(self, x: Tensor, axes: list[int], reduction: str) -> Tensor:
        """Append a reduction over axes, which are kept as 1."""
        shape = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape))
        return self.step("reduce", [x], shape, dtype=x.dtype, axes=sorted(axes), reduction=reduction)


def constant_tensor(name: str, data: Array) -> Tensor:
    """Make a constant; int8 values mean themselves."""
    raw = RAW if data.dtype == np.int8 else None
    dtype = "string" if data.dtype.kind in "OU" else str(data.dtype)
    return Tensor(name, data.shape, dtype, data, quantization=raw, stored_as="int8" if raw else "")


def _converted(data: Array, dtype: str) -> Array:
    """Convert as the op cast does: floats saturate at int32 and int64, whose low bits become int8 and uint8."""
    if data.dtype.kind == "f" and dtype not in ("float32", "bool"):
        wide = np.dtype("int64" if dtype == "int64" else "int32")
        limits = np.iinfo(wide)
        real = np.nan_to_num(np.trunc(data.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
        low, high = real <= limits.min, real >= float(limits.max)
        whole = np.where(low | high, 0, real).astype(wide)
        whole = np.where(low, limits.min, np.where(high, limits.max, whole))
        return whole.astype(wide).astype(dtype)
    return data.astype(dtype)


Lowering = Callable[[Node, Builder], "Tensor | list[Tensor]"]
# What run-time inputs an operator takes. float: float32 alone. number: float32 and the integers, int8 and uint8 in
# int32 and back. any: what is there, the lowering function looks.
Accepts = Literal["float", "number", "any"]
LOWERINGS: dict[str, Lowering] = {}
ACCEPTS: dict[str, Accepts] = {}


def lowers(*ops: str, accepts: Accepts = "float") -> Callable[[Lowering], Lowering]:
    """Enter a function into the table: it lowers the ONNX ops named here."""

    def register(function: Lowering) -> Lowering:
        for op in ops:
            LOWERINGS[op] = function
            ACCEPTS[op] = accepts
        return function

    return register


def lower(node: Node, builder: Builder) -> list[Tensor]:
    """Lower a node: check and convert the types of its inputs, then let its function add the steps."""
    accepts = ACCEPTS[node.op]
    if accepts != "any":
        allowed = ("float32",) if accepts == "float" else ("float32", "int32", "int64", *NARROW)
        for tensor in node.inputs:
            if tensor is not None and tensor.data is None and tensor.dtype not in allowed:
                expected = " or ".join(allowed)
                raise Unsupported(f"its input {tensor.name} is {tensor.dtype}, expected {expected}")
    if accepts == "number":
        node.inputs = [builder.widened(tensor) if tensor is not None else None for tensor in node.inputs]
    result = LOWERINGS[node.op](node, builder)
    results = [result] if isinstance(result, Tensor) else result
    return [
        builder.cast(tensor, dtype) if accepts == "number" and dtype in NARROW else tensor
        for tensor, dtype in zip(results, [*node.dtypes, *[""] * len(results)], strict=False)
    ]


def check_table(entries: int, what: str) -> None:
    """Raise Unsupported before a table becomes larger than any network needs."""
    if entries > MAX_TABLE:
        raise Unsupported(f"{what} would take a table of {entries} entries, at most {MAX_TABLE} are possible")


def normalize_axis(axis: int, rank: int) -> int:
    """Map a negative axis to its positive counterpart."""
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def require_images(x: Tensor) -> None:
    """Raise Unsupported unless `x` is [n, c, h, w]."""
    if len(x.shape) != 4:
        raise Unsupported(f"an input of rank {len(x.shape)}, only 2-D images [n, c, h, w] are possible")
