"""A plan as rows to print: what each layer becomes, what it costs, and from which sparsity it would pay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgelane.latency.model import DENSE, LatencyModel, LayerPlan
from edgelane.latency.solver import stored_bytes
from edgelane.latency.tracing import Network


@dataclass(frozen=True)
class PlanRow:
    """One layer. `macs` are dense, of one run of the network; `dense_us` is the layer's time without zeros in the same
    dtype; `overtakes_at` is the sparsity from which its pattern is faster than that (None: never, or it is dense);
    `bytes` are its weights in the `.lane` file.
    """

    layer: str
    shape: str
    macs: int
    weights: int
    pattern: str
    sparsity: float
    dtype: str
    dense_us: float
    predicted_us: float
    overtakes_at: float | None
    bytes: int


@dataclass(frozen=True)
class PlanTable:
    """All layers of a network under a plan, in order, and the totals of the whole network.

    `other_us` is what the steps without weights take; `dense_us` and `predicted_us` include it. `float32_us` is the
    network dense in float32. `kept_macs` are the multiply-accumulates with a nonzero weight, and `bytes` the weights.
    """

    rows: list[PlanRow]
    float32_us: float
    dense_us: float
    predicted_us: float
    other_us: float
    macs: int
    kept_macs: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    columns = ("layer", "shape", "MMACs", "pattern", "sparsity", "dtype", "dense us", "predicted us", "overtakes at")

    def cells(self) -> list[list[str]]:
        """The rows as text under `columns`, and the whole network as the last one."""
        table = [
            [
                row.layer,
                row.shape,
                f"{row.macs / 1e6:.1f}",
                row.pattern,
                f"{row.sparsity:.1%}" if row.sparsity else "-",
                row.dtype,
                f"{row.dense_us:.1f}",
                f"{row.predicted_us:.1f}",
                "-" if row.pattern == "dense" else "never" if row.overtakes_at is None else f"{row.overtakes_at:.0%}",
            ]
            for row in self.rows
        ]
        others = ["other steps", "", "", "", "", "", f"{self.other_us:.1f}", f"{self.other_us:.1f}", ""]
        kept = f"{1 - self.kept_macs / self.macs:.1%} of MACs" if self.macs else "-"
        whole = ["whole network", "", f"{self.macs / 1e6:.1f}", "", kept, ""]
        return [*table, others, [*whole, f"{self.dense_us:.1f}", f"{self.predicted_us:.1f}", ""]]


def plan_table(model: LatencyModel, network: Network, plan: Mapping[str, LayerPlan] | None = None) -> PlanTable:
    """What a plan makes of every layer. Layers that it does not name are dense float32.

    Raises EdgelaneError as `LatencyModel.predict` does.
    """
    wanted = network.checked(plan or {})
    dense = {name: LayerPlan(dtype=chosen.dtype) for name, chosen in wanted.items()}
    predicted, without = model.predict(network, wanted), model.predict(network, dense)
    footprint = model.footprint(network, wanted)
    times: dict[str, list[float]] = {name: [0.0, 0.0] for name in network.layers}
    for column, prediction in enumerate((without, predicted)):
        for row in prediction.rows:
            if row.layer:
                times[row.layer][column] += row.time_us
    rows = []
    for name, shape in network.layers.items():
        chosen = wanted.get(name, DENSE)
        at = None
        if chosen.pattern != "dense":
            at = model.overtakes(shape, chosen.pattern, chosen.dtype, footprint_bytes=footprint)
        rows.append(
            PlanRow(
                name,
                str(shape),
                sum(use.macs for use in network.uses(name)),
                shape.weights,
                chosen.pattern,
                chosen.sparsity,
                chosen.dtype,
                round(times[name][0], 3),
                round(times[name][1], 3),
                at,
                stored_bytes(shape, chosen.pattern, chosen.sparsity, chosen.dtype),
            )
        )
    return PlanTable(
        rows,
        float32_us=round(model.predict(network).total_us, 3),
        dense_us=round(without.total_us, 3),
        predicted_us=round(predicted.total_us, 3),
        other_us=round(sum(row.time_us for row in predicted.rows if not row.layer), 3),
        macs=sum(row.macs for row in rows),
        kept_macs=round(sum(row.macs * (1 - row.sparsity) for row in rows)),
        bytes=sum(row.bytes for row in rows),
    )
