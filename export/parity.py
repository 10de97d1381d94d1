"""Does the exported file compute what the torch module computes? ONNX Runtime is the judge."""

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

FLOAT_TOLERANCE = 1e-4
# Both sides compute the same int8 values up to float32 rounding just before `round`, so now and then a value lands on the neighbouring
# step, and what follows carries that on. The mean over the outputs stays small; the largest may reach a few steps of the last tensor.
INT8_MEAN_TOLERANCE = 0.01
INT8_LARGEST_TOLERANCE = 0.05


@dataclass(frozen=True)
class Parity:
    """Differences between torch and ONNX Runtime, relative to the largest magnitude of each output; the worst output counts."""

    largest: float
    mean: float
    tolerance: float
    quantized: bool

    @property
    def passed(self) -> bool:
        """Whether the file may be used."""
        return self.largest <= self.tolerance and (not self.quantized or self.mean <= INT8_MEAN_TOLERANCE)

    def to_dict(self) -> dict[str, Any]:
        """All fields and the verdict, as JSON values."""
        return {**asdict(self), "passed": self.passed}


def compare_torch_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    example_inputs: Tensor | Sequence[Tensor],
    *,
    quantized: bool,
    name: str = "",
) -> Parity:
    """Run `model` and the ONNX file `path` on `example_inputs` and on noise of the same shapes, and compare every output.

    float32: the largest difference may be 1e-4 of the output's largest magnitude. int8 (`quantized`): the largest 5 %, the mean 1 %.
    ONNX Runtime runs the graph as written there, without fusing, so that rounding falls in the same places.
    Raises EdgelaneError, with the numbers, beyond the tolerance, and when ONNX Runtime is missing or refuses the file.
    """
    import torch

    from edgelane.compression.layers import as_tuple, evaluating

    inputs = as_tuple(example_inputs)
    generator = torch.Generator().manual_seed(0)
    noise = tuple(
        torch.randn(value.shape, generator=generator).to(value) if value.is_floating_point() else value for value in inputs
    )
    session = _session(path)
    names = [entry.name for entry in session.get_inputs()]
    largest = mean = 0.0
    for feeds in (inputs, noise):
        with evaluating(model):
            expected = _outputs(model(*feeds))
        found = session.run(None, {name: value.numpy() for name, value in zip(names, feeds, strict=True)})
        for want, got in zip(expected, found, strict=True):
            one = _difference(want, got, path)
            largest, mean = max(largest, one[0]), max(mean, one[1])
    parity = Parity(largest, mean, INT8_LARGEST_TOLERANCE if quantized else FLOAT_TOLERANCE, quantized)
    if not parity.passed:
        raise EdgelaneError(
            f"torch and ONNX Runtime disagree on {path}: relative to the output's largest magnitude the largest difference is "
            f"{largest:.2e} (allowed {parity.tolerance:.0e})"
            + (f", the mean {mean:.2e} (allowed {INT8_MEAN_TOLERANCE:.0e})" if quantized else "")
        )
    return parity


def _session(path: str | os.PathLike[str]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EdgelaneError("comparing with ONNX Runtime needs it: pip install 'edgelane[export]'") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise EdgelaneError(f"ONNX Runtime does not load {path}: {str(error).splitlines()[0]}") from error


def _outputs(result: Any) -> list[npt.NDArray[np.float32]]:
    """The tensors of a module's result, in the order in which the exporter makes them outputs."""
    values = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]
    return [value.detach().cpu().numpy() for value in values]


def _difference(
    expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32], path: str | os.PathLike[str]
) -> tuple[float, float]:
    """(largest, mean) difference relative to the largest expected magnitude."""
    if expected.shape != found.shape:
        raise EdgelaneError(f"{path}: torch gives an output of shape {expected.shape}, ONNX Runtime {found.shape}")
    difference = np.abs(expected.astype(np.float64) - found)
    if not np.isfinite(difference).all():
        raise EdgelaneError(f"{path}: outputs hold NaN or infinity")
    magnitude = max(float(np.abs(expected).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    return float(difference.max(initial=0.0)) / magnitude, float(difference.mean()) / magnitude
