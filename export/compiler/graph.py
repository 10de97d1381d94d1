"""The compiler's own small graph: values with shape, dtype and quantisation, and the steps between them.

Steps are the ops of export/FORMAT.md from the beginning: an ONNX node is lowered to one or more of them, and every
later pass works on steps alone. Producers and consumers are kept up to date by `Graph`, so no pass searches for them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Quantization:
    """Per-tensor int8 quantisation of an activation: real = scale * (q - zero_point)."""

    scale: float  # exactly a float32
    zero_point: int  # -128 to 127


@dataclass(frozen=True)
class QuantizedConstant:
    """The integers that a float constant was dequantised from: real = scales * values, along `axis`; zero point 0."""

    values: Array  # int8 or int32
    scales: npt.NDArray[np.float32]  # [1] or [values.shape[axis]]
    axis: int

    def transposed(self, perm: tuple[int, ...]) -> QuantizedConstant:
        """Return the same constant with its axes permuted as numpy.transpose does."""
        return QuantizedConstant(self.values.transpose(perm), self.scales, perm.index(self.axis))


@dataclass(frozen=True)
class Activation:
    """An element-wise function with the name and parameters of FORMAT.md, "Activations", or "prelu" with its slopes."""

    kind: str = "none"
    alpha: float = 0.0
    beta: float = 0.0
    slope: Tensor | None = None  # of prelu: a constant, one value for each channel


NONE = Activation()


@dataclass(eq=False)
class Tensor:
    """A value. int8 activations have `quantization`; constants have `data`, and `origin` if they were dequantised."""

    name: str
    shape: Shape
    dtype: str = "float32"
    data: Array | None = None
    quantization: Quantization | None = None
    stored_as: str = ""  # what the model calls an int8 activation: "int8" or "uint8"
    origin: QuantizedConstant | None = None
    scales: npt.NDArray[np.float32] | None = None  # of an int8 or int32 constant that a step reads
    source: str = ""  # the ONNX value that this activation equals; "" where the model has no such value
    producer: Step | None = field(default=None, repr=False)
    consumers: list[Step] = field(default_factory=list, repr=False)  # once per use

    @property
    def elements(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(eq=False)
class Step:
    """One op of the file. `inputs` may hold None for an absent optional input."""

    op: str
    name: str
    inputs: list[Tensor | None]
    output: Tensor
    attributes: dict[str, Any] = field(default_factory=dict)
    activation: Activation = NONE

    @property
    def x(self) -> Tensor:
        """The first input."""
        tensor = self.inputs[0]
        assert tensor is not None
        return tensor

    @property
    def other(self) -> Tensor:
        """The second input."""
        tensor = self.inputs[1]
        assert tensor is not None
        return tensor


class Graph:
    """Steps in execution order, with the graph's inputs and outputs."""

    def __init__(self, inputs: list[Tensor]) -> None:
        self.inputs = inputs
        self.outputs: list[Tensor] = []
        self.output_names: list[str] = []
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def add(self, step: Step, before: Step | None = None, after: Step | None = None) -> Tensor:
        """Insert `step` before or after another one, or at the end, and return its output."""
        if before is not None:
            self.steps.insert(self.steps.index(before), step)
        elif after is not None:
            self.steps.insert(self.steps.index(after) + 1, step)
        else:
            self.steps.append(step)
        step.output.producer = step
        for tensor in step.inputs:
            if tensor is not None:
                tensor.consumers.append(step)
        return step.output

    def set_inputs(self, step: Step, inputs: list[Tensor | None]) -> None:
        """Let `step` read `inputs` from now on."""
        for tensor in step.inputs:
            if tensor is not None:
                tensor.consumers.remove(step)
        step.inputs = inputs
        for tensor in inputs:
            if tensor is not None:
                tensor.consumers.append(step)

    def redirect(self, old: Tensor, new: Tensor) -> None:
        """Let everything that reads `old`, the graph's outputs included, read `new`."""
        for step in list(dict.fromkeys(old.consumers)):
            self.set_inputs(step, [new if tensor is old else tensor for tensor in step.inputs])
        self.outputs = [new if tensor is old else tensor for tensor in self.outputs]

    def remove(self, step: Step) -> None:
        """Take out a step whose output nobody reads any more."""
        assert not step.output.consumers
        self.set_inputs(step, [])
        self.steps.remove(step)
        if step.output.producer is step:
            step.output.producer = None

    def take_over(self, step: Step, last: Step) -> None:
        """Let `step` write what `last`, a later step, wrote; `last` goes, and `step` stands in its place."""
        output = last.output
        step.output.producer = None
        self.steps.remove(step)
        self.steps[self.steps.index(last)] = step
        for tensor in last.inputs:
            if tensor is not None:
                tensor.consumers.remove(last)
        step.output = output
        output.producer = step

    def is_output(self, tensor: Tensor) -> bool:
        """Whether the caller of the network sees this value."""
        return any(tensor is output for output in self.outputs)

    def only_consumer(self, tensor: Tensor) -> Step | None:
        """The one step that reads `tensor`, once, or None where there are more or the tensor is an output."""
        return tensor.consumers[0] if len(tensor.consumers) == 1 and not self.is_output(tensor) else None

    def remove_dead_steps(self) -> None:
        """Drop every step that no output depends on."""
        for step in reversed(self.steps.copy()):
            if not step.output.consumers and not self.is_output(step.output):
                self.remove(step)

    def sort(self) -> None:
        """Let each step read only what earlier ones wrote, and change the present order as little as that takes."""
        position = {id(step): index for index, step in enumerate(self.steps)}
        waiting = {
            id(step): sum(1 for t in step.inputs if t is not None and t.producer is not None) for step in self.steps
        }
        ready = [position[id(step)] for step in self.steps if waiting[id(step)] == 0]
        heapq.heapify(ready)
        ordered: list[Step] = []
        while ready:
            step = self.steps[heapq.heappop(ready)]
            ordered.append(step)
            for consumer in step.output.consumers:
                waiting[id(consumer)] -= 1
                if waiting[id(consumer)] == 0:
                    heapq.heappush(ready, position[id(consumer)])
        assert len(ordered) == len(self.steps), "a pass has made a cycle"
        self.steps = ordered


def repeat(graph: Graph, *rules: Callable[[Graph, Step], bool]) -> None:
    """Apply each rule to every step until none of them changes anything. A rule says whether it changed the graph.

    Steps that nobody reads any more go after each round: rules ask who reads a tensor.
    """
    changed = True
    while changed:
        changed = False
        graph.remove_dead_steps()
        for rule in rules:
            for step in graph.steps.copy():
                if step.output.producer is step and rule(graph, step):
                    changed = True
