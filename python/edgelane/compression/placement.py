"""Where int8 begins and ends in a traced model: which tensors get a quantiser, and which share one.

The unit is the tensor, not the operator: a tensor that any int8 operator reads is quantised once, where it is made, and
every reader sees the quantised values. Going backwards from the convolution and linear layers:

- their inputs are int8;
- residual adds, multiplications, concatenations and average pools whose result becomes int8 read int8 too;
- operators that only move values (max pool, flatten, reshape, transpose, slices, chunks, nearest resizing) keep their
  input's scale;
- what a concatenation joins and its result share one scale, so that it is a copy;
- an activation function that follows a convolution, linear layer, add or multiplication is computed on the exact
  result, before rounding;
- the model's outputs stay float32, and so does any operator not listed here.

Residual additions come in two forms. "both": both operands are int8. "fused": the operand that a layer computes for the
addition alone goes into it unrounded, as the sum that the layer has anyway; the other one is int8. Which of them is
faster depends on who runs the model. ResNet-18 at 160 x 160 on one thread of an AMD EPYC with AVX-512, median of 22
runs, 28 November 2026: edgelane 2.48 ms for "both" and 2.46 ms for "fused" (the same 20 convolution steps, in which all
additions end, and no other), OpenVINO 3.40 and 3.48 ms, ONNX Runtime 8.05 and 12.54 ms, for it computes convolutions
without Q behind them in float32. TensorRT fuses only "fused": NVIDIA's recommendations are to quantise the residual
input and not the outputs of layers with weights, and name a pair between a convolution and its addition as what
separates them. So "both" is the rule, for it costs nothing here and runs well elsewhere on CPUs, and "fused" is for
TensorRT; `edgelane.export.lint`, which knows TensorRT's rules, says "residual-split" of the first and nothing of the
second.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgelane.compression.equalize import ChannelClamp
from edgelane.compression.fake_quantize import QuantizedConv2d, QuantizedLinear

_WEIGHT_MODULES = (QuantizedConv2d, QuantizedLinear)

_MODULES: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    (_WEIGHT_MODULES, "weight"),
    (
        (
            nn.MaxPool2d,
            nn.Flatten,
            nn.Unflatten,
            nn.Identity,
            nn.Dropout,
            nn.Dropout2d,
            nn.ChannelShuffle,
            nn.PixelShuffle,
        ),
        "move",
    ),
    ((nn.AvgPool2d, nn.AdaptiveAvgPool2d), "pool"),
    (
        (
            nn.ReLU,
            nn.ReLU6,
            nn.Hardtanh,
            nn.LeakyReLU,
            nn.ELU,
            nn.Sigmoid,
            nn.Hardsigmoid,
            nn.Hardswish,
            nn.SiLU,
            nn.Tanh,
            nn.GELU,
            nn.Mish,
            ChannelClamp,
        ),
        "activation",
    ),
)

_FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add), "add"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul), "multiply"),
    **dict.fromkeys((torch.cat, torch.concat), "concat"),
    **dict.fromkeys((F.avg_pool2d, F.adaptive_avg_pool2d), "pool"),
    torch.mean: "mean",
    **dict.fromkeys((torch.chunk, torch.split, torch.unbind), "split"),
    **dict.fromkeys(
        (
            torch.flatten,
            torch.reshape,
            torch.transpose,
            torch.permute,
            torch.squeeze,
            torch.unsqueeze,
            F.max_pool2d,
            F.dropout,
            F.pixel_shuffle,
        ),
        "move",
    ),
    **dict.fromkeys(
        (
            F.relu,
            torch.relu,
            F.relu6,
            F.hardtanh,
            F.leaky_relu,
            F.elu,
            torch.sigmoid,
            F.sigmoid,
            F.hardsigmoid,
            F.hardswish,
            F.silu,
        ),
        "activation",
    ),
    **dict.fromkeys((torch.tanh, F.tanh, F.gelu, F.mish), "activation"),
}

_METHODS: dict[str, str] = {
    **dict.fromkeys(("add", "add_"), "add"),
    **dict.fromkeys(("mul", "mul_"), "multiply"),
    "mean": "mean",
    **dict.fromkeys(("chunk", "split", "unbind"), "split"),
    **dict.fromkeys(
        ("flatten", "reshape", "view", "transpose", "permute", "contiguous", "squeeze", "unsqueeze"), "move"
    ),
    **dict.fromkeys(("relu", "relu_", "sigmoid", "tanh"), "activation"),
}

_INT8_KINDS = ("add", "multiply", "concat", "pool", "move", "split")
RESIDUALS = ("both", "fused")


@dataclass(frozen=True)
class Placement:
    """`quantized`: nodes whose result is rounded to int8, in graph order, each with the node whose scale it uses
    (often itself). `sources`: for each of the latter the nodes that compute the values which share the scale.
    """

    quantized: dict[fx.Node, fx.Node]
    sources: dict[fx.Node, list[fx.Node]]


def place(graph_module: fx.GraphModule, residual: str = "both") -> Placement:
    """Decide for every tensor of the graph whether it is int8, and with whose scale. `residual`: one of RESIDUALS."""
    modules = dict(graph_module.named_modules())
    nodes = list(graph_module.graph.nodes)
    kinds = dict.fromkeys(nodes, "other")
    for node in nodes:  # forwards, because a slice is only known by what it slices
        kinds[node] = _kind(node, modules, kinds)

    wanted: dict[fx.Node, bool] = {}
    for node in reversed(nodes):
        wanted[node] = node.op not in ("output", "get_attr") and any(
            _reads_int8(node, user, kinds, wanted) for user in node.users
        )
    if residual == "fused":
        for node in nodes:
            if kinds[node] == "add" and _result_is_int8(node, kinds, wanted):
                _leave_unrounded(node, kinds, wanted)
    return _share_scales([node for node in nodes if wanted[node] and kinds[node] != "split"], kinds)


def _leave_unrounded(add: fx.Node, kinds: dict[fx.Node, str], wanted: dict[fx.Node, bool]) -> None:
    """Let the later of the operands that are layers' results for this addition alone go into it as it is."""
    operands: list[Any] = list(dict.fromkeys(add.args[:2]))
    ends = [node for node in operands if kinds[node] == "weight" and _readers(node) == [add]]
    if len(operands) == 2 and ends:
        order = list(add.graph.nodes)
        wanted[max(ends, key=order.index)] = False


def _readers(node: fx.Node) -> list[fx.Node]:
    """Who reads the values of `node`, as opposed to its shape."""
    return [
        user
        for user in node.users
        if not (user.op == "call_function" and user.target is getattr)
        and not (user.op == "call_method" and user.target in ("size", "dim"))
    ]


def _share_scales(quantized: list[fx.Node], kinds: dict[fx.Node, str]) -> Placement:
    """One scale for what is moved or joined without being computed; it has the name of the first node of its kind
    that joins, or else of the node that computes the values.
    """
    group = {node: _origin(node, kinds) for node in quantized}
    for node in quantized:
        if kinds[node] != "concat":
            continue
        joined = {group[part] for part in _tensors_read(node, "concat") if part in group} | {group[node]}
        name = next(other for other in quantized if group[other] in joined and kinds[other] == "concat")
        group = {other: name if origin in joined else origin for other, origin in group.items()}
    sources: dict[fx.Node, list[fx.Node]] = {origin: [] for origin in group.values()}
    for node, origin in group.items():
        if kinds[node] not in ("move", "concat") or _origin(node, kinds) not in group:
            sources[origin].append(node)
    return Placement(group, sources)


def _kind(node: fx.Node, modules: dict[str, nn.Module], kinds: dict[fx.Node, str]) -> str:
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, nn.Upsample) and module.mode == "nearest":
            return "move"
        return next((kind for types, kind in _MODULES if isinstance(module, types)), "other")
    kind = "other"
    if not node.args:
        return kind
    if node.op == "call_function":
        if node.target is operator.getitem:
            return "move" if _is_slice(node, kinds) else "other"
        kind = _FUNCTIONS.get(node.target, "other")
        if node.target is F.interpolate and node.kwargs.get("mode", "nearest") == "nearest":
            kind = "move"
        if getattr(node.target, "__name__", "") == "stochastic_depth":  # torchvision's; it does nothing in eval mode
            kind = "move"
    elif node.op == "call_method":
        kind = _METHODS.get(str(node.target), "other")
    if kind in ("add", "multiply") and not all(_is_tensor(value, kinds) for value in node.args[:2]):
        return "other"
    if kind == "mean":
        return "pool" if _is_spatial(node) else "other"
    return kind


def _is_tensor(value: Any, kinds: dict[fx.Node, str]) -> bool:
    """Whether an operand is an activation for certain; what `size()` or arithmetic on it gives may be a number."""
    return isinstance(value, fx.Node) and (kinds[value] != "other" or value.op in ("placeholder", "call_module"))


def _is_slice(node: fx.Node, kinds: dict[fx.Node, str]) -> bool:
    """Picking one tensor of a split, as opposed to an entry of a shape."""
    source = node.args[0]
    return isinstance(source, fx.Node) and kinds[source] == "split"


def _is_spatial(node: fx.Node) -> bool:
    """A mean over height and width."""
    axes = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return isinstance(axes, (list, tuple)) and sorted(axis % 4 for axis in axes if isinstance(axis, int)) == [2, 3]


def _reads_int8(node: fx.Node, user: fx.Node, kinds: dict[fx.Node, str], wanted: dict[fx.Node, bool]) -> bool:
    """Whether `user` reads the result of `node` as int8."""
    kind = kinds[user]
    if node not in _tensors_read(user, kind):
        return False
    if kind == "weight":
        return True
    if kind in _INT8_KINDS:
        return _result_is_int8(user, kinds, wanted)
    # An activation function belongs to the operator before it, unless that one only moves, joins or averages int8
    # values.
    return kind == "activation" and kinds[node] in ("concat", "pool", "move", "split") and wanted[user]


def _tensors_read(node: fx.Node, kind: str) -> list[Any]:
    """The operands that are activations, as opposed to the sizes that a reshape is given."""
    first = node.args[0] if node.args else None
    if isinstance(first, (list, tuple)):  # concat
        return list(first)
    return list(node.args[: 2 if kind in ("add", "multiply") else 1])


def _result_is_int8(node: fx.Node, kinds: dict[fx.Node, str], wanted: dict[fx.Node, bool]) -> bool:
    return wanted[node] or any(kinds[user] == "activation" and wanted[user] for user in node.users)


def _origin(node: fx.Node, kinds: dict[fx.Node, str]) -> fx.Node:
    """The node that made the values which `node` only moves."""
    while kinds[node] in ("move", "split") and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node
