"""Does the exported file compute what the torch module computes? ONNX Runtime is the judge.

float32: every output may differ by 1e-4 of its largest magnitude.

int8: both sides compute the same levels up to float32 rounding just before `round`, so a value sometimes lands on
the neighbouring level, and a deep network amplifies that. So the graph is cut at every int8 tensor, and each piece is
fed torch's levels: what a piece makes of them may differ by one level on 0.1 % of the elements (or on two, in small
tensors) and by more on none, and the float32 outputs by 1e-4 as above.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[Any]

TOLERANCE = 1e-4
SHARE_OFF_BY_ONE = 1e-3


@dataclass(frozen=True)
class Parity:
    """What `compare_torch_onnx` measured.

    `largest`, `mean`: difference of the outputs relative to the largest magnitude, of the worst output. `tensors`: how
    many int8 tensors were compared (0 for float32). `off_by_one`: the largest share of elements, of any of these, that
    lie on the neighbouring level. `end_to_end`: `largest` of the graph left whole, where differences add up.
    """

    largest: float
    mean: float
    tolerance: float
    tensors: int
    off_by_one: float
    end_to_end: float

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
    proto = _load(path)
    whole = session(proto, name)
    names = [entry.name for entry in whole.get_inputs()]
    levels_of = {node.name: node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    forced = cut(proto, dict.fromkeys(levels_of.values(), np.dtype(np.int8)))
    quantizers = {node: forced[level] for node, level in levels_of.items()}
    pieces = session(proto, name)
    largest = mean = off_by_one = end_to_end = 0.0
    for values in (inputs, noise):
        expected, levels = _run_torch(model, values)
        if set(levels) != set(quantizers):
            different = sorted(set(levels) ^ set(quantizers))[:4]
            raise EdgelaneError(f"{name}: torch and ONNX do not quantise the same tensors: {', '.join(different)}")
        feeds = {key: value.numpy() for key, value in zip(names, values, strict=True)}
        for want, got in zip(expected, whole.run(None, feeds), strict=True):
            end_to_end = max(end_to_end, _difference(want, got, name)[0])
        found = pieces.run(None, {**feeds, **{quantizers[key]: levels[key] for key in quantizers}})
        for key, got in zip(quantizers, found[len(expected) :], strict=True):
            off_by_one = max(off_by_one, _share_off_by_one(levels[key], got, f"{name}: {key}"))
        for want, got in zip(expected, found, strict=False):
            difference = _difference(want, got, name)
            largest, mean = max(largest, difference[0]), max(mean, difference[1])
    if largest > TOLERANCE:
        raise EdgelaneError(
            f"torch and ONNX Runtime disagree on {name}: the outputs differ by {largest:.2e} of the largest magnitude "
            f"(mean {mean:.2e}), allowed is {TOLERANCE:.0e}"
        )
    return Parity(largest, mean, TOLERANCE, len(quantizers), off_by_one, end_to_end)


def _load(path: str | os.PathLike[str]) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise EdgelaneError("comparing with ONNX Runtime needs onnx: pip install 'edgelane[export]'") from error
    return onnx.load(os.fspath(path))


def cut(proto: Any, values: Mapping[str, np.dtype[Any]]) -> dict[str, str]:
    """Make each of `values`, integers of the given type, an output, and let its readers read a new input instead.

    Changes `proto`; the new outputs follow the old ones in the order of `values`. Returns the new inputs' names.
    """
    import onnx

    graph, forced = proto.graph, {value: f"{value}/forced" for value in values}
    for value, dtype in values.items():
        element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
        if all(output.name != value for output in graph.output):
            graph.output.append(onnx.helper.make_tensor_value_info(value, element, None))
        graph.input.append(onnx.helper.make_tensor_value_info(forced[value], element, None))
    for node in graph.node:
        for index, value in enumerate(node.input):
            node.input[index] = forced.get(value, value)
    return forced


def session(proto: Any, name: str) -> Any:
    """Load a model into ONNX Runtime as it is written, without fusing. Raises EdgelaneError, naming `name`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EdgelaneError("comparing with ONNX Runtime needs it: pip install 'edgelane[export]'") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise EdgelaneError(f"ONNX Runtime does not load {name}: {str(error).splitlines()[0]}") from error


def _run_torch(model: nn.Module, feeds: tuple[Tensor, ...]) -> tuple[list[Array], dict[str, Array]]:
    """The outputs in the exporter's order, and the levels of each int8 tensor under its ONNX node's name."""
    import torch

    from edgelane.compression.fake_quantize import Quantizer
    from edgelane.compression.layers import evaluating

    levels: dict[str, Array] = {}

    def record(module_name: str) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            calls = sum(key.partition("/")[0] == module_name for key in levels)
            suffix = f"_{calls + 1}" if calls else ""  # as edgelane.export.tidy numbers the nodes of one module
            levels[f"{module_name}/QuantizeLinear{suffix}"] = (output / module.scale).round().to(torch.int8).numpy()

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


def allowed_off_by_one(elements: int) -> int:
    """How many of `elements` int8 values may lie on the neighbouring level: 0.1 %, but two in any tensor. With one,
    a trained MobileNetV2 at 48x48 was refused for 2 of 1280 values: among fifty small tensors two ties of rounding fall
    into the same one now and then.
    """
    return max(2, int(SHARE_OFF_BY_ONE * elements))


def _share_off_by_one(expected: Array, found: Array, name: str) -> float:
    """The share of elements on the neighbouring level; raises when there are too many, or when any is further off."""
    distance = np.abs(expected.astype(np.int32) - found.astype(np.int32))
    off, worst = int((distance > 0).sum()), int(distance.max(initial=0))
    allowed = allowed_off_by_one(distance.size)
    if worst > 1 or off > allowed:
        raise EdgelaneError(
            f"torch and ONNX Runtime disagree on {name}: {off} of {distance.size} int8 values differ, by up to {worst} "
            f"steps; allowed are {allowed} values by 1 step"
        )
    return off / max(1, distance.size)


def _difference(expected: Array, found: Array, name: str) -> tuple[float, float]:
    """(largest, mean) difference relative to the largest expected magnitude."""
    if expected.shape != found.shape:
        raise EdgelaneError(f"{name}: torch gives an output of shape {expected.shape}, ONNX Runtime {found.shape}")
    difference = np.abs(expected.astype(np.float64) - found)
    if not np.isfinite(difference).all():
        raise EdgelaneError(f"{name}: outputs hold NaN or infinity")
    magnitude = max(float(np.abs(expected).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    return float(difference.max(initial=0.0)) / magnitude, float(difference.mean()) / magnitude
