"""What the compiler did, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layer:
    """One step of the compiled network."""

    name: str  # of the ONNX node
    op: str  # of FORMAT.md
    dtype: str  # of the arithmetic: "float32", "int8", ...
    format: str  # pattern found in the zeros of the weights: "dense", "4x4", "2:4" ...; "-" without weights
    encoding: str  # how the file stores them: "dense" or the block, "4x1"; "-" without weights
    density: float  # nonzero weights / weights
    block_density: dict[str, float]  # share of blocks with a nonzero weight, by pattern; empty without weights
    macs: int  # multiply-accumulates with a nonzero weight, whole batch
    dense_macs: int
    bytes: int  # of the step's constants in the file
    input_shape: list[int]  # of the first input
    output_shape: list[int]


@dataclass(frozen=True)
class CompileReport:
    """Result of `edgelane.compile`; `bytes` is the size of the file."""

    source: str
    target: str
    bytes: int
    layers: list[Layer]
    golden: str  # "written", or "not written: " and the reason
    notes: list[str] = field(default_factory=list)
    # Of each output for the golden frame on this machine: largest difference from ONNX Runtime / largest magnitude.
    parity: dict[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-accumulates with a nonzero weight."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates if no weight were zero."""
        return sum(layer.dense_macs for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, totals included, as plain JSON values."""
        return {**asdict(self), "macs": self.macs, "dense_macs": self.dense_macs}
