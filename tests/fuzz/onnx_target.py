"""What must hold for any bytes that are taken for an ONNX file: a compiled model, or one EdgelaneError of one line."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

sys.path[:0] = [str(Path(__file__).parent.parent / "export"), str(Path(__file__).parent)]

from onnx_cases import Input, graph_model, normal  # noqa: E402
from test_operators import CASES  # noqa: E402

from edgelane.errors import EdgelaneError  # noqa: E402
from edgelane.export.compiler import compile  # noqa: E402

# Small, so that no model takes longer than a blink.
LIMITS = {"tensor_elements": 2**20, "folded_bytes": 2**24, "folded_operations": 2**24, "nodes": 2000}
MEMORY = Path("/dev/shm")


def try_model(data: bytes, golden: bool = False) -> bool:
    """Compile the model; return whether that worked. Raises whatever else than EdgelaneError the compiler raises."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "model.lane"
        source.write_bytes(data)
        try:
            compile(source, target, golden=golden, limits=LIMITS)
        except EdgelaneError as error:
            if not str(error).isprintable() or len(str(error)) > 9000:
                raise AssertionError(f"expected one line of text, found {str(error)!r}") from error
            if target.exists():
                raise AssertionError("a model that was refused left a file") from error
            return False
        return True


def seeds() -> dict[str, bytes]:
    """Small models with every operator that the tests have, and with what surrounds operators."""
    models = {name: case.model() for name, case in CASES.items()}
    models["shapes"] = graph_model(
        """(float[1,8,4,4] x) => (float[n,m] y) {
            s = Shape(x) b = Gather<axis = 0>(s, zero) v = Unsqueeze(b, zero1) t = Concat<axis = 0>(v, rest)
            y = Reshape(x, t) }""",
        {"zero": np.array(0), "zero1": np.array([0]), "rest": np.array([-1])},
    )
    models["constants"] = graph_model(
        """(float[1,3,4,4] x) => (float[1,3,4,4] y) {
            a = ConstantOfShape(three) b = Range(zero, end, one) c = Cast<to = 1>(b) d = Expand(c, three)
            e = Tile(d, three) f = Slice(e, start, stop, axes) g = Add(a, f) h = ReduceMean(g) y = Mul(x, h) }""",
        {
            "three": np.array([3, 2, 4]),
            "zero": np.array(0),
            "end": np.array(4),
            "one": np.array(1),
            "start": np.array([0]),
            "stop": np.array([3]),
            "axes": np.array([0]),
        },
    )
    models["quantized"] = graph_model(
        """(float[1,4,8,8] x) => (float[1,6,8,8] y) {
            q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear<axis = 0>(wq, ws)
            c = Conv<pads = [1,1,1,1]>(d, w) r = Relu(c) p = QuantizeLinear(r, s, z) y = DequantizeLinear(p, s, z) }""",
        {
            "s": np.float32(0.1),
            "z": np.int8(0),
            "wq": np.arange(-108, 108).astype(np.int8).reshape(6, 4, 3, 3),
            "ws": np.full(6, 0.02, np.float32),
        },
    )
    models["functions"] = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 17, "local": 1]>
        agraph (float[1,3] x) => (float[1,3] y) { y = local.f(x) }
        <domain: "local", opset_import: ["": 17]> f (a) => (c) { b = Relu(a) c = Add(b, b) }""")
    models["network"] = graph_model(
        """(float[1,3,16,16] x) => (float[1,5] y) {
            a = Conv<strides = [2,2], pads = [1,1,1,1]>(x, w) b = BatchNormalization(a, g, g, g, p) c = Relu(b)
            d = MaxPool<kernel_shape = [2,2], strides = [2,2]>(c) e = GlobalAveragePool(d) f = Flatten(e)
            y = Gemm<transB = 1>(f, v, u) }""",
        {
            "w": normal(8, 3, 3, 3),
            "g": normal(8),
            "p": np.abs(normal(8)),
            "v": normal(5, 8),
            "u": normal(5),
        },
    )
    assert all(
        isinstance(value, Input) or value is None or value.size < 50_000 for c in CASES.values() for value in c.inputs
    )
    return {name: model.SerializeToString() for name, model in models.items()}
