"""The steps of a torch model as the runtime executes them, found by exporting and compiling it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgelane.errors import EdgelaneError
from edgelane.latency.shapes import DTYPES, LayerShape, compile_proto

if TYPE_CHECKING:
    from torch import nn

    from edgelane.latency.model import LayerPlan


@dataclass(frozen=True)
class NetworkStep:
    """A step by the name of its ONNX node; `layer` is the torch name of the layer whose weights it holds, or empty."""

    name: str
    layer: str
    shape: LayerShape


@dataclass(frozen=True)
class Form:
    """One compiled form of a network: its steps in order, inputs and outputs around them."""

    steps: tuple[NetworkStep, ...]


class Network:
    """A model's layers and all its other steps, dense, for one shape of the inputs.

    The float32 form is compiled at once, a form with int8 layers when it is first asked for; both are kept.
    """

    def __init__(self, model: nn.Module, example_inputs: Any) -> None:
        """Export and compile `model`. Raises EdgelaneError where it cannot be exported or compiled."""
        from edgelane.compression.layers import as_tuple
        from edgelane.compression.record import record_of

        if "quantization" in record_of(model):
            raise EdgelaneError("expected the float model, found a quantised one: int8 is part of the plan")
        self._model = model
        self._inputs = tuple(value.detach() for value in as_tuple(example_inputs))
        self._names = {name for name, _ in model.named_modules()}
        self._forms: dict[frozenset[str] | None, Form] = {}
        steps = self._float_form().steps
        self.layers: dict[str, LayerShape] = {}
        for step in steps:
            if step.layer:
                self.layers.setdefault(step.layer, step.shape)
        if not self.layers:
            raise EdgelaneError("the model has no convolution or linear layer whose time could be predicted")

    def uses(self, layer: str) -> list[LayerShape]:
        """The shapes that a layer runs with in float32: more than one where a model calls it several times."""
        return [step.shape for step in self._float_form().steps if step.layer == layer]

    def checked(self, plan: Mapping[str, LayerPlan]) -> dict[str, LayerPlan]:
        """The plan as a dict. Raises EdgelaneError for a name that is no layer here, and for an unknown dtype."""
        for name, chosen in plan.items():
            if name not in self.layers:
                examples = ", ".join(list(self.layers)[:4])
                raise EdgelaneError(f"the model runs no layer named {name!r}; it has {examples}, ...")
            if chosen.dtype not in DTYPES:
                raise EdgelaneError(
                    f"layer {name}: unknown dtype {chosen.dtype!r}; expected one of {', '.join(DTYPES)}"
                )
        return dict(plan)

    def form(self, plan: Mapping[str, LayerPlan]) -> Form:
        """The steps when each layer computes in the dtype of its plan; float32 where the plan does not name it.

        Raises EdgelaneError where a layer should be int8 and the model cannot be quantised.
        """
        floats = frozenset(name for name in self.layers if name not in plan or plan[name].dtype == "float32")
        return self._float_form() if len(floats) == len(self.layers) else self._int8_form(floats)

    def _float_form(self) -> Form:
        if None not in self._forms:
            self._forms[None] = self._compiled(self._model)
        return self._forms[None]

    def _int8_form(self, floats: frozenset[str]) -> Form:
        if floats not in self._forms:
            from edgelane.compression.quantization import quantize_model
            from edgelane.compression.rebuild import finalize

            # Scales change no time: one batch of the example is as good as any.
            ready = finalize(self._model)
            quantized = quantize_model(ready, [self._inputs[0]], method="minmax", skip=sorted(floats))
            self._forms[floats] = self._compiled(quantized)
        return self._forms[floats]

    def _compiled(self, model: nn.Module) -> Form:
        from edgelane.export.onnx import onnx_model

        steps, _ = compile_proto(onnx_model(model, self._inputs))
        return Form(tuple(NetworkStep(name, self._layer_of(name, shape), shape) for name, shape in steps))

    def _layer_of(self, node: str, shape: LayerShape) -> str:
        """The module that a node was exported from: torch names nodes "layer1.0.conv1/Conv"."""
        name = node.partition("/")[0]
        return name if shape.is_layer and name in self._names else ""


_KNOWN: weakref.WeakKeyDictionary[Any, dict[Any, Network]] = weakref.WeakKeyDictionary()


def network(model: nn.Module, example_inputs: Any) -> Network:
    """The steps of `model` for inputs of these shapes. Exported and compiled once in a process, some seconds.

    `example_inputs` is what the model takes, such as `torch.zeros(1, 3, 224, 224)`. A model whose layers changed their
    shape since, by channel pruning for instance, is compiled anew. Raises EdgelaneError where the model cannot be
    exported or compiled.
    """
    from edgelane.compression.layers import as_tuple

    inputs = tuple(tuple(value.shape) for value in as_tuple(example_inputs))
    key = (inputs, tuple((name, tuple(value.shape)) for name, value in model.state_dict().items()))
    known = _KNOWN.setdefault(model, {})
    if key not in known:
        known[key] = Network(model, example_inputs)
    return known[key]
