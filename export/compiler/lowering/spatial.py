"""Pooling, resizing, means and softmax."""

from __future__ import annotations

import math

import numpy as np

from edgelane.export.compiler.graph import Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, lowers, normalize_axis, require_images
from edgelane.export.compiler.lowering.convolution import window_pads


@lowers("MaxPool", any_dtype=True)
def max_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to max_pool2d; ceil_mode becomes padding."""
    require_images(node.x)
    if len(node.shapes) > 1 and node.shapes[1] is not None:
        raise Unsupported("its second output, the indices, is used")
    kernel = list(node.attributes["kernel_shape"])
    strides = list(node.attributes.get("strides", [1, 1]))
    dilations = list(node.attributes.get("dilations", [1, 1]))
    pads = window_pads(node, kernel, strides, dilations)
    pads = _reach(node, pads, kernel, strides, dilations)
    return builder.moved(
        "max_pool2d", [node.x], node.shape, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations
    )


@lowers("AveragePool")
def average_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to average_pool2d; ceil_mode becomes padding where padding is not counted."""
    require_images(node.x)
    kernel = list(node.attributes["kernel_shape"])
    strides = list(node.attributes.get("strides", [1, 1]))
    dilations = list(node.attributes.get("dilations", [1, 1]))
    if dilations != [1, 1]:
        raise Unsupported(f"dilations {dilations}, expected 1")
    include = int(node.attributes.get("count_include_pad", 0))
    pads = window_pads(node, kernel, strides, dilations)
    if not include:  # otherwise only the padding that the model declares may be counted
        pads = _reach(node, pads, kernel, strides, dilations)
    return builder.step(
        "average_pool2d",
        [node.x],
        node.shape,
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        count_include_pad=include,
    )


def _reach(node: Node, pads: list[int], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Lengthen the padding at the end so that it holds the windows that ceil_mode adds."""
    result = list(pads)
    for axis in range(2):
        covered = (node.shape[2 + axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        result[2 + axis] = max(pads[2 + axis], covered - node.x.shape[2 + axis] - pads[axis])
    return result


@lowers("GlobalAveragePool")
def global_average_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to global_average_pool."""
    require_images(node.x)
    return builder.step("global_average_pool", [node.x], node.shape)


@lowers("GlobalMaxPool", any_dtype=True)
def global_max_pool(node: Node, builder: Builder) -> Tensor:
    """Lower to a max_pool2d over the whole image."""
    require_images(node.x)
    return builder.moved("max_pool2d", [node.x], node.shape, kernel_shape=list(node.x.shape[2:]))


@lowers("ReduceMean")
def reduce_mean(node: Node, builder: Builder) -> Tensor:
    """Lower to global_average_pool for height and width, else to reduce."""
    x = node.x
    given = node.ints("axes", 1)
    if not given:
        if given is not None and node.attributes.get("noop_with_empty_axes", 0):
            return x
        if given is None and node.attributes.get("noop_with_empty_axes", 0):
            return x
        given = list(range(len(x.shape)))
    axes = sorted({normalize_axis(axis, len(x.shape)) for axis in given})
    kept = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape))
    if len(x.shape) == 4 and axes == [2, 3]:
        mean = builder.step("global_average_pool", [x], kept)
    else:
        mean = builder.step("reduce", [x], kept, axes=axes)
    return builder.reshape(mean, node.shape)


@lowers("Softmax", "LogSoftmax")
def softmax(node: Node, builder: Builder) -> Tensor:
    """Lower to softmax or log_softmax."""
    x = node.x
    op = "softmax" if node.op == "Softmax" else "log_softmax"
    if node.opset >= 13:
        return builder.step(op, [x], x.shape, axis=normalize_axis(int(node.attributes.get("axis", -1)), len(x.shape)))
    # Before opset 13 everything from `axis` on was one axis.
    axis = normalize_axis(int(node.attributes.get("axis", 1)), len(x.shape))
    flat = builder.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
    return builder.reshape(builder.step(op, [flat], flat.shape, axis=1), x.shape)


COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
NEAREST = ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil")


@lowers("Resize", any_dtype=True)
def resize(node: Node, builder: Builder) -> Tensor:
    """Lower a resize of height and width."""
    x, attributes = node.x, node.attributes
    require_images(x)
    mode = attributes.get("mode", "nearest")
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = attributes.get("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear", "cubic"):
        raise Unsupported(f"mode {mode!r}, expected nearest, linear or cubic")
    if coordinates not in COORDINATES:
        raise Unsupported(f"coordinate_transformation_mode {coordinates!r}, expected one of {', '.join(COORDINATES)}")
    if mode == "nearest" and nearest not in NEAREST:
        raise Unsupported(f"nearest_mode {nearest!r}, expected one of {', '.join(NEAREST)}")
    if attributes.get("antialias", 0):
        raise Unsupported("antialias is set")
    if attributes.get("exclude_outside", 0):
        raise Unsupported("exclude_outside is set")
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported(f"keep_aspect_ratio_policy {attributes['keep_aspect_ratio_policy']!r}, expected stretch")
    if x.dtype != "float32" and mode != "nearest":
        raise Unsupported(f"mode {mode!r} of {x.dtype}")
    if node.shape[:2] != x.shape[:2]:
        raise Unsupported(f"from {list(x.shape)} to {list(node.shape)}, only height and width can change")
    scales = [node.shape[axis] / x.shape[axis] for axis in (2, 3)]
    if node.has(2) and node.input(2).elements:
        given = node.constant(2, "scales").reshape(-1)
        axes = [normalize_axis(int(axis), 4) for axis in attributes.get("axes", range(4))]
        for axis, scale in zip(axes, given, strict=True):
            if axis >= 2:
                scales[axis - 2] = float(scale)
    details: dict[str, object] = {"mode": mode, "coordinates": coordinates, "scales": scales}
    if mode == "nearest":
        details["nearest_mode"] = nearest
    if mode == "cubic":
        details["cubic_coeff"] = float(np.float32(attributes.get("cubic_coeff_a", -0.75)))
    return builder.moved("resize", [x], node.shape, **details)
