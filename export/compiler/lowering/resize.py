"""Resize and Upsample: the op resize where it can, else one matrix or one table of indices for each axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.reference

from edgelane.export.compiler.graph import Array, Shape, Tensor
from edgelane.export.compiler.lowering.base import Builder, Node, Unsupported, check_table, lowers, normalize_axis

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
NEAREST = ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil")
OPSET = 19  # whose Resize says what a general one means


@dataclass
class _Resize:
    """What a Resize node asks for, along every axis."""

    mode: str
    coordinates: str
    nearest: str
    scales: list[float]
    begins: list[float]  # of the region of interest, in parts of the axis
    ends: list[float]
    cubic_coeff: float
    attributes: dict[str, int]  # those that the op resize does not know

    def changes(self, x: Tensor, size: int, axis: int) -> bool:
        """Whether an axis has another size or another region afterwards."""
        whole = self.coordinates != "tf_crop_and_resize" or (self.begins[axis], self.ends[axis]) == (0, 1)
        return not (whole and size == x.shape[axis] and np.isclose(self.scales[axis], 1.0))

    def fits(self, x: Tensor, shape: Shape, axes: list[int]) -> bool:
        """Whether the op resize computes the same: it knows sizes that are rounded down, and corners of whole sizes."""
        exact = [self.scales[axis] * x.shape[axis] for axis in axes]
        if self.coordinates == "align_corners" and not np.allclose(exact, np.rint(exact), rtol=1e-6, atol=0):
            return False
        return all(shape[axis] - 0.5 < size < shape[axis] + 1.5 for axis, size in zip(axes, exact, strict=True))


@lowers("Resize", "Upsample", accepts="any")
def resize(node: Node, builder: Builder) -> Tensor:
    """Lower to resize, or to products and gathers along each axis that changes."""
    x, wanted = node.x, _read(node)
    if wanted.mode != "nearest" and x.dtype != "float32":
        raise Unsupported(f"mode {wanted.mode!r} of {x.dtype}, expected float32")
    axes = [axis for axis in range(len(x.shape)) if wanted.changes(x, node.shape[axis], axis)]
    if not axes:
        return x
    plain = wanted.coordinates in COORDINATES and not wanted.attributes and wanted.fits(x, node.shape, axes)
    if len(x.shape) == 4 and set(axes) <= {2, 3} and plain and x.dtype in ("float32", "int8"):
        return _images(x, node.shape, builder, wanted)
    if len(x.shape) == 3 and axes == [2] and plain and x.dtype in ("float32", "int8"):
        wanted.scales.insert(2, 1.0)
        lifted = builder.reshape(x, (*x.shape[:2], 1, x.shape[2]))
        result = _images(lifted, (*node.shape[:2], 1, node.shape[2]), builder, wanted)
        return builder.reshape(result, node.shape)
    outside: Array | None = None
    for axis in axes:
        size = node.shape[axis]
        if wanted.mode == "nearest":
            rows = _along_axis(wanted, np.arange(x.shape[axis], dtype=np.float64), axis, size)
            x = builder.take(x, np.clip(np.nan_to_num(rows), 0, None).astype(np.int64), axis)
            missing = np.isnan(rows)
        else:
            check_table(x.shape[axis] * max(size, x.shape[axis]), f"axis {axis}")
            weights = _along_axis(wanted, np.eye(x.shape[axis]), axis, size)
            missing = np.asarray(np.isnan(weights).any(axis=0))
            x = _weighted(builder, x, np.nan_to_num(weights).T, axis)
        if missing.any():
            mask: Array = np.asarray(missing).reshape([-1 if i == axis else 1 for i in range(len(x.shape))])
            outside = mask if outside is None else np.logical_or(outside, mask)
    if outside is not None:
        value = float(node.attributes.get("extrapolation_value", 0.0))
        x = builder.where(builder.constant(outside, "outside"), builder.like(x, value), x)
    return x


def _images(x: Tensor, shape: Shape, builder: Builder, wanted: _Resize) -> Tensor:
    details: dict[str, Any] = {"mode": wanted.mode, "coordinates": wanted.coordinates, "scales": wanted.scales[2:]}
    if wanted.mode == "nearest":
        details["nearest_mode"] = wanted.nearest
    if wanted.mode == "cubic":
        details["cubic_coeff"] = wanted.cubic_coeff
    return builder.moved("resize", [x], shape, **details)


def _read(node: Node) -> _Resize:
    """Read a node of any opset: Upsample, and Resize before opset 11, take coordinates as they are."""
    x, rank, attributes = node.x, len(node.x.shape), node.attributes
    old = node.op == "Upsample" or node.opset < 11
    mode = node.choice("mode", ("nearest", "linear", "cubic"))
    # Other modes do not use it, and exporters write there what they like.
    nearest = (
        node.choice("nearest_mode", NEAREST, "floor" if old else "round_prefer_floor") if mode == "nearest" else ""
    )
    coordinates = node.choice(
        "coordinate_transformation_mode",
        (*COORDINATES, "tf_crop_and_resize", "half_pixel_symmetric"),
        "asymmetric" if old else "half_pixel",
    )
    policy = node.choice("keep_aspect_ratio_policy", ("stretch", "not_larger", "not_smaller"))
    axes = [normalize_axis(int(axis), rank) for axis in attributes.get("axes", range(rank))]
    scales = [node.shape[axis] / x.shape[axis] for axis in range(rank)]
    given = 1 if old else 2
    if "scales" in attributes:
        scales = [float(scale) for scale in attributes["scales"]]
    elif node.has(given) and node.input(given).elements:
        for axis, scale in zip(axes, node.constant(given, "scales").reshape(-1), strict=True):
            scales[axis] = float(scale)
    elif policy != "stretch":
        sizes = node.constant(3, "sizes").reshape(-1)
        pick = min if policy == "not_larger" else max
        factor = pick(int(size) / x.shape[axis] for axis, size in zip(axes, sizes, strict=True))
        scales = [factor if axis in axes else 1.0 for axis in range(rank)]
    begins, ends = [0.0] * rank, [1.0] * rank
    if coordinates == "tf_crop_and_resize":
        region = node.constant(1, "its roi").reshape(-1)
        for position, axis in enumerate(axes):
            begins[axis], ends[axis] = float(region[position]), float(region[position + len(axes)])
    special = {name: int(attributes[name]) for name in ("antialias", "exclude_outside") if attributes.get(name, 0)}
    coefficient = float(np.float32(attributes.get("cubic_coeff_a", -0.75)))
    special = special if mode != "nearest" else {}
    return _Resize(mode, coordinates, nearest, scales, begins, ends, coefficient, special)


def _along_axis(wanted: _Resize, values: Array, axis: int, size: int) -> Array:
    """Return `values` resized along their last axis as the standard says, NaN where it extrapolates.

    What it makes of a unit matrix are the weights that resizing multiplies by, of a count from 0 the indices it picks.
    """
    rank = values.ndim
    attributes: dict[str, object] = {
        "mode": wanted.mode,
        "coordinate_transformation_mode": wanted.coordinates,
        "extrapolation_value": float("nan"),
        "cubic_coeff_a": wanted.cubic_coeff,
        **wanted.attributes,
    }
    if wanted.mode == "nearest":
        attributes["nearest_mode"] = wanted.nearest
    region = [0.0] * (rank - 1) + [wanted.begins[axis]] + [1.0] * (rank - 1) + [wanted.ends[axis]]
    before, scale = values.shape[-1], wanted.scales[axis]
    feeds: dict[str, Array] = {"x": values, "roi": np.array(region)}
    if np.isclose(scale * before, size, rtol=1e-6, atol=0):  # else it would have to be rounded, perhaps down
        feeds["sizes"] = np.array([*values.shape[:-1], size])
    else:
        feeds["scales"] = np.array([1.0] * (rank - 1) + [scale])
        if int(scale * before) < size and wanted.coordinates in ("half_pixel", "asymmetric", "pytorch_half_pixel"):
            # The size was rounded up: go on as if the last element were repeated, which changes nothing before it.
            more = int(np.ceil(1 / scale))
            feeds["x"] = np.pad(values, [(0, 0)] * (rank - 1) + [(0, more)], mode="edge")
    result = _standard_resize(feeds, attributes)[..., :size]
    if result.shape[-1] != size or (feeds["x"] is not values and "exclude_outside" in wanted.attributes):
        raise Unsupported(f"a scale of {scale} from {before} to {size} elements")
    return result


def _standard_resize(feeds: dict[str, Array], attributes: dict[str, object]) -> Array:
    """Run ONNX's own reference implementation in double precision."""
    names = [name if name in feeds else "" for name in ("x", "roi", "scales", "sizes")]
    node = onnx.helper.make_node("Resize", names if feeds.get("sizes") is not None else names[:3], ["y"], **attributes)
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in feeds]
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)]
    graph = onnx.helper.make_graph([node], "resize", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    with np.errstate(all="ignore"):
        return np.asarray(onnx.reference.ReferenceEvaluator(model).run(None, feeds)[0])


def _weighted(builder: Builder, x: Tensor, weights: Array, axis: int) -> Tensor:
    """Append weights @ x along an axis."""
    matrix = builder.constant(weights.astype(np.float32), "weights")
    last = len(x.shape) - 1
    shape = (*x.shape[:axis], len(weights), *x.shape[axis + 1 :])
    if axis == last:
        return builder.step("linear", [x, matrix, None], shape)
    if axis == last - 1:
        return builder.step("matmul", [matrix, x], shape)
    n, rest = x.shape[axis], x.elements // x.shape[axis]
    before = int(np.prod(x.shape[:axis], dtype=np.int64))
    flat = builder.reshape(x, (before, n, rest // before))
    product = builder.step("matmul", [matrix, flat], (before, len(weights), rest // before))
    return builder.reshape(product, shape)
