"""Channel pruning: whole filters go, and with them everything that reads them, along torch-pruning's dependency
graph.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edgelane.compression.layers import Inputs, as_tuple, evaluating
from edgelane.errors import EdgelaneError

CHANNEL_MULTIPLE = 8  # what vector registers and tensor cores ask of a channel count


def cut(
    model: nn.Module,
    shares: Mapping[str, float],
    scores: Mapping[str, Tensor],
    example_inputs: Inputs,
    *,
    keep: Set[str],
) -> None:
    """Remove the least important filters of each group of coupled layers, in place.

    shares: the share of filters to remove, by layer. Layers joined by a residual add, a concatenation or a depthwise
        convolution lose the same channels, in the mean of their shares (0 for those that are not named; depthwise
        convolutions follow the others).
    scores: of each weight, by layer, not negative; those of all weights that make or read a channel are added up.
    The kept count is rounded to the nearest multiple of 8, and is at least 8. Groups that hold a layer of `keep` are
    left whole.
    Raises EdgelaneError where torch-pruning is missing or cannot follow the model.
    """
    inputs = tuple(value[:1] for value in as_tuple(example_inputs))
    names = {module: name for name, module in model.named_modules()}
    with dependencies(model, inputs) as graph:
        ignored = [module for module, name in names.items() if name in keep]
        groups = graph.get_all_groups(ignored_layers=ignored, root_module_types=[nn.Conv2d, nn.Linear])
        # All scores before the first cut, which would leave the other groups' indices stale.
        with _showing(model, scores):
            cuts = [(group[0].dep, _smallest(group, _share(graph, group, names, shares))) for group in groups]
        for dependency, indices in cuts:
            cutting = graph.get_pruning_group(dependency.target.module, dependency.handler, indices)
            if indices and graph.check_pruning_group(cutting):
                cutting.prune()
    _check_runs(model, inputs)


@contextmanager
def dependencies(model: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[Any]:
    """torch-pruning's dependency graph of `model`, in evaluation mode; modes and requires_grad are put back afterwards.

    Whatever torch-pruning raises, here or in the block, becomes an EdgelaneError.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise EdgelaneError("channels are followed by torch-pruning: pip install 'edgelane[train]'") from error
    requires_grad = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for parameter in model.parameters():  # the graph is traced through autograd, so frozen parameters must take part
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unwrapped parameters")
            # Where it gives up on a count of channels (Swin's rolls), following the group takes all memory.
            warnings.filterwarnings("error", "Maximum recursive depth")
            graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=inputs)
        yield graph
    except EdgelaneError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgelaneError(
            f"torch-pruning cannot follow {type(model).__name__}: {reason}; give up pattern channel or permute"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(requires_grad[name])
            parameter.grad = None


@contextmanager
def _showing(model: nn.Module, scores: Mapping[str, Tensor]) -> Iterator[None]:
    """The scores in place of the weights, for torch-pruning, whose importances read weights."""
    layers: list[Any] = [model.get_submodule(name) for name in scores]
    weights = [layer.weight.data for layer in layers]
    try:
        for layer, score in zip(layers, scores.values(), strict=True):
            layer.weight.data = score
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.data = weight


def _share(graph: Any, group: Any, names: Mapping[nn.Module, str], shares: Mapping[str, float]) -> float:
    """The mean share of the layers that make the group's channels."""
    makers = {
        entry.target.module
        for entry, _ in group
        if graph.is_out_channel_pruning_fn(entry.handler)
        and isinstance(entry.target.module, (nn.Conv2d, nn.Linear))
        and not _depthwise(entry.target.module)
    }
    return sum(shares.get(names[module], 0.0) for module in makers) / len(makers) if makers else 0.0


def _smallest(group: Any, sparsity: float) -> list[int]:
    """The channels of `group` that go."""
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    importance = GroupMagnitudeImportance(
        p=1, group_reduction="sum", normalizer=None, target_types=[nn.modules.conv._ConvNd, nn.Linear]
    )
    scores = importance(group) if sparsity > 0.0 else None
    if scores is None or len(scores) == 0:
        return []
    # A grouped convolution must lose the same number from each group.
    lots = max(getattr(entry.target.module, "groups", 1) for entry, _ in group if not _depthwise(entry.target.module))
    per_lot = len(scores) // lots
    scores = scores.reshape(lots, per_lot).mean(0)
    unit = CHANNEL_MULTIPLE // math.gcd(CHANNEL_MULTIPLE, lots)
    kept = max(unit, unit * math.floor(per_lot * (1.0 - sparsity) / unit + 0.5))
    going = torch.argsort(scores, stable=True)[: max(0, per_lot - kept)]
    return [int(index) + lot * per_lot for lot in range(lots) for index in going]


def _depthwise(module: Any) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.in_channels


def _check_runs(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    try:
        with evaluating(model):
            model(*inputs)
    except RuntimeError as error:
        raise EdgelaneError(
            f"{type(model).__name__} no longer runs after channel pruning, because its code fixes a channel count: "
            f"{str(error).splitlines()[0]}; use a block pattern"
        ) from error


def weight_shapes(model: nn.Module) -> dict[str, list[int]]:
    """The shape of each module's own weight, by module name: what `resize_to` takes."""
    return {
        key.removesuffix(".weight"): list(parameter.shape)
        for key, parameter in model.named_parameters()
        if key.endswith(".weight")
    }


def resize_to(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give the layers of a freshly made `model` the channel counts of `shapes`, in place; their values are undefined
    after it.
    """
    for name, shape in shapes.items():
        module: Any = model.get_submodule(name)
        if list(module.weight.shape) == list(shape):
            continue
        if isinstance(module, nn.Conv2d):
            module.groups = shape[0] if _depthwise(module) else module.groups
            module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = shape
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.num_features = shape[0]
        elif isinstance(module, nn.PReLU):
            module.num_parameters = shape[0]
        else:
            raise EdgelaneError(f"{name}: cannot give a {type(module).__name__} the shape {tuple(shape)}")
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if tensor.dim() == 0:
                continue
            fresh = tensor.new_empty(shape if key == "weight" else shape[:1])
            setattr(
                module, key, nn.Parameter(fresh, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fresh
            )
