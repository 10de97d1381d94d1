"""What the compiler says of a model that it cannot compile: every node at once, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.graph import Graph


@dataclass(frozen=True)
class UnsupportedNode:
    """A node of the ONNX model, or an input or output of it (`op` is "input" or "output"), and why it cannot be had.

    `cut`: sizes depend on its values, and the network can end in front of it, in `UnsupportedNodes.cut`.
    """

    name: str
    op: str
    reason: str
    cut: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.op}): {self.reason}"


class UnsupportedNodes(EdgelaneError):
    """The nodes that stand in the way of compiling a model, and the steps that the others make.

    `wanted` are the inputs of the model on which values depend that would have to be constants. `cut` are the values
    in which the network could end, as `outputs` of `edgelane.compile`, where sizes depend on what is computed.
    """

    def __init__(
        self,
        nodes: Sequence[UnsupportedNode],
        graph: Graph,
        wanted: frozenset[str] = frozenset(),
        cut: Sequence[str] = (),
    ) -> None:
        self.nodes = tuple(nodes)
        self.graph = graph
        self.wanted = wanted
        self.cut = tuple(cut)
        advice = f"; what comes before can be compiled with --outputs {','.join(cut)}" if cut else ""
        super().__init__(f"{len(nodes)} unsupported node{'s' * (len(nodes) > 1)}: {'; '.join(map(str, nodes))}{advice}")
