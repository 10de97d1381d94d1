"""Which layers lose most when they become int8: each one alone, while everything else computes in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, fx, nn

from edgelane.compression.execution import PartlyInt8, input_batches, quantized_layers
from edgelane.compression.layers import evaluating
from edgelane.errors import EdgelaneError


@dataclass(frozen=True)
class LayerSensitivity:
    """What int8 weights and an int8 input in this layer alone cost.

    drop: of the judge's score against the float network; None without a judge. sqnr_db: signal to quantisation noise of
    the network's outputs, 10 log10(sum y^2 / sum (y - y_int8)^2); infinite where nothing changed.
    """

    name: str
    drop: float | None
    sqnr_db: float

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values; an infinite ratio is None."""
        return {**asdict(self), "sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else None}


def sensitivity(
    quantized: nn.Module,
    judge: Callable[[nn.Module], float] | None,
    batches: Iterable[Any],
    *,
    layers: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerSensitivity]:
    """The int8 layers of a model from `quantize_model`, the most sensitive first: by the drop, then by the ratio.

    judge: gives a network's score, higher is better, such as its accuracy on a validation split; it is called once for
        each layer and once for the float network. None: by the outputs alone, which takes a fraction of the time.
    batches: inputs, or (inputs, labels), on which outputs are compared. They are kept in memory.
    layers: only these, by name. progress: is told how many layers are done, and of how many.
    The float network has the weights of the quantised model: where those were rounded (AdaRound), they are so in it.
    Raises EdgelaneError for a model that is not quantised, unknown names, and bad batches.
    """
    known = quantized_layers(quantized)
    assert isinstance(quantized, fx.GraphModule)
    unknown = [name for name in layers or () if name not in known]
    if unknown:
        raise EdgelaneError(f"sensitivity: no int8 layer is named {', '.join(unknown)}; they are {', '.join(known)}")
    chosen = known if layers is None else [name for name in known if name in layers]
    inputs = list(input_batches(batches))
    exact = _outputs(PartlyInt8(quantized, ()), inputs)
    score = judge(PartlyInt8(quantized, ()).eval()) if judge is not None else 0.0
    found = []
    for done, name in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen))
        partly = PartlyInt8(quantized, (name,)).eval()
        drop = None if judge is None else score - judge(partly)
        found.append(LayerSensitivity(name, drop, _sqnr(exact, _outputs(partly, inputs))))
    if progress is not None:
        progress(len(chosen), len(chosen))
    return sorted(found, key=lambda layer: (-(layer.drop or 0.0), layer.sqnr_db))


def _outputs(model: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    device = next(model.parameters()).device
    with evaluating(model):
        return [tensor for batch in batches for tensor in _tensors(model(batch.to(device)))]


def _tensors(value: Any) -> list[Tensor]:
    """All floating tensors of a model's output, in order."""
    if isinstance(value, Tensor):
        return [value.double()] if value.is_floating_point() else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _sqnr(exact: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    signal = sum(float(y.pow(2).sum()) for y in exact)
    noise = sum(float((a - b).pow(2).sum()) for a, b in zip(exact, found, strict=True))
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
