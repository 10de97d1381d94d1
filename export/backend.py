"""edgelane as a backend of ONNX (`onnx.backend.base`), so that ONNX's own tests can be run on it.

A `.lane` file is static: shapes, weights, axes and the like are constants. In a test of ONNX all of these are inputs of
the model. So a model is compiled at its first run, and those inputs become constants whose values the compiler says it
must know, with everything that depends on them; all others stay inputs that are computed with at run time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import driver, onnx_import
from edgelane.export.compiler.unsupported import UnsupportedNode, UnsupportedNodes


class NotPossible(BackendIsNotSupposedToImplementIt):
    """edgelane cannot compile the model; `nodes` says which of its nodes are in the way, and why."""

    def __init__(self, nodes: Sequence[UnsupportedNode]) -> None:
        super().__init__("; ".join(map(str, nodes)))
        self.nodes = tuple(nodes)


class Model(BackendRep):
    """A model that is compiled when its first inputs are there.

    constants: names of the inputs that became constants of the compiled network. inputs: names of the others.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants: tuple[str, ...] = ()
        self.inputs: tuple[str, ...] = ()

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Compute the outputs for `inputs`, a value for each input of the model or a dict of them by name.

        Raises NotPossible where edgelane cannot compile the model for these inputs.
        """
        initializers = {tensor.name for tensor in self.model.graph.initializer}
        names = [info.name for info in self.model.graph.input if info.name not in initializers]
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        given = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=False))
        feeds = {name: _array(value) for name, value in given.items()}
        content = self._compiled(feeds)
        from edgelane.runtime import Session

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.lane"
            path.write_bytes(content)
            results = Session(path, threads=1).run({name: feeds[name] for name in self.inputs})
        return tuple(results[info.name] for info in self.model.graph.output)

    def _compiled(self, feeds: Mapping[str, Any]) -> bytes:
        for name, value in feeds.items():
            if not isinstance(value, np.ndarray):
                kind = "sequence" if isinstance(value, list) else type(value).__name__
                raise NotPossible([UnsupportedNode(name, "input", f"it is a {kind}, expected a tensor")])
        frozen = {name: value for name, value in feeds.items() if not value.size}  # a network reads nothing from these
        while True:
            shapes = {name: value.shape for name, value in feeds.items() if name not in frozen}
            try:
                graph = onnx_import.import_graph(self.model, shapes, frozen)
                break
            except UnsupportedNodes as error:
                more = error.wanted - frozen.keys()
                if not more:
                    raise NotPossible(error.nodes) from error
                frozen |= {name: feeds[name] for name in more}
        self.constants, self.inputs = tuple(frozen), tuple(shapes)
        return driver.to_bytes(graph)


class EdgelaneBackend(Backend):
    """See https://onnx.ai/onnx/api/backend.html."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether a model may be tried; whether it can be compiled also depends on its inputs."""
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Model:
        """Return the model, ready to be run on the CPU."""
        if not cls.supports_device(device):
            raise EdgelaneError(f"expected the device CPU, found {device}")
        return Model(model)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run a single node of the newest opset, or of `opset_version`."""
        opset = int(kwargs.get("opset_version", onnx.defs.onnx_opset_version()))
        values = dict(zip([name for name in node.input if name], inputs, strict=True))
        infos = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in values.items()
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", infos, outputs)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        return cls.prepare(model, device).run(values)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device.split(":")[0] == "CPU"


def _array(value: Any) -> Any:
    """Return a tensor as an array, and what is none as it is."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic | float | int) else value
