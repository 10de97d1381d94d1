"""Where int8 begins and ends in an ONNX graph, by the rules of `edgelane.compression.placement`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgelane.export.int8.network import Network
from edgelane.export.int8.units import Layer, Unit, units_of

_INT8_KINDS = ("add", "multiply", "concat", "pool", "move", "split")
RESIDUALS = ("both", "fused")


@dataclass(frozen=True)
class Placement:
    """quantized: values that are rounded to int8, in graph order, each with the value whose scale it uses (often
    itself). sources: for each of the latter the values that share the scale and are computed, not moved. layers: that
    are int8.
    """

    quantized: dict[str, str]
    sources: dict[str, list[str]]
    layers: list[Layer]


class Graph:
    """The units of a network with their readers, which placements with different float layers share."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.units = units_of(network)
        self.layers = [unit.layer for unit in self.units if unit.layer is not None]
        self.makers = {value: unit for unit in self.units for value in unit.outputs}
        self.readers: dict[str, list[Unit]] = {}
        for unit in self.units:
            for value in dict.fromkeys(unit.reads):
                self.readers.setdefault(value, []).append(unit)

    def place(self, float_layers: Collection[str] = (), residual: str = "both") -> Placement:
        """Decide for every value whether it is int8, and with whose scale; layers of these names stay float.

        residual: one of RESIDUALS, see `edgelane.compression.placement`.
        """
        values = [*self.network.inputs, *(value for unit in self.units for value in unit.outputs)]
        wanted: dict[str, bool] = {}
        for value in reversed(values):
            wanted[value] = any(
                self._reads_int8(value, unit, wanted, float_layers) for unit in self.readers.get(value, [])
            )
        if residual == "fused":
            for unit in self.units:
                if unit.kind == "add" and self._result_is_int8(unit.outputs[0], wanted):
                    self._leave_unrounded(unit, values, wanted)
        layers = [layer for layer in self.layers if not layer.reason and layer.name not in float_layers]
        return Placement(*self._share_scales([value for value in values if wanted[value]]), layers)

    def _leave_unrounded(self, add: Unit, order: list[str], wanted: dict[str, bool]) -> None:
        """Let the later of the operands that are layers' results for this addition alone go into it as it is."""
        operands = list(dict.fromkeys(add.reads))
        ends = [value for value in operands if self._ends_in(value, add)]
        if len(operands) == 2 and ends:
            wanted[max(ends, key=order.index)] = False

    def _ends_in(self, value: str, add: Unit) -> bool:
        """Whether a value is a layer's result that only this addition reads."""
        layer = self.kind(value) == "weight"
        return layer and self.network.only_reader(value) is not None and self.readers[value] == [add]

    def _share_scales(self, quantized: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
        """One scale for what is moved or joined without being computed; it has the name of the first value that is
        joined, or else of the value that is computed.
        """
        group = {value: self._origin(value) for value in quantized}
        for value in quantized:
            if self.kind(value) != "concat":
                continue
            joined = {group[part] for part in self.makers[value].reads if part in group} | {group[value]}
            name = next(other for other in quantized if group[other] in joined and self.kind(other) == "concat")
            group = {other: name if origin in joined else origin for other, origin in group.items()}
        sources: dict[str, list[str]] = {origin: [] for origin in group.values()}
        for value, origin in group.items():
            if self.kind(value) not in ("move", "split", "concat") or self._origin(value) not in group:
                sources[origin].append(value)
        return group, sources

    def kind(self, value: str) -> str:
        """Of the unit that makes a value."""
        unit = self.makers.get(value)
        return "other" if unit is None else unit.kind

    def _reads_int8(self, value: str, unit: Unit, wanted: dict[str, bool], float_layers: Collection[str]) -> bool:
        if unit.kind == "weight":
            return unit.layer is not None and unit.layer.name not in float_layers
        if unit.kind in _INT8_KINDS:
            return any(self._result_is_int8(output, wanted) for output in unit.outputs)
        # An activation function belongs to the operator before it, unless that one only moves, joins or averages int8
        # values.
        return (
            unit.kind == "activation"
            and self.kind(value) in ("concat", "pool", "move", "split")
            and wanted[unit.outputs[0]]
        )

    def _result_is_int8(self, value: str, wanted: dict[str, bool]) -> bool:
        return wanted[value] or any(
            unit.kind == "activation" and wanted[unit.outputs[0]] for unit in self.readers.get(value, [])
        )

    def _origin(self, value: str) -> str:
        """The value that holds what `value` only moves."""
        while self.kind(value) in ("move", "split"):
            value = self.makers[value].reads[0]
        return value
