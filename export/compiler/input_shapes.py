"""The sizes that a model's inputs have in the compiled network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from edgelane.errors import EdgelaneError


def fixed_input_shapes(
    model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None
) -> dict[str, tuple[int, ...]]:
    """Return the concrete shape of each input: a dynamic first dimension is 1 unless `input_shapes` says otherwise.

    `input_shapes` may also change dimensions that the model states. Raises EdgelaneError for any other dynamic
    dimension, and where a shape is not of the model's rank.
    """
    wanted = dict(input_shapes or {})
    initializers = {tensor.name for tensor in model.graph.initializer}
    shapes, dynamic = {}, []
    for info in model.graph.input:
        if info.name in initializers:
            continue
        if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
            raise EdgelaneError(f"input {info.name!r} has no tensor shape; export the model with fixed shapes")
        dims = list(info.type.tensor_type.shape.dim)
        given = wanted.pop(info.name, None)
        declared = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
        if given is not None:
            if len(given) != len(dims):
                names = [dim.dim_param or dim.dim_value or "?" for dim in dims]
                raise EdgelaneError(f"input {info.name!r} has shape {names}, which {list(given)} does not fit")
            if any(int(dim) < 1 for dim in given):
                raise EdgelaneError(f"input {info.name!r}: every dimension must be at least 1, found {list(given)}")
            shapes[info.name] = tuple(int(dim) for dim in given)
            continue
        if declared and declared[0] is None:
            declared[0] = 1
        dynamic += [
            f"{info.name}[{axis}]" + (f" ({dims[axis].dim_param})" if dims[axis].dim_param else "")
            for axis, value in enumerate(declared)
            if value is None
        ]
        shapes[info.name] = tuple(value or 0 for value in declared)
    if wanted:
        raise EdgelaneError(
            f"the model has no input {', '.join(map(repr, wanted))}; its inputs are {', '.join(shapes)}"
        )
    if dynamic:
        raise EdgelaneError(
            f"dynamic dimensions {', '.join(dynamic)}: give their sizes in input_shapes, or on the command line as "
            f"{_example(shapes, dynamic)}"
        )
    return shapes


def _example(shapes: Mapping[str, tuple[int, ...]], dynamic: Sequence[str]) -> str:
    """The option that would fix the first input with an open dimension: `--shape images=1,3,H,W`."""
    name = next(name for name, shape in shapes.items() if 0 in shape)
    dims = ",".join(str(dim) if dim else "?" for dim in shapes[name])
    return f"--shape {name}={dims} with a number for each ?"
