"""QuantizeLinear and DequantizeLinear. uint8 becomes int8: 128 is subtracted from values and zero point."""

from __future__ import annotations

import numpy as np

from edgelane.export.compiler.graph import Array, Quantization, QuantizedConstant, Tensor
from edgelane.export.compiler.lowering.arithmetic import binary
from edgelane.export.compiler.lowering.base import RAW, Builder, Node, Unsupported, lowers

ONNX_UINT8, ONNX_INT8 = 2, 3


def _parameters(node: Node) -> tuple[Array, Array, str]:
    """Return scale, zero point and dtype ("int8" or "uint8", or "int32" for a bias)."""
    scale = node.constant(1, "its scale")
    if scale.dtype != np.float32:
        raise Unsupported(f"its scale is {scale.dtype}, expected float32")
    if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        raise Unsupported("its scale is not positive and finite")
    if node.has(2):
        zero = node.constant(2, "its zero point")
        kind = str(zero.dtype)
    elif node.op == "DequantizeLinear":
        kind = node.x.dtype
        zero = np.zeros(scale.shape, kind)
    else:
        kind = "int8" if node.attributes.get("output_dtype", 0) == ONNX_INT8 else "uint8"
        zero = np.zeros(scale.shape, kind)
    if kind not in ("int8", "uint8", "int32"):
        raise Unsupported(f"it quantises to {kind}, expected int8 or uint8")
    if node.attributes.get("block_size", 0):
        raise Unsupported("blocked quantisation")
    return scale.reshape(-1), zero.reshape(-1).astype(np.int64), kind


def _per_tensor(node: Node) -> tuple[Quantization, str]:
    scale, zero, kind = _parameters(node)
    if scale.size != 1 or zero.size != 1 or kind == "int32":
        raise Unsupported(f"an activation with {scale.size} scales of {kind}, expected one int8 or uint8 scale")
    return Quantization(float(scale[0]), int(zero[0]) - (128 if kind == "uint8" else 0)), kind


@lowers("QuantizeLinear", accepts="any")
def quantize_linear(node: Node, builder: Builder) -> Tensor:
    """Lower to quantize; constants are quantised now, and with parameters that vary it is done by arithmetic."""
    x = node.x
    if x.data is not None and _known(node):
        return _quantize_constant(node, x.data, builder)
    if x.dtype != "float32":
        raise Unsupported(f"its input is {x.dtype}, expected float32")
    if node.dtypes[0] not in ("int8", "uint8"):
        raise Unsupported(f"it quantises to {node.dtypes[0]}, expected int8 or uint8")
    if not _known(node) or node.constant(1, "its scale").size != 1 or node.flag("block_size"):
        return _quantized_by_arithmetic(node, builder)
    quantization, kind = _per_tensor(node)
    output = builder.step("quantize", [x], x.shape, dtype="int8")
    output.quantization = quantization
    output.stored_as = kind
    return output


def _known(node: Node) -> bool:
    """Whether scale and zero point are constants."""
    return all(not node.has(index) or node.input(index).data is not None for index in (1, 2))


def _quantized_by_arithmetic(node: Node, builder: Builder) -> Tensor:
    x, kind = node.x, node.dtypes[0]
    scale, zero = _spread(node, builder, 1), _spread(node, builder, 2)
    assert scale is not None
    value = builder.unary(builder.binary("div", x, scale), "round")
    if zero is not None:
        value = builder.binary("add", value, zero)
    limits = np.iinfo(kind)
    return builder.cast(builder.unary(value, "clip", float(limits.min), float(limits.max)), kind)


def _spread(node: Node, builder: Builder, index: int) -> Tensor | None:
    """Return scale or zero point as float32 in a shape that broadcasts against the input."""
    if not node.has(index):
        return None
    part, rank = node.input(index), len(node.x.shape)
    if part.dtype not in ("float32", "int8", "uint8", "int32"):
        raise Unsupported(f"its scale or zero point is {part.dtype}, expected float32, int8 or uint8")
    axis, block = node.flag("axis", 1) % max(rank, 1), node.flag("block_size")
    if block:
        part = builder.cast(part, "float32")
        rows = np.arange(node.x.shape[axis]) // block
        return (
            builder.constant(part.data.take(rows, axis), "spread")
            if part.data is not None
            else builder.take(part, rows, axis)
        )
    shape: tuple[int, ...] = ()
    if part.elements != 1:
        shape = tuple(part.elements if i == axis else 1 for i in range(rank))
    return builder.reshape(builder.cast(part, "float32"), shape)


def _quantize_constant(node: Node, data: Array, builder: Builder) -> Tensor:
    scale, zero, kind = _parameters(node)
    shape = _broadcast_shape(node, data.ndim, scale.size)
    limits = np.iinfo(kind)
    values = np.rint(data.astype(np.float32) / scale.reshape(shape)) + zero.reshape(shape)
    return builder.constant(np.clip(values, limits.min, limits.max).astype(kind), "quantized")


def _broadcast_shape(node: Node, rank: int, count: int) -> tuple[int, ...]:
    if count == 1:
        return (1,) * rank
    axis = int(node.attributes.get("axis", 1)) % rank
    return tuple(count if i == axis else 1 for i in range(rank))


@lowers("DequantizeLinear", accepts="any")
def dequantize_linear(node: Node, builder: Builder) -> Tensor:
    """Lower to dequantize; constants become float32 and keep their integers beside them.

    Integers that were not quantised with the same parameters are dequantised by arithmetic.
    """
    x = node.x
    if x.data is not None and _known(node) and not node.flag("block_size"):
        return _dequantize_constant(node, x.data, builder)
    if node.dtypes[0] != "float32":
        raise Unsupported(f"its scale is {node.dtypes[0]}, expected float32")
    if x.dtype not in ("int8", "uint8", "int32"):
        raise Unsupported(f"its input is {x.dtype}, expected int8 or uint8")
    one = _known(node) and node.constant(1, "its scale").size == 1 and not node.flag("block_size")
    if x.dtype != "int32" and one:
        quantization, kind = _per_tensor(node)
        source = _as_quantized(builder, x, quantization, kind)
        if source is not None:
            return builder.step("dequantize", [source], x.shape)
    scale, zero = _spread(node, builder, 1), _spread(node, builder, 2)
    value = builder.cast(x, "float32")
    if zero is not None:
        value = binary(builder, "sub", value, zero)
    assert scale is not None
    return binary(builder, "mul", value, scale)


def _as_quantized(builder: Builder, x: Tensor, quantization: Quantization, kind: str) -> Tensor | None:
    """Return the integers of `x` as an int8 tensor with that quantisation, or None where that takes arithmetic."""
    if x.dtype == "uint8":  # an image of the network's input
        shifted = builder.step("recode", [x], x.shape, dtype="int8")
        shifted.quantization, shifted.stored_as = quantization, "uint8"
        return shifted
    raw_input = x.producer is None and x.quantization == RAW and all(step.op == "cast" for step in x.consumers)
    if raw_input and kind == "int8":  # an int8 input of the network: its scale is known from here
        x.quantization = quantization
    return x if x.quantization == quantization and x.stored_as == kind else None


def _dequantize_constant(node: Node, data: Array, builder: Builder) -> Tensor:
    scale, zero, kind = _parameters(node)
    shape = _broadcast_shape(node, data.ndim, scale.size)
    values, offset = data.astype(np.int64), zero
    if kind == "uint8":
        values, offset = values - 128, offset - 128
    real = (values - offset.reshape(shape)).astype(np.float32) * scale.reshape(shape)
    result = builder.constant(real.astype(np.float32), "dequantized")
    if not np.any(offset):
        integers = values.astype(np.int32 if kind == "int32" else np.int8)
        axis = int(node.attributes.get("axis", 1)) % max(data.ndim, 1)
        result.origin = QuantizedConstant(integers, scale.astype(np.float32), axis)
    return result
