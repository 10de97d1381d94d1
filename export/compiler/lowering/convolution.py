"""Conv and ConvTranspose."""

from __future__ import annotations

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.convolution_nd import conv3d, conv_transpose3d
from edgelane.export.compiler.lowering.windows import (
    bias_of,
    conv2d,
    conv_transpose2d,
    misfit,
    weight_of,
    window_of,
)


@lowers("Conv")
def conv(node: Node, builder: Builder) -> Tensor:
    """Lower to conv2d."""
    x, weight = node.x, weight_of(node, 1, builder)
    groups = node.flag("group", 1)
    if weight.shape[1] * groups != x.shape[1] or weight.shape[0] % groups:
        raise misfit(node, weight, groups)
    window = window_of(node, list(weight.shape[2:]))
    bias = bias_of(node, 2, weight.shape[0], builder)
    if window.rank == 3:
        return conv3d(builder, x, weight, bias, window, groups, node.shape)
    if window.rank not in (1, 2):
        raise Unsupported(f"a convolution of {window.rank} axes, 1 to 3 are possible")
    result = conv2d(builder, x, weight, bias, window, groups)
    return builder.reshape(result, node.shape)


@lowers("ConvTranspose")
def conv_transpose(node: Node, builder: Builder) -> Tensor:
    """Lower to conv_transpose2d with explicit padding."""
    x, weight = node.x, weight_of(node, 1, builder)
    groups = node.flag("group", 1)
    if weight.shape[0] != x.shape[1] or weight.shape[0] % groups:
        raise misfit(node, weight, groups)
    window = window_of(node, list(weight.shape[2:]))
    rank = window.rank
    if rank > 3:
        raise Unsupported(f"a convolution of {rank} axes, 1 to 3 are possible")
    extra = [int(v) for v in node.attributes.get("output_padding", [0] * rank)]
    full = [window.strides[i] * (x.shape[2 + i] - 1) + window.covered(i) + extra[i] for i in range(rank)]
    size = node.shape[2:]
    mode = node.attributes.get("auto_pad", "NOTSET")  # one that window_of knows
    same = mode in ("SAME_UPPER", "SAME_LOWER")
    if any(extra) and same and "output_shape" not in node.attributes:
        raise Unsupported(f"output_padding together with auto_pad {mode}, which engines read differently")
    if "output_shape" in node.attributes or same:
        total = [full[i] - size[i] for i in range(rank)]
        # The standard gives the odd pixel to the end for SAME_UPPER only.
        window.before = [(amount // 2 if mode == "SAME_UPPER" else amount - amount // 2) for amount in total]
    # The padding at the end as the node states it; output_padding is in the shape of the output alone.
    window.after = [full[i] - extra[i] - window.before[i] - size[i] for i in range(rank)]
    bias = bias_of(node, 2, weight.shape[1] * groups, builder)
    if rank == 3:
        return conv_transpose3d(builder, x, weight, bias, window, groups, node.shape)
    return builder.reshape(conv_transpose2d(builder, x, weight, bias, window, groups, size), node.shape)
