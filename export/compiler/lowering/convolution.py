"""Conv, ConvTranspose, Gemm, MatMul and BatchNormalization."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelane.export.compiler.graph import Array, Tensor
from edgelane.export.compiler.lowering.base import Builder, Malformed, Node, Unsupported, lowers, require_images


def window_pads(node: Node, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Return top, left, bottom, right padding of a sliding window, `auto_pad` resolved."""
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return [int(pad) for pad in node.attributes.get("pads", [0, 0, 0, 0])]
    if mode == "VALID":
        return [0, 0, 0, 0]
    before, after = [], []
    for axis in range(2):
        size = node.x.shape[2 + axis]
        covered = (kernel[axis] - 1) * dilations[axis] + 1
        total = max((-(-size // strides[axis]) - 1) * strides[axis] + covered - size, 0)
        small, large = total // 2, total - total // 2
        before.append(large if mode == "SAME_LOWER" else small)
        after.append(small if mode == "SAME_LOWER" else large)
    return before + after


def _weight(node: Node, index: int, builder: Builder) -> Tensor:
    weight = node.input(index)
    if weight.data is None:
        raise Unsupported("its weight is computed at run time, expected a constant")
    if weight.dtype != "float32":
        raise Unsupported(f"its weight is {weight.dtype}, expected float32 or int8 behind DequantizeLinear")
    # A tensor of its own: passes change the weights of one step without touching another that shares them.
    copy = builder.constant(weight.data, "weight")
    copy.origin = weight.origin
    return copy


def _bias(node: Node, index: int, count: int, builder: Builder) -> Tensor | None:
    if not node.has(index):
        return None
    values = node.constant(index, "its bias")
    if values.dtype != np.float32:
        raise Unsupported(f"its bias is {values.dtype}, expected float32")
    if values.size not in (1, count):
        raise Malformed(f"a bias of {values.size} values, expected {count}")
    bias = builder.constant(np.broadcast_to(values.reshape(-1), (count,)), "bias")
    if values.size == count:
        bias.origin = node.input(index).origin
    return bias


def _misfit(node: Node, weight: Tensor, groups: int) -> Malformed:
    return Malformed(f"weights {list(weight.shape)} in {groups} groups do not fit input {list(node.x.shape)}")


@lowers("Conv")
def conv(node: Node, builder: Builder) -> Tensor:
    """Lower to conv2d."""
    require_images(node.x)
    weight = _weight(node, 1, builder)
    groups = int(node.attributes.get("group", 1))
    if len(weight.shape) != 4 or weight.shape[1] * groups != node.x.shape[1] or weight.shape[0] % groups:
        raise _misfit(node, weight, groups)
    kernel = list(weight.shape[2:])
    strides = list(node.attributes.get("strides", [1, 1]))
    dilations = list(node.attributes.get("dilations", [1, 1]))
    return builder.step(
        "conv2d",
        [node.x, weight, _bias(node, 2, weight.shape[0], builder)],
        node.shape,
        strides=strides,
        pads=window_pads(node, kernel, strides, dilations),
        dilations=dilations,
        groups=groups,
    )


@lowers("ConvTranspose")
def conv_transpose(node: Node, builder: Builder) -> Tensor:
    """Lower to conv_transpose2d with explicit padding."""
    require_images(node.x)
    weight = _weight(node, 1, builder)
    groups = int(node.attributes.get("group", 1))
    if len(weight.shape) != 4 or weight.shape[0] != node.x.shape[1] or weight.shape[0] % groups:
        raise _misfit(node, weight, groups)
    strides = list(node.attributes.get("strides", [1, 1]))
    dilations = list(node.attributes.get("dilations", [1, 1]))
    extra = list(node.attributes.get("output_padding", [0, 0]))
    full = [
        strides[i] * (node.x.shape[2 + i] - 1) + (weight.shape[2 + i] - 1) * dilations[i] + 1 + extra[i]
        for i in range(2)
    ]
    size = node.shape[2:]
    mode = node.attributes.get("auto_pad", "NOTSET")
    if any(extra) and mode in ("SAME_UPPER", "SAME_LOWER") and "output_shape" not in node.attributes:
        raise Unsupported(f"output_padding together with auto_pad {mode}, which engines read differently")
    if "output_shape" in node.attributes or mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [full[i] - size[i] for i in range(2)]
        # The standard gives the odd pixel to the end for SAME_UPPER only.
        begin = [(total[i] // 2 if mode == "SAME_UPPER" else total[i] - total[i] // 2) for i in range(2)]
    else:
        begin = [int(pad) for pad in node.attributes.get("pads", [0, 0, 0, 0])[:2]]
        if mode == "VALID":
            begin = [0, 0]
    # The padding at the end as the node states it; output_padding is in the shape of the output alone.
    end = [max(full[i] - extra[i] - begin[i] - size[i], 0) for i in range(2)]
    if min(begin) < 0:
        raise Unsupported(f"its padding is negative: {begin}")
    return builder.step(
        "conv_transpose2d",
        [node.x, weight, _bias(node, 2, weight.shape[1] * groups, builder)],
        node.shape,
        strides=strides,
        pads=begin + end,
        dilations=dilations,
        groups=groups,
    )


@lowers("Gemm")
def gemm(node: Node, builder: Builder) -> Tensor:
    """Lower to linear; a C that is not one value per output is added by a step of its own."""
    if node.attributes.get("transA", 0):
        raise Unsupported("transA is set")
    if node.x.data is not None:
        raise Unsupported("its first operand is a constant and its second is not")
    weight = _weight(node, 1, builder)
    if not node.attributes.get("transB", 0):
        weight = _transposed(weight, builder)
    weight = _scaled(weight, float(node.attributes.get("alpha", 1.0)), builder)
    beta = float(node.attributes.get("beta", 1.0))
    addend = node.inputs[2] if node.has(2) else None
    bias = None
    if (
        addend is not None
        and addend.data is not None
        and (addend.elements == 1 or (addend.elements == addend.shape[-1] == weight.shape[0]))
    ):
        bias = _bias(node, 2, weight.shape[0], builder)
        addend = None
        assert bias is not None
        bias = _scaled(bias, beta, builder)
    result = builder.step("linear", [node.x, weight, bias], node.shape)
    if addend is None:
        return result
    if beta != 1.0:
        raise Unsupported(f"beta is {beta} and C is not one value per output")
    return builder.step("binary", [result, addend], node.shape, function="add")


@lowers("MatMul")
def matmul(node: Node, builder: Builder) -> Tensor:
    """Lower activation times constant matrix to linear."""
    if node.x.data is not None or node.input(1).data is None:
        raise Unsupported("only an activation times constant weights is possible")
    weight = _weight(node, 1, builder)
    if len(weight.shape) != 2 or len(node.x.shape) < 2:
        raise Unsupported(f"shapes {list(node.x.shape)} times {list(weight.shape)}, the weights must be a matrix")
    return builder.step("linear", [node.x, _transposed(weight, builder), None], node.shape)


@lowers("BatchNormalization")
def batch_normalization(node: Node, builder: Builder) -> Tensor:
    """Lower inference BatchNorm to affine; a pass folds it into the layer before it where that is possible."""
    if node.attributes.get("training_mode", 0):
        raise Unsupported("it is in training mode; export the model after model.eval()")
    names = ("scale", "B", "mean", "var")
    gamma, beta, mean, variance = (node.constant(i + 1, name).astype(np.float64) for i, name in enumerate(names))
    if len(node.x.shape) < 2 or any(part.shape != node.x.shape[1:2] for part in (gamma, beta, mean, variance)):
        raise Malformed(f"its constants do not fit input {list(node.x.shape)}")
    scale = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    return affine(builder, node.x, scale, beta - mean * scale)


def affine(builder: Builder, x: Tensor, scale: Array, shift: Array) -> Tensor:
    """Append x * scale[c] + shift[c] along axis 1."""
    inputs = [
        x,
        builder.constant(scale.astype(np.float32), "scale"),
        builder.constant(shift.astype(np.float32), "shift"),
    ]
    return builder.step("affine", list(inputs), x.shape)


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
