"""What each of two processes does in `test_pruner`; apart, so that they import little."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgelane.compression import Gradual, Pruner, RigL, prune_model
from edgelane.compression.masks import masked_layers, stored_weight


def work(rank: int, folder: str) -> None:
    """RigL under DDP; then Taylor scores where nothing but the scores is averaged. Results in folder/RANK.pt."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    result: dict[str, Any] = {}
    model = _pruned(RigL(steps=20, every=2), "4x1", "l1")
    result["start"] = [mask.mask.clone() for _, _, mask in masked_layers(model)]
    parallel = nn.parallel.DistributedDataParallel(model)
    step = torch.optim.SGD(parallel.parameters(), 0.05, momentum=0.9)
    pruner = Pruner(parallel, step)
    _train(parallel, step, range(100 * rank, 100 * rank + 4))
    masks = [mask.mask for _, _, mask in masked_layers(model)]
    result["rigl"] = [*masks, *(parameter.detach() for parameter in model.parameters())]
    result["steps"] = pruner.steps

    model = _pruned(Gradual(steps=3, every=3), "unstructured", "taylor")
    step = torch.optim.SGD(model.parameters(), lr=1e-9)
    Pruner(model, step)
    _train(model, step, range(100 * rank, 100 * rank + 3))
    result["taylor"] = [mask.mask for _, _, mask in masked_layers(model)]
    result["gradient"] = [stored_weight(module).grad for _, module, _ in masked_layers(model)]
    torch.save(result, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def _pruned(schedule: Any, pattern: str, importance: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    example = torch.zeros(1, 3, 8, 8)
    return prune_model(model, 0.75, pattern, example_inputs=example, schedule=schedule, importance=importance)


def _train(model: nn.Module, step: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        torch.manual_seed(seed)
        step.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.randint(0, 5, (8,))).backward()
        step.step()
