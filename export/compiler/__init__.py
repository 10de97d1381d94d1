"""The compiler: a standard ONNX model in, a fused and portable `.lane` file out.

    onnx_file     read and check the file and its external data
    cut, half     other outputs, other sizes, half precision as float32
    onnx_import   infer sizes (inference), fold constants (folding), lower each node to steps (lowering/ has one
                  function per operator; functions writes out those that the standard defines by others)
    passes        clean-up and fusion on steps; activations and normalizations put together what is decomposed
    quantization  float steps between Q/DQ → int8 steps
    patterns      sparsity pattern of each layer, from its zeros alone
    lane_file     the bytes
    golden        an input with the expected outputs, proven by running the file

It knows ONNX and export/FORMAT.md, never a kernel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from edgelane.export.compiler.report import CompileReport, Layer

__all__ = ["CompileReport", "Layer", "compile"]


def compile(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    golden: str | os.PathLike[str] | bool = "random",
    outputs: Sequence[str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> CompileReport:
    """Compile the ONNX model `source` to the `.lane` file `target` and say what was done, layer by layer.

    input_shapes: sizes of inputs, by input name: of those with dynamic dimensions, and of others in place of what the
        model says; a dynamic batch is 1 unless it stands here.
    golden: the input of the golden frame, for `Session(..., self_test=True)`: "random" (or True), the path of a picture
        that is prepared as the model's metadata say, or "none" (or False). The file is run on it on this machine, and
        holds a golden frame only where its outputs agree with ONNX Runtime's; `report.golden` says why it holds none.
    outputs: names of any values of the model that the network returns in place of the model's outputs, for example what
        stands before a part that cannot be compiled.
    limits: what the model may ask for, so that a small file from a stranger cannot take unbounded memory or time, by
        name ({"nodes": 200_000}); edgelane.export.compiler.limits.Limits says what there is and the defaults.

    Raises EdgelaneError when the model is missing or malformed, when it asks for more than its limits, when dimensions
    stay open, when the target cannot be written, when the golden frame of a picture is not possible, and, naming every
    node at once, when operators are not supported.
    """
    from edgelane.export.compiler.driver import compile_model

    return compile_model(source, target, input_shapes, golden, outputs, limits)
