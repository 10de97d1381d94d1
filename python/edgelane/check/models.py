"""Models of any kind behind one interface: named inputs, named outputs, and the values inside that can be compared."""

from __future__ import annotations

import importlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

Array = npt.NDArray[Any]
Values = dict[str, Array]


@dataclass(frozen=True)
class InputSpec:
    """An input as the model declares it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class OnnxModel:
    """An ONNX file, run by ONNX Runtime as it is written: nothing is fused."""

    kind = "onnx"

    def __init__(self, path: Path, input_shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        from edgelane.export.compiler.cut import set_input_shapes
        from edgelane.export.compiler.half import widen
        from edgelane.export.compiler.input_shapes import fixed_input_shapes
        from edgelane.export.compiler.onnx_file import load_model, without_functions

        self.path, self.name = path, f"{path} (ONNX Runtime)"
        proto, self.digest = load_model(path)
        widen(proto)  # as the compiler does
        # Local functions written out, as the compiler does, so that values have the same names.
        self.proto = without_functions(proto)
        shapes = fixed_input_shapes(self.proto, input_shapes)
        set_input_shapes(self.proto, shapes)
        types = {info.name: info.type.tensor_type.elem_type for info in self.proto.graph.input}
        self.inputs = [InputSpec(name, shape, _numpy_type(types[name], name)) for name, shape in shapes.items()]
        self.outputs = [info.name for info in self.proto.graph.output]
        self._session: Any = None  # made when it is needed: a model that ONNX Runtime refuses can be looked at

    def run(self, feeds: Mapping[str, Array]) -> Values:
        """The outputs by name."""
        if self._session is None:
            from edgelane.export.parity import session

            self._session = session(self.proto, str(self.path))
        return dict(zip(self.outputs, _run(self._session, self.outputs, feeds, self.path), strict=True))

    def names(self) -> list[str]:
        """The values that its nodes compute, in the order of the nodes."""
        return [value for node in self.proto.graph.node for value in node.output if value]

    def nodes(self) -> dict[str, tuple[str, str]]:
        """Name and operator of the node that computes each value."""
        named = [(node.name or f"{node.op_type}_{index}", node) for index, node in enumerate(self.proto.graph.node)]
        return {value: (name, node.op_type) for name, node in named for value in node.output}

    def rounded_biases(self) -> list[str]:
        """The layers whose float bias cannot be an int32 without rounding."""
        from edgelane.export.qdq_view import View

        view = View(self.proto)
        return [view.name(node) for node in view.nodes if view.rounded_bias(node)]

    def values(self, feeds: Mapping[str, Array], names: Iterable[str]) -> Values:
        """What the model computes for `names`, among them outputs, in one run."""
        return self._extended(feeds, list(names), {})

    def pieces(self, feeds: Mapping[str, Array], names: Iterable[str], levels: Mapping[str, Array]) -> Values:
        """What the model computes for `names` if every reader of an integer value of `levels` reads these integers."""
        return self._extended(feeds, list(names), levels)

    def _extended(self, feeds: Mapping[str, Array], names: list[str], levels: Mapping[str, Array]) -> Values:
        import onnx

        from edgelane.export.parity import cut, session

        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        forced = cut(proto, {name: value.dtype for name, value in levels.items()})
        present = {info.name for info in proto.graph.output}
        proto.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in present
        )
        given = {**feeds, **{forced[name]: value for name, value in levels.items()}}
        return dict(zip(names, _run(session(proto, str(self.path)), names, given, self.path), strict=True))


class LaneModel:
    """A compiled file on one kernel set."""

    kind = "lane"

    def __init__(self, path: Path, isa: str | None = None, threads: int = 1, name: str | None = None) -> None:
        from edgelane.export.compiler import lane_file
        from edgelane.runtime import Session

        self.path = path
        self.content = lane_file.read(path)
        self.session = Session(path, threads=threads, isa=isa)
        self.isa = self.session.isa
        self.name = f"{name or path} on {self.isa}"
        self.inputs = [InputSpec(spec.name, spec.shape, spec.dtype) for spec in self.session.inputs]
        self.outputs = [spec.name for spec in self.session.outputs]
        self._inner: Any = None

    def run(self, feeds: Mapping[str, Array]) -> Values:
        """The outputs by name."""
        return self.session.run(feeds)

    def names(self) -> list[str]:
        """The float32 and int8 values that its steps compute, in the order of the steps."""
        written = [self.content.tensors[step.output] for step in self.content.steps]
        return [tensor.name for tensor in written if tensor.dtype in ("float32", "int8")]

    def nodes(self) -> dict[str, tuple[str, str]]:
        """Name and op of the step that computes each value."""
        return {self.content.tensors[step.output].name: (step.name, step.op) for step in self.content.steps}

    def values(self, feeds: Mapping[str, Array], names: Iterable[str]) -> Values:
        """What the steps compute for `names`, among them outputs. The kernels are those of `run`."""
        if self._inner is None:
            from edgelane.export.compiler import lane_file
            from edgelane.runtime import Session

            with tempfile.TemporaryDirectory() as folder:
                target = Path(folder) / "values.lane"
                target.write_bytes(lane_file.to_bytes(lane_file.with_every_value(self.content)))
                self._inner = Session(target, threads=self.session.threads, isa=self.isa)
        found = self._inner.run(feeds)
        return {name: found[name] for name in names}


class TorchModel:
    """A torch module in evaluation mode on the CPU. Inputs go by position, under the names of the reference."""

    kind = "torch"

    def __init__(self, module: Any, name: str) -> None:
        self.module, self.name = module.eval(), name
        self.inputs: list[InputSpec] | None = None
        self.outputs: list[str] | None = None

    @property
    def quantized(self) -> bool:
        """Whether it simulates int8 with edgelane's quantisers."""
        from edgelane.compression.fake_quantize import Quantizer

        return any(isinstance(module, Quantizer) for module in self.module.modules())

    def run(self, feeds: Mapping[str, Array]) -> Values:
        """The outputs by position, as "0", "1", ..."""
        return self._call(feeds)

    def modules(self, feeds: Mapping[str, Array]) -> tuple[Values, Values]:
        """The outputs, and what each module without modules inside computes, by its path, in the order of execution."""
        inner: Values = {}

        def hook(path: str) -> Callable[..., None]:
            def record(module: Any, args: Any, result: Any) -> None:
                if hasattr(result, "numpy") and result.is_floating_point():
                    calls = sum(key == path or key.startswith(f"{path}#") for key in inner)
                    inner[f"{path}#{calls + 1}" if calls else path] = result.detach().float().numpy().copy()

            return record

        leaves = [(path, module) for path, module in self.module.named_modules() if not list(module.children())]
        handles = [module.register_forward_hook(hook(path)) for path, module in leaves if path]
        try:
            return self._call(feeds), inner
        finally:
            for handle in handles:
                handle.remove()

    def _call(self, feeds: Mapping[str, Array]) -> Values:
        import torch

        with torch.inference_mode():
            try:
                result = self.module(*(torch.from_numpy(np.ascontiguousarray(value)) for value in feeds.values()))
            except Exception as error:  # whatever the module's own code raises
                raise EdgelaneError(f"{self.name} fails on the model's inputs: {_first_line(error)}") from error
        listed = (
            result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]
        )
        return {str(index): value.detach().cpu().numpy() for index, value in enumerate(listed)}


Model = OnnxModel | LaneModel | TorchModel


def open_model(
    source: str | os.PathLike[str],
    *,
    isa: str | None = None,
    threads: int = 1,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Model:
    """Open an ONNX file, a `.lane` file, an edgelane checkpoint, a `.pt2` or TorchScript file, or `module:function`.

    `module:function` and torch's own files run the code in them. Raises EdgelaneError for anything that cannot be read.
    """
    text = os.fspath(source)
    path = Path(text)
    if not path.exists() and ":" in text:
        return TorchModel(_imported(text), text)
    if path.suffix == ".lane":
        return LaneModel(path, isa, threads)
    if path.suffix in (".pt", ".pt2", ".pth", ".ts"):
        return TorchModel(_torch_file(path), text)
    return OnnxModel(path, input_shapes)


def _imported(text: str) -> Any:
    """What `module:function` returns, or `module:object`."""
    from torch import nn

    module_name, _, attribute = text.partition(":")
    try:
        made = importlib.import_module(module_name)
        for part in attribute.split("."):
            made = getattr(made, part)
        made = made if isinstance(made, nn.Module) else made()  # type: ignore[operator]
    except Exception as error:  # whatever importing and calling a user's code raises
        raise EdgelaneError(f"cannot get a torch module from {text}: {_first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise EdgelaneError(f"expected a torch module from {text}, found {type(made).__name__}")
    return made


def _torch_file(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise EdgelaneError(f"{path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise EdgelaneError(f"{path} is not a file that torch wrote: {error}") from error
    try:
        if any("/code/" in name for name in names):
            return torch.jit.load(path, map_location="cpu")
        if path.suffix == ".pt2":
            return _without_eval(torch.export.load(path).module())
    except Exception as error:  # torch raises what its readers raise
        raise EdgelaneError(f"torch cannot open {path}: {_first_line(error)}") from error
    from edgelane.checkpoint import Checkpoint

    return Checkpoint.load(path).build()


def _without_eval(module: Any) -> Any:
    """An exported program is what it is: torch forbids `eval` on it."""
    module.eval = lambda: module
    return module


def _run(session: Any, names: Sequence[str], feeds: Mapping[str, Array], path: Path) -> list[Array]:
    try:
        return list(session.run(list(names), dict(feeds)))
    except Exception as error:  # onnxruntime's classes share no base of their own
        raise EdgelaneError(f"ONNX Runtime cannot run {path}: {_first_line(error)}") from error


def _numpy_type(element: int, name: str) -> np.dtype[Any]:
    import onnx

    try:
        dtype: np.dtype[Any] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
        return dtype
    except KeyError as error:
        raise EdgelaneError(f"input {name!r} is of the ONNX type {element}, expected numbers") from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
