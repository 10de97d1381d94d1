"""Gemm, MatMul and Einsum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.arithmetic import binary
from edgelane.export.compiler.lowering.base import Builder, Malformed, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.windows import bias_of, weight_of


@lowers("Gemm", accepts="number")
def gemm(node: Node, builder: Builder) -> Tensor:
    """Lower to linear where the second operand is constant, else to matmul; C is its bias or a step of its own."""
    a, b = node.x, node.input(1)
    if node.flag("transA"):
        a = builder.transpose(a, [1, 0])
    addend, beta = node.optional(2), node.real("beta", 1.0)
    if b.data is not None and a.data is None and a.dtype == "float32":
        weight = weight_of(node, 1, builder)
        if not node.flag("transB"):
            weight = _transposed(weight, builder)
        weight = _scaled(weight, node.real("alpha", 1.0), builder)
        count = weight.shape[0]
        if (
            addend is not None
            and addend.data is not None
            and (addend.elements == 1 or addend.elements == addend.shape[-1] == count)
        ):
            bias = bias_of(node, 2, count, builder)
            assert bias is not None
            return builder.step("linear", [a, weight, _scaled(bias, beta, builder)], node.shape)
        result = builder.step("linear", [a, weight, None], node.shape)
    else:
        if node.flag("transB"):
            b = builder.transpose(b, [1, 0])
        result = _times(builder, product(builder, a, b), node.real("alpha", 1.0))
    if addend is None or beta == 0.0:
        return result
    return builder.binary("add", result, _times(builder, addend, beta))


def _times(builder: Builder, x: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return x
    if x.dtype != "float32":
        raise Unsupported(f"a factor of {factor} for {x.dtype} values, expected 1")
    return binary(builder, "mul", x, builder.like(x, factor))


@lowers("MatMul", accepts="number")
def matmul(node: Node, builder: Builder) -> Tensor:
    """Lower activation times constant matrix to linear, any other product to matmul."""
    return builder.reshape(product(builder, node.x, node.input(1)), node.shape)


def product(builder: Builder, a: Tensor, b: Tensor) -> Tensor:
    """Append a @ b with the rules of numpy.matmul."""
    if not a.shape or not b.shape:
        raise Malformed(f"shapes {list(a.shape)} and {list(b.shape)}, expected rank 1 or more")
    if a.dtype not in ("float32", "int32") or b.dtype != a.dtype:
        raise Unsupported(f"a product of {a.dtype} and {b.dtype}, expected float32 or int32")
    if a.data is None and b.data is not None and len(b.shape) == 2 and b.dtype == "float32":
        weight = builder.constant(b.data, "weight")
        weight.origin = b.origin
        return builder.step("linear", [a, _transposed(weight, builder), None], (*a.shape[:-1], b.shape[1]))
    left = builder.reshape(a, (1, *a.shape)) if len(a.shape) == 1 else a
    right = builder.reshape(b, (*b.shape, 1)) if len(b.shape) == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise Malformed(f"shapes {list(a.shape)} and {list(b.shape)} do not fit")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    result = builder.step("matmul", [left, right], (*batch, left.shape[-2], right.shape[-1]), dtype=a.dtype)
    rows = () if len(a.shape) == 1 else (left.shape[-2],)
    columns = () if len(b.shape) == 1 else (right.shape[-1],)
    return builder.reshape(result, (*batch, *rows, *columns))


def _transposed(weight: Tensor, builder: Builder) -> Tensor:
    assert weight.data is not None
    result = builder.constant(weight.data.T, "weight")
    result.origin = weight.origin.transposed((1, 0)) if weight.origin else None
    return result


def _scaled(constant: Tensor, factor: float, builder: Builder) -> Tensor:
    assert constant.data is not None
    if factor == 1.0:
        return constant
    result = builder.constant(constant.data * np.float32(factor), "scaled")
    if constant.origin is not None and factor > 0:
        result.origin = replace(constant.origin, scales=constant.origin.scales * np.float32(factor))
    return result


@lowers("Einsum")
def einsum(node: Node, builder: Builder) -> Tensor:
    """Lower to transposes, reductions and products of two operands at a time."""
    operands = [tensor for tensor in node.inputs if tensor is not None]
    terms, result = _subscripts(node.attributes["equation"].replace(" ", ""), operands)
    pairs = [_without_repeats(builder, tensor, term) for tensor, term in zip(operands, terms, strict=True)]
    x, term = pairs[0]
    for index, (other, other_term) in enumerate(pairs[1:], start=1):
        later = set(result).union(*(term for _, term in pairs[index + 1 :]))
        x, term = _contract(builder, x, term, other, other_term, later)
    x, term = _summed(builder, x, term, set(result))
    return builder.reshape(builder.transpose(x, [term.index(letter) for letter in result]), node.shape)


def _subscripts(equation: str, operands: list[Tensor]) -> tuple[list[str], str]:
    """Return one letter for each axis of the operands and of the result; those of "..." are capitals from Z down."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise Malformed(f"{len(terms)} terms for {len(operands)} operands")
    free = [letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in equation]
    lengths = [len(tensor.shape) - len(term.replace("...", "")) for tensor, term in zip(operands, terms, strict=True)]
    rest = free[: max(lengths)][::-1]
    spelled = [term.replace("...", "".join(rest[len(rest) - n :])) for term, n in zip(terms, lengths, strict=True)]
    if any(len(term) != len(tensor.shape) for term, tensor in zip(spelled, operands, strict=True)):
        raise Malformed(f"its equation {equation!r} does not fit its operands")
    if arrow:
        return spelled, right.replace("...", "".join(rest))
    letters = "".join(spelled)
    once = sorted(letter for letter in set(letters) - set(rest) if letters.count(letter) == 1)
    return spelled, "".join(rest) + "".join(once)


def _without_repeats(builder: Builder, x: Tensor, term: str) -> tuple[Tensor, str]:
    """Take the diagonal of axes with the same letter."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.index(letter, term.index(letter) + 1)
            order = [first, second, *(axis for axis in range(len(term)) if axis not in (first, second))]
            x = builder.transpose(x, order)
            size = x.shape[0]
            x = builder.reshape(x, (size * size, *x.shape[2:]))
            x = builder.take(x, np.arange(size) * (size + 1), 0)
            term = letter + "".join(term[axis] for axis in order[2:])
    return x, term


def _summed(builder: Builder, x: Tensor, term: str, keep: set[str]) -> tuple[Tensor, str]:
    """Add up over the axes that are not kept."""
    axes = [axis for axis, letter in enumerate(term) if letter not in keep]
    if axes:
        x = builder.reduce(x, axes, "sum")
        term = "".join(letter for letter in term if letter in keep)
        x = builder.reshape(x, tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes))
    return x, term


def _contract(builder: Builder, a: Tensor, a_term: str, b: Tensor, b_term: str, later: set[str]) -> tuple[Tensor, str]:
    """Multiply two operands and add up over what neither the result nor a later operand has."""
    a, a_term = _summed(builder, a, a_term, later | set(b_term))
    b, b_term = _summed(builder, b, b_term, later | set(a_term))
    shared = [letter for letter in a_term if letter in b_term]
    batch = [letter for letter in shared if letter in later]
    inner = [letter for letter in shared if letter not in later]
    rows = [letter for letter in a_term if letter not in b_term]
    columns = [letter for letter in b_term if letter not in a_term]
    size = dict(zip(b_term, b.shape, strict=True))
    for letter, dim in zip(a_term, a.shape, strict=True):
        size[letter] = max(dim, size.get(letter, 1))

    def matrix(x: Tensor, term: str, first: list[str], second: list[str]) -> Tensor:
        x = builder.transpose(x, [term.index(letter) for letter in batch + first + second])
        own = x.shape[: len(batch)]
        sides = [int(np.prod([size[letter] for letter in side], dtype=np.int64)) for side in (first, second)]
        return builder.reshape(x, (*own, *sides))

    result = product(builder, matrix(a, a_term, rows, inner), matrix(b, b_term, inner, columns))
    order = batch + rows + columns
    return builder.reshape(result, tuple(size[letter] for letter in order)), "".join(order)
