"""MaxUnpool and Col2Im: values go back to where a window found them."""

from __future__ import annotations

import math

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers
from edgelane.export.compiler.lowering.windows import Window, cells, window_of


@lowers("MaxUnpool", accepts="any")
def max_unpool(node: Node, builder: Builder) -> Tensor:
    """Lower to scatter_elements into zeros, and pad where the output_shape is larger than what the windows cover."""
    x, places = node.x, node.input(1)
    window = window_of(node, [int(size) for size in node.attributes["kernel_shape"]])
    sizes = [
        (dim - 1) * window.strides[i] - window.before[i] - window.after[i] + window.kernel[i]
        for i, dim in enumerate(x.shape[2:])
    ]
    covered = (*x.shape[:2], *sizes)
    shape = tuple(int(dim) for dim in node.constant(2, "its output_shape")) if node.has(2) else covered
    if x.dtype != "float32" or any(size < dim for size, dim in zip(shape, covered, strict=True)):
        raise Unsupported(f"{x.dtype} values of shape {list(covered)} in an output of shape {list(shape)}")
    zeros = builder.constant(np.zeros(math.prod(covered), np.float32), "zeros")
    flat = [builder.reshape(tensor, (x.elements,)) for tensor in (places, x)]
    result = builder.step("scatter_elements", [zeros, *flat], zeros.shape, axis=0, scatter_reduction="none")
    result = builder.reshape(result, covered)
    if covered == shape:
        return result
    return builder.moved("pad", [result], shape, before=[0] * len(covered), mode="constant", value=0.0)


@lowers("Col2Im")
def col2im(node: Node, builder: Builder) -> Tensor:
    """Lower to scatter_elements with addition: where each column's taps lie in the padded image is known."""
    x = node.x
    image = [int(v) for v in node.constant(1, "its image_shape").reshape(-1)]
    block = [int(v) for v in node.constant(2, "its block_shape").reshape(-1)]
    rank = len(image)
    strides = [int(v) for v in node.attributes.get("strides", [1] * rank)]
    dilations = [int(v) for v in node.attributes.get("dilations", [1] * rank)]
    pads = [int(v) for v in node.attributes.get("pads", [0] * (2 * rank))]
    window = Window(block, strides, dilations, pads[:rank], pads[rank:])
    padded = [image[i] + pads[i] + pads[rank + i] for i in range(rank)]
    counts = [(padded[i] - window.covered(i)) // strides[i] + 1 for i in range(rank)]
    window.before = [0] * rank  # the table is that of the padded image
    places = cells(window, padded, counts).T.reshape(-1)
    n, channels = x.shape[0], x.shape[1] // math.prod(block)
    rows = n * channels
    table = builder.constant(np.broadcast_to(places, (rows, len(places))), "places")
    zeros = builder.constant(np.zeros((rows, math.prod(padded)), np.float32), "zeros")
    columns = builder.reshape(x, (rows, len(places)))
    whole = builder.step("scatter_elements", [zeros, table, columns], zeros.shape, axis=1, scatter_reduction="add")
    whole = builder.reshape(whole, (n, channels, *padded))
    if any(pads):
        starts = [0, 0, *pads[:rank]]
        whole = builder.moved("slice", [whole], (n, channels, *image), starts=starts, steps=[1] * (rank + 2))
    return builder.reshape(whole, node.shape)
