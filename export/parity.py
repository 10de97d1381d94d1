"""Does the exported file compute what the torch module computes? ONNX Runtime is the judge.

float32: every output may differ by 1e-4 of its largest magnitude.

int8: both sides compute the same levels up to float32 rounding just before `round`, so a value now and then lands on the
neighbouring level. Hence every int8 tensor is compared where it is made: at least 99.9 % of its elements may differ by at
most one level (always at least one element may differ by more, for tensors of a few elements), and every output by at
most 2 % of its largest magnitude.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[Any]

FLOAT_TOLERANCE = 1e-4
INT8_OUTPUT_TOLERANCE = 0.02
INT8_SHARE_BEYOND_ONE_STEP = 1e-3


@dataclass(frozen=True)
class Parity:
    """What `compare_torch_onnx` measured.

    `largest`, `mean`: difference of the outputs relative to the largest magnitude, of the worst output. `tensors`: how
    many int8 tensors were compared (0 for float32). `off_by_one`, `off_by_more`: the largest share of elements, of any
    of these, that differ at all and by more than one level.
    """

    largest: float
    mean: float
    tolerance: float
    tensors: int = 0
    off_by_one: float = 0.0
    off_by_more: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def compare_torch_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    example_inputs: Tensor | Sequence[Tensor],
    *,
    name: str | None = None,
) -> Parity:
    """Run `model` and the ONNX file at `path` on `example_inputs` and on noise of the same shapes, and compare.

    A model with quantisers is held to the int8 rule of this module, any other to the float32 rule. ONNX Runtime runs
    the graph as it is written, without fusing, so that rounding falls in the same places. `name` stands for the file in
    messages. Raises EdgelaneError, with the numbers, beyond the tolerance, and when ONNX Runtime is missing or refuses
    the file.
    """
    import torch

    from edgelane.compression.layers import as_tuple

    name = name or os.fspath(path)
    inputs = as_tuple(example_inputs)
    generator = torch.Generator().manual_seed(0)
    noise = tuple(
        torch.randn(value.shape, generator=generator).to(value.dtype) if value.is_floating_point() else value
        for value in inputs
    )
    session, levels = _session(path, name)
    largest = mean = one = more = 0.0
    for feeds in (inputs, noise):
        expected, expected_levels = _run_torch(model, feeds)
        fed = {entry.name: value.numpy() for entry, value in zip(session.get_inputs(), feeds, strict=True)}
        found = session.run(None, fed)
        outputs, found_levels = found[: len(expected)], dict(zip(levels, found[len(expected) :], strict=True))
        if set(found_levels) != set(expected_levels):
            missing = sorted(set(found_levels) ^ set(expected_levels))[:4]
            raise EdgelaneError(f"{name}: torch and ONNX do not quantise the same tensors: {', '.join(missing)}")
        for tensor, want in expected_levels.items():
            shares = _level_shares(want, found_levels[tensor], f"{name}: {tensor}")
            one, more = max(one, shares[0]), max(more, shares[1])
        for want, got in zip(expected, outputs, strict=True):
            difference = _difference(want, got, name)
            largest, mean = max(largest, difference[0]), max(mean, difference[1])
    tolerance = INT8_OUTPUT_TOLERANCE if levels else FLOAT_TOLERANCE
    if largest > tolerance:
        raise EdgelaneError(
            f"torch and ONNX Runtime disagree on {name}: the outputs differ by {largest:.2e} of the largest magnitude "
            f"(mean {mean:.2e}), allowed is {tolerance:.0e}"
        )
    return Parity(largest, mean, tolerance, len(levels), one, more)


def _session(path: str | os.PathLike[str], name: str) -> tuple[Any, list[str]]:
    """A session that also returns the int8 levels of every QuantizeLinear, and the names of those nodes."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise EdgelaneError(
            f"comparing with ONNX Runtime needs {error.name}: pip install 'edgelane[export]'"
        ) from error
    proto = onnx.load(os.fspath(path))
    nodes = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    for node in nodes:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT8, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise EdgelaneError(f"ONNX Runtime does not load {name}: {str(error).splitlines()[0]}") from error
    return session, [node.name for node in nodes]


def _run_torch(model: nn.Module, feeds: tuple[Tensor, ...]) -> tuple[list[Array], dict[str, Array]]:
    """The outputs in the exporter's order, and the levels of each int8 tensor under its ONNX node's name."""
    from edgelane.compression.fake_quantize import Quantizer
    from edgelane.compression.layers import evaluating

    levels: dict[str, Array] = {}

    def record(module_name: str) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            calls = sum(key.partition("/")[0] == module_name for key in levels)
            suffix = f"_{calls + 1}" if calls else ""  # as edgelane.export.tidy numbers the nodes of one module
            levels[f"{module_name}/QuantizeLinear{suffix}"] = (output / module.scale).round().numpy()

        return hook

    handles = [
        module.register_forward_hook(record(name))
        for name, module in model.named_modules()
        if isinstance(module, Quantizer)
    ]
    try:
        with evaluating(model):
            result = model(*feeds)
    finally:
        for handle in handles:
            handle.remove()
    values = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]
    return [value.detach().cpu().numpy() for value in values], levels


def _level_shares(expected: Array, found: Array, name: str) -> tuple[float, float]:
    """The share of elements that differ at all, and by more than one level; raises when too many do the latter."""
    distance = np.abs(expected.astype(np.int32) - found.astype(np.int32))
    beyond = int((distance > 1).sum())
    allowed = max(1, int(INT8_SHARE_BEYOND_ONE_STEP * distance.size))
    if beyond > allowed:
        raise EdgelaneError(
            f"torch and ONNX Runtime disagree on {name}: {beyond} of {distance.size} int8 values differ by more than "
            f"one step (up to {int(distance.max())}), allowed are {allowed}"
        )
    return float((distance > 0).mean()), beyond / distance.size


def _difference(expected: Array, found: Array, name: str) -> tuple[float, float]:
    """(largest, mean) difference relative to the largest expected magnitude."""
    if expected.shape != found.shape:
        raise EdgelaneError(f"{name}: torch gives an output of shape {expected.shape}, ONNX Runtime {found.shape}")
    difference = np.abs(expected.astype(np.float64) - found)
    if not np.isfinite(difference).all():
        raise EdgelaneError(f"{name}: outputs hold NaN or infinity")
    magnitude = max(float(np.abs(expected).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    return float(difference.max(initial=0.0)) / magnitude, float(difference.mean()) / magnitude
