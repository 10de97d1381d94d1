"""Tracing a model into a graph, and folding its BatchNorms into the layers before them."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import fx, nn

from edgelane.compression.layers import evaluating
from edgelane.compression.masks import Mask, add_mask, mask_of, remove_mask
from edgelane.errors import EdgelaneError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Not nn.Linear: behind one of rank 3 a BatchNorm1d normalises the rows, and the graph does not say which rank it is.
# The compiler, which knows all shapes, folds that pair.
_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Tracer(fx.Tracer):
    """Keeps torch.nn layers whole, those with a mask included."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return mask_of(m) is not None or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.GraphModule:
    """A copy of `model` in eval mode as a torch.fx graph. Raises EdgelaneError that names the line which cannot be
    traced.
    """
    copied = copy.deepcopy(model).eval()
    try:
        graph = _Tracer().trace(copied)
    except Exception as error:  # torch.fx raises whatever the model's own code raises on a proxy
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgelaneError(f"torch.fx cannot trace {type(model).__name__}{_place(error)}: {reason}") from error
    for node in graph.nodes:  # layers called as `layer(input=x)`, in the one form that the passes read
        if node.op == "call_module" and not node.args and list(node.kwargs) == ["input"]:
            node.args, node.kwargs = (node.kwargs["input"],), {}
    return fx.GraphModule(copied, graph, type(model).__name__)


def _place(error: Exception) -> str:
    """Where in the model's own code tracing stopped: the innermost frame outside torch."""
    place, step = "", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if "/torch/" not in file and file != __file__:
            place = f" at {file}:{step.tb_lineno}"
        step = step.tb_next
    return place


def drop_no_ops(graph_module: fx.GraphModule) -> None:
    """Take out, in place, what never does anything in a graph traced in eval mode: Identity, functional dropout and
    stochastic depth. Without them a layer and what it is fused with are neighbours.
    """
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        idle = node.op == "call_module" and isinstance(modules[node.target], nn.Identity)
        if node.op == "call_function" and getattr(node.target, "__name__", "") in ("dropout", "stochastic_depth"):
            given = inspect.signature(node.target).bind(*node.args, **node.kwargs)
            given.apply_defaults()
            idle = given.arguments["training"] is False
        if idle and isinstance(node.args[0], fx.Node):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def fold_batch_norms(graph_module: fx.GraphModule) -> None:
    """Fold each BatchNorm that alone reads a convolution into it, in place; masks stay where they are.

    w' = w * gamma / sqrt(var + eps), b' = (b - mean) * gamma / sqrt(var + eps) + beta. A zero weight stays zero.
    """
    modules = dict(graph_module.named_modules())
    uses: dict[str, int] = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            uses[node.target] = uses.get(node.target, 0) + 1
    for node in list(graph_module.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, _NORMS) or norm.running_mean is None:
            continue
        source = node.args[0]
        layer = modules.get(source.target) if source.op == "call_module" else None
        if (
            not isinstance(layer, _FOLDABLE)
            or len(source.users) != 1
            or uses[source.target] != 1
            or uses[node.target] != 1
        ):
            continue
        _fold(layer, norm)
        node.replace_all_uses_with(source)
        graph_module.graph.erase_node(node)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _fold(layer: Any, norm: Any) -> None:
    mask = mask_of(layer)
    with torch.no_grad():
        factor = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.weight is not None:
            factor = factor * norm.weight.double()
        shift = 0.0 if norm.bias is None else norm.bias.double()
        bias = 0.0 if layer.bias is None else layer.bias.double()
        weight = layer.weight.double() * factor.reshape(-1, *[1] * (layer.weight.dim() - 1))
        dtype = layer.weight.dtype
        remove_mask(layer)
        layer.weight = nn.Parameter(weight.to(dtype))
        layer.bias = nn.Parameter(((bias - norm.running_mean.double()) * factor + shift).to(dtype))
    if mask is not None:
        add_mask(layer, _same_mask(mask))


def _same_mask(mask: Mask) -> Mask:
    """A mask with the same zeros that moves no further: a folded layer's magnitudes no longer mean what the schedule
    compares.
    """
    fixed = Mask(mask.mask.shape, mask.pattern, mask.sparsity, None)
    fixed.mask.copy_(mask.mask)
    return fixed


def fold_model(model: nn.Module) -> nn.Module:
    """A copy of `model` in eval mode with its BatchNorms folded; where torch.fx cannot trace it, a copy that keeps
    them.
    """
    with evaluating(model):
        try:
            graph_module = trace(model)
        except EdgelaneError:
            return copy.deepcopy(model).eval()
        fold_batch_norms(graph_module)
        return graph_module
