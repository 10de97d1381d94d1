"""What the time of a step depends on besides its weights' zeros: the shapes of the steps of a compiled network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    import onnx

    from edgelane.export.compiler.graph import Graph, Step

LAYER_OPS = ("conv2d", "linear")  # those whose weights may be sparse
DTYPES = ("float32", "int8")


@dataclass(frozen=True)
class LayerShape:
    """One step of a compiled network: a layer, or any other step.

    `op` is the op of export/FORMAT.md. `dtype` is that of the arithmetic, `output_dtype` that of the result. Shapes are
    whole: [n, c, h, w] of maps, [n, features] of rows. `kernel` is the window of a convolution or pool, (1, 1)
    elsewhere. `variant` is what else chooses the code: the function of a binary step, the mode of a resize, the
    activation of a unary step. `activation` is the one fused into a layer, and `residual` says whether a layer adds
    another tensor.
    """

    op: str
    dtype: str
    output_dtype: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: str = "none"
    residual: bool = False
    variant: str = ""

    @property
    def ic(self) -> int:
        """Input channels or features."""
        return self.input[1] if len(self.input) == 4 else self.input[-1]

    @property
    def oc(self) -> int:
        """Output channels or features."""
        return self.output[1] if len(self.output) == 4 else self.output[-1]

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def positions(self) -> int:
        """Uses of each weight: output pixels, or rows of a linear layer, of the whole batch."""
        return math.prod(self.output) // max(1, self.oc)

    @property
    def is_layer(self) -> bool:
        """Whether its weights may be sparse."""
        return self.op in LAYER_OPS

    @property
    def is_depthwise(self) -> bool:
        """A convolution in which each filter sees one input channel."""
        return self.op == "conv2d" and self.groups > 1 and self.groups == self.ic

    @property
    def weights(self) -> int:
        """Weights of a layer; 0 of any other step."""
        if self.op == "linear":
            return self.ic * self.oc
        return self.oc * (self.ic // self.groups) * self.taps if "conv" in self.op else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates with no zero skipped, padding counted as pixels."""
        uses = math.prod(self.input[2:]) * self.input[0] if self.op == "conv_transpose2d" else self.positions
        return self.weights * uses

    @property
    def activation_bytes(self) -> int:
        """Bytes of the input and the output, borders aside."""
        sizes = ((self.input, self.dtype), (self.output, self.output_dtype))
        return sum(math.prod(shape) * (1 if dtype == "int8" else 4) for shape, dtype in sizes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LayerShape:
        """The inverse of `to_dict`. Raises EdgelaneError for anything else."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fields)
        except TypeError as error:
            raise EdgelaneError(f"expected the shape of a step, found {dict(values)!r}") from error

    def __str__(self) -> str:
        """Such as "conv 3x3 64-128 s2 @56x56" (of the input)."""
        size = "x".join(str(side) for side in self.input[2:])
        if self.op == "linear":
            return f"linear {self.ic}-{self.oc}" + (f" x{self.positions}" if self.positions > 1 else "")
        if "conv" not in self.op:
            return f"{self.op} {self.ic}" + (f" @{size}" if size else "")
        kind = "depthwise" if self.is_depthwise else "conv" if self.op == "conv2d" else "transposed conv"
        text = f"{kind} {self.kernel[0]}x{self.kernel[1]} {self.ic}-{self.oc}"
        if max(self.stride) > 1:
            text += f" s{max(self.stride)}"
        if max(self.dilation) > 1:
            text += f" d{max(self.dilation)}"
        if self.groups > 1 and not self.is_depthwise:
            text += f" g{self.groups}"
        return f"{text} @{size}"


def compile_proto(proto: onnx.ModelProto) -> tuple[list[tuple[str, LayerShape]], bytes]:
    """Compile a model in memory. Returns its steps in order (name of the ONNX node, shape) and the `.lane` file."""
    from edgelane.export.compiler.driver import to_bytes
    from edgelane.export.compiler.input_shapes import fixed_input_shapes
    from edgelane.export.compiler.onnx_import import import_graph

    graph = import_graph(proto, fixed_input_shapes(proto, None))
    content = to_bytes(graph)
    return steps_of(graph), content


def steps_of(graph: Graph) -> list[tuple[str, LayerShape]]:
    """The steps of an optimised graph as they will run, inputs and outputs (ops "import" and "export") around them."""
    imports = [(t.name, _transfer("import", t.shape, t.dtype)) for t in graph.inputs]
    exports = [
        (name, _transfer("export", t.shape, t.dtype)) for name, t in zip(graph.output_names, graph.outputs, strict=True)
    ]
    return [*imports, *((step.name, _shape(step)) for step in graph.steps), *exports]


def _transfer(op: str, shape: tuple[int, ...], dtype: str) -> LayerShape:
    return LayerShape(op, dtype, dtype, tuple(shape), tuple(shape))


def _shape(step: Step) -> LayerShape:
    attributes = step.attributes
    window = step.other.shape[2:4] if step.op in ("conv2d", "conv_transpose2d") else attributes.get("kernel_shape")
    activations = [t for t in step.inputs if t is not None and t.data is None]
    first = max(activations, key=lambda t: t.elements, default=step.x) if step.op == "binary" else step.x
    fused = step.op not in ("unary", "affine")
    return LayerShape(
        op=step.op,
        dtype=step.x.dtype,
        output_dtype=step.output.dtype,
        input=_whole(first.shape) if step.op != "concat" else _whole(step.output.shape),
        output=_whole(step.output.shape),
        kernel=_pair(window),
        stride=_pair(attributes.get("strides")),
        dilation=_pair(attributes.get("dilations")),
        groups=int(attributes.get("groups", 1)) if step.op != "channel_shuffle" else 1,
        activation=step.activation.kind if fused else "none",
        residual=step.op == "conv2d" and len(step.inputs) > 3 and step.inputs[3] is not None,
        variant=_variant(step),
    )


def _whole(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)


def _pair(values: Any) -> tuple[int, int]:
    return (1, 1) if not values else (int(values[0]), int(values[1]))


def _variant(step: Step) -> str:
    if step.op == "unary":
        return step.activation.kind
    if step.op == "binary":
        same = step.x.shape == step.other.shape
        return f"{step.attributes.get('function', '')}{'' if same else ' broadcast'}"
    if step.op == "resize":
        return str(step.attributes.get("mode", ""))
    return str(step.attributes.get("reduction", "")) if step.op == "reduce" else ""
