"""QuantizeLinear and DequantizeLinear. uint8 becomes int8: 128 is subtracted from values and zero point."""

from __future__ import annotations

import numpy as np

from edgelane.export.compiler.graph import Array, Quantization, QuantizedConstant, Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers

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


@lowers("QuantizeLinear", any_dtype=True)
def quantize_linear(node: Node, builder: Builder) -> Tensor:
    """Lower to quantize; constants are quantised now."""
    x = node.x
    if x.data is not None:
        return _quantize_constant(node, x.data, builder)
    if x.dtype != "float32":
        raise Unsupported(f"its input is {x.dtype}, expected float32")
    quantization, kind = _per_tensor(node)
    output = builder.step("quantize", [x], x.shape, dtype="int8")
    output.quantization = quantization
    output.stored_as = kind
    return output


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


@lowers("DequantizeLinear", any_dtype=True)
def dequantize_linear(node: Node, builder: Builder) -> Tensor:
    """Lower to dequantize; constants become float32 and keep their integers beside them."""
    x = node.x
    if x.data is not None:
        return _dequantize_constant(node, x.data, builder)
    quantization, kind = _per_tensor(node)
    if x.dtype != "int8" or (x.quantization is None and kind == "uint8"):
        raise Unsupported(f"its input is {x.dtype} and its zero point is {kind}, expected int8 for both")
    if x.quantization is None:  # an int8 input of the network: its scale is known from here
        x.quantization, x.stored_as = quantization, kind
    elif x.stored_as != kind:
        raise Unsupported(f"its input was quantised to {x.stored_as}, its own zero point is {kind}")
    if x.quantization != quantization:
        raise Unsupported(
            f"its scale {quantization.scale:.6g} differs from the {x.quantization.scale:.6g} of its input"
        )
    return builder.step("dequantize", [x], x.shape)


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
