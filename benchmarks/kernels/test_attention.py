"""`Session.run` on the steps of attention at the sizes of ViT and Swin, for comparing two builds: products of two
activations, normalisation and softmax. As in test_layers.py the benchmark's time includes the copies of inputs and
outputs; `kernel_us` is the step's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgelane

CASES: dict[str, tuple[str, dict[str, Any], list[list[int]]]] = {
    "ViT-B q k": ("MatMul", {}, [[12, 197, 64], [12, 64, 197]]),
    "ViT-B p v": ("MatMul", {}, [[12, 197, 197], [12, 197, 64]]),
    "Swin-T q k": ("MatMul", {}, [[64, 3, 49, 32], [64, 3, 32, 49]]),
    "Swin-T p v": ("MatMul", {}, [[64, 3, 49, 49], [64, 3, 49, 32]]),
    "ViT-B LayerNorm": ("LayerNormalization", {"axis": -1}, [[1, 197, 768], [768], [768]]),
    "Swin-T LayerNorm": ("LayerNormalization", {"axis": -1}, [[1, 56, 56, 96], [96], [96]]),
    "InstanceNorm": ("InstanceNormalization", {}, [[1, 64, 56, 56], [64], [64]]),
    "ViT-B softmax": ("Softmax", {"axis": -1}, [[12, 197, 197]]),
    "Swin-T softmax": ("Softmax", {"axis": -1}, [[64, 3, 49, 49]]),
}
STEPS = {"MatMul": "matmul", "Softmax": "softmax"}


def compile_step(operator: str, attributes: dict[str, Any], shapes: list[list[int]], folder: Path) -> Path:
    """The `.lane` file of one operator; vectors are constants, everything else is an input."""
    names = [f"x{i}" for i in range(len(shapes))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "step",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True) if s[1:]],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor(n, TensorProto.FLOAT, s, np.linspace(0.5, 1.5, s[0]))
            for n, s in zip(names, shapes, strict=True)
            if not s[1:]
        ],
    )
    source, target = folder / "step.onnx", folder / "step.lane"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(source))
    edgelane.compile(source, target, golden=False)
    return target


@pytest.mark.benchmark(max_time=0.3, min_rounds=20, warmup=True, warmup_iterations=5, disable_gc=True)
@pytest.mark.parametrize("case", CASES)
def test_step(benchmark: Any, case: str, tmp_path: Path) -> None:
    operator, attributes, shapes = CASES[case]
    session = edgelane.Session(compile_step(operator, attributes, shapes, tmp_path))
    generator = np.random.default_rng(0)
    x = {spec.name: generator.standard_normal(spec.shape).astype(np.float32) for spec in session.inputs}
    benchmark.group = case
    benchmark(session.run, x)

    rows = session.profile(x, repeats=30)
    (step,) = (row for row in rows if row.op == STEPS.get(operator, "normalize"))
    benchmark.extra_info.update(
        isa=session.isa,
        threads=session.threads,
        kernel=step.kernel,
        kernel_us=step.time_us,
        ns_per_output_element=1e3 * step.time_us / int(np.prod(session.outputs[0].shape)),
        gmac_per_s=step.macs / step.time_us / 1e3,
    )
