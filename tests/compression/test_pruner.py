import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import two_processes
from small_networks import Residual
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgelane.compression import Gradual, Iterative, Pruner, RigL, copy_masks, finalize, prune_model
from edgelane.compression.callback import PruningCallback
from edgelane.compression.masks import masked_layers, stored_weight
from edgelane.errors import EdgelaneError

INPUT = torch.zeros(1, 3, 16, 16)
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}


def masks(model: nn.Module) -> list[Tensor]:
    return [mask.mask.clone() for _, _, mask in masked_layers(model)]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def holds(model: nn.Module) -> bool:
    """Every weight outside of the masks is zero, and not all inside are."""
    return all(
        not module.weight[~mask.mask].any() and bool(module.weight[mask.mask].any())  # type: ignore[index, union-attr]
        for _, module, mask in masked_layers(model)
    )


def sparsity(model: nn.Module) -> float:
    every = torch.cat([mask.flatten() for mask in masks(model)])
    return float((~every).float().mean())


def pruned_with(schedule: Any, pattern: str = "4x4", importance: str = "l1", share: float = 0.75) -> nn.Module:
    torch.manual_seed(0)
    return prune_model(
        Residual(), share, pattern, example_inputs=INPUT, schedule=schedule, importance=importance
    ).train()


def loss_of(model: nn.Module, seed: int, autocast: bool = False) -> Tensor:
    torch.manual_seed(seed)
    x, y = torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = model(x)
    return nn.functional.cross_entropy(outputs.float(), y)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: range,
    after: Callable[[], None] = lambda: None,
    **options: Any,
) -> None:
    """A user's loop, which knows nothing of pruning."""
    for seed in steps:
        optimizer.zero_grad()
        loss_of(model, seed, **options).backward()
        optimizer.step()
        after()


def optimizer_of(model: nn.Module, name: str) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), **SGD)
    return torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1, fused=name == "fused")


SCHEDULES = [Gradual(steps=4, every=2), Iterative(rounds=2, steps_per_round=2, begin=1), RigL(steps=8, every=2)]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_masks_follow_the_optimiser_and_hold(schedule: Any, optimizer: str, autocast: bool) -> None:
    model = pruned_with(schedule)
    step = optimizer_of(model, optimizer)
    pruner = Pruner(model, step)
    start = masks(model)
    train(model, step, range(schedule.last), autocast=autocast)
    assert pruner.steps == schedule.last
    assert pruner.finished
    assert not same(start, masks(model))
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)
    reached = masks(model)
    train(model, step, range(5), autocast=autocast)
    assert same(reached, masks(model))
    assert holds(model)
    for _, module, mask in masked_layers(model):  # neither momentum nor weight decay moves what is stored behind a mask
        assert not stored_weight(module)[~mask.mask].any()


@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "2:4", "1:4"])
def test_rigl_regrows_where_the_dense_gradient_is_largest_from_zero(pattern: str) -> None:
    share = {"2:4": 0.5, "1:4": 0.75}.get(pattern, 0.75)
    model = pruned_with(RigL(steps=100, every=2, share=0.4), pattern, share=share)
    step = torch.optim.SGD(model.parameters(), **SGD)
    Pruner(model, step)
    train(model, step, range(1))
    before, twin = masks(model), finalize(model)  # a dense twin has the gradients of all weights
    loss_of(twin, 1).backward()
    weights = [module.weight.detach().clone() for _, module, _ in masked_layers(model)]  # type: ignore[operator, union-attr]
    train(model, step, range(1, 2))
    for (name, module, mask), old, weight in zip(masked_layers(model), before, weights, strict=True):
        come, gone = mask.mask & ~old, old & ~mask.mask
        assert 0 < int(come.sum()) == int(gone.sum()) <= 0.4 * int(old.sum())
        assert not module.weight[come].any()  # type: ignore[index]
        buffer = step.state[stored_weight(module)]["momentum_buffer"]
        assert not buffer[come | gone].any()
        assert buffer[mask.mask & old].any()
        if pattern == "unstructured":
            gradient = twin.get_submodule(name).weight.grad.abs()  # type: ignore[union-attr, operator]
            out = ~old & ~come
            assert float(gradient[come].min()) >= float(gradient[out].max()) * (1 - 1e-5)
        assert float(weight.abs()[gone].mean()) < float(weight.abs()[old].mean())
    train(model, step, range(2, 3))
    for (_, module, mask), old in zip(masked_layers(model), before, strict=True):
        assert module.weight[mask.mask & ~old].any()  # type: ignore[index]  # what came trains


def test_movement_keeps_what_moves_away_from_zero_and_lets_weights_return() -> None:
    model = pruned_with(Gradual(steps=12, every=1, initial=0.5), "unstructured", "movement")
    step = torch.optim.SGD(model.parameters(), 0.2)
    pruner = Pruner(model, step)
    name, module, mask = next(masked_layers(model))
    total = torch.zeros_like(module.weight)  # type: ignore[arg-type]
    returned = False
    for seed in range(12):
        before, stored = mask.mask.clone(), stored_weight(module).detach().clone()
        twin = finalize(model)
        loss_of(twin, seed).backward()
        total += -stored * twin.get_submodule(name).weight.grad  # type: ignore[operator, union-attr]
        train(model, step, range(seed, seed + 1))
        returned |= bool((mask.mask & ~before).any())
        assert torch.equal(stored_weight(module)[~before], stored[~before])  # SGD without decay leaves them alone
    torch.testing.assert_close(pruner.state_dict()["scores"][0], total, rtol=1e-3, atol=1e-6)
    assert returned
    assert float(total[mask.mask].min()) >= float(total[~mask.mask].max()) - 1e-6
    assert holds(model)


def test_taylor_follows_the_gradients_since_the_masks_last_moved() -> None:
    model = pruned_with(Gradual(steps=4, every=2), "unstructured", "taylor")
    step = torch.optim.SGD(model.parameters(), 0.05)
    Pruner(model, step)
    name, module, mask = next(masked_layers(model))
    total = torch.zeros_like(module.weight)  # type: ignore[arg-type]
    for seed in range(2):
        twin = finalize(model)
        loss_of(twin, seed).backward()
        weight = twin.get_submodule(name).weight
        total += (weight * weight.grad).square().detach()  # type: ignore[operator, union-attr]
        train(model, step, range(seed, seed + 1))
    assert int((~mask.mask).sum()) > 0
    assert float(total[mask.mask].min()) >= float(total[~mask.mask].max()) * (1 - 1e-4)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("schedule", [RigL(steps=9, every=2), Gradual(steps=4, every=2)], ids=["RigL", "movement"])
def test_a_step_that_the_scaler_skips_does_not_count(schedule: Any, fused: bool) -> None:
    """With a skipped step in it, a training ends as it does without: same masks, weights and scores."""

    def run(skip: bool) -> tuple[nn.Module, Pruner]:
        model = pruned_with(schedule, importance="l1" if isinstance(schedule, RigL) else "movement")
        step = torch.optim.AdamW(model.parameters(), 1e-2, fused=fused)
        pruner = Pruner(model, step)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for seed in range(4):
            for broken in (True, False) if skip and seed == 1 else (False,):
                step.zero_grad()
                scaler.scale(loss_of(model, seed) * (math.inf if broken else 1.0)).backward()
                counted = pruner.steps
                scaler.step(step)
                scaler.update()
                assert pruner.steps == counted + (not broken)
        return model, pruner

    for module in (plain := run(False), skipped := run(True)):
        for layer in module[0].modules():
            if isinstance(layer, nn.BatchNorm2d):  # the skipped batch did pass through the statistics
                layer.reset_running_stats()
    assert same(masks(plain[0]), masks(skipped[0]))
    # The scale is halved after the skip: powers of two change no bit.
    assert all(torch.equal(a, b) for a, b in zip(plain[0].parameters(), skipped[0].parameters(), strict=True))
    scores = [pruner.state_dict()["scores"] for _, pruner in (plain, skipped)]
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(*scores, strict=True))


def test_accumulated_batches_are_one_step_with_the_gradient_of_both() -> None:
    def run(halves: bool) -> nn.Module:
        model = pruned_with(RigL(steps=10, every=1), "unstructured").eval()  # BatchNorm sees halves alike
        step = torch.optim.SGD(model.parameters(), 0.05)
        pruner = Pruner(model, step)
        torch.manual_seed(1)
        x, y = torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))
        parts = ((x[:4], y[:4]), (x[4:], y[4:])) if halves else ((x, y),)
        for images, labels in parts:
            (nn.functional.cross_entropy(model(images), labels) / len(parts)).backward()
        step.step()
        assert pruner.steps == 1
        return model

    whole, halves = masks(run(False)), masks(run(True))
    agree = [float((a == b).float().mean()) for a, b in zip(whole, halves, strict=True)]
    assert min(agree) > 0.999  # but for gradients that tie in rounding


def test_a_closure_is_read_after_it_has_run() -> None:
    model = pruned_with(RigL(steps=10, every=1))
    step = torch.optim.SGD(model.parameters(), **SGD)
    Pruner(model, step)
    start = masks(model)

    def closure() -> Tensor:
        step.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    assert float(step.step(closure).detach()) > 0
    assert not same(start, masks(model))
    assert holds(model)


def test_rewinding_brings_back_the_surviving_weights_and_the_learning_rate() -> None:
    model = pruned_with(Iterative(rounds=2, steps_per_round=3, begin=2))
    step = torch.optim.SGD(model.parameters(), **SGD)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(step, T_max=5)
    pruner = Pruner(model, step, scheduler)
    rates = []

    def after() -> None:
        scheduler.step()
        rates.append(step.param_groups[0]["lr"])

    train(model, step, range(2), after)
    early = {name: value.clone() for name, value in model.state_dict().items() if not name.endswith("mask")}
    train(model, step, range(2, 5), after)
    assert pruner.sparsity == pytest.approx(0.5)
    for _, _, mask in masked_layers(model):
        assert float((~mask.mask).float().mean()) == pytest.approx(0.5, abs=0.02)
    kept = {f"{name}.parametrizations.weight.original": mask.mask for name, _, mask in masked_layers(model)}
    for name, value in early.items():
        expected = value * kept[name] if name in kept else value
        assert torch.equal(model.state_dict()[name], expected), name
    assert not step.state
    train(model, step, range(5, 8), after)
    assert pruner.finished
    assert rates[2:5] == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 5)) / 2 for t in (3, 4, 2)])
    # Each round passes through the same rates: those of steps 3 and 4, and at its end that of step 2 again.
    assert rates[5:8] == pytest.approx([rates[2], rates[3], rates[4]])
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)


def test_rewinding_the_learning_rate_alone_keeps_the_weights() -> None:
    model = pruned_with(Iterative(rounds=1, steps_per_round=3, rewind="learning_rate"))
    step = torch.optim.SGD(model.parameters(), **SGD)
    scheduler = torch.optim.lr_scheduler.StepLR(step, 1, gamma=0.5)
    Pruner(model, step, scheduler)
    start = stored_weight(next(masked_layers(model))[1]).detach().clone()
    train(model, step, range(3), scheduler.step)
    assert step.param_groups[0]["lr"] == 0.025  # rewound to 0.05, then one step of the scheduler
    _, module, mask = next(masked_layers(model))
    assert not torch.equal(stored_weight(module)[mask.mask], start[mask.mask])
    assert step.state


@pytest.mark.parametrize(
    ("schedule", "importance"),
    [
        (Gradual(steps=8, every=3), "movement"),
        (Gradual(steps=8, every=3), "taylor"),
        (Iterative(rounds=2, steps_per_round=3, begin=1), "l2"),
        (RigL(steps=20, every=2), "l1"),
    ],
)
def test_a_resumed_training_is_the_same_to_the_bit(schedule: Any, importance: str, tmp_path: Path) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer, Pruner]:
        model = pruned_with(schedule, importance=importance)
        step = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
        return model, step, Pruner(model, step)

    model, step, pruner = make()
    train(model, step, range(5))
    torch.save(
        {"model": model.state_dict(), "step": step.state_dict(), "pruner": pruner.state_dict()}, tmp_path / "s.pt"
    )
    train(model, step, range(5, 10))

    resumed, other, follower = make()
    saved = torch.load(tmp_path / "s.pt", weights_only=True)
    resumed.load_state_dict(saved["model"])
    other.load_state_dict(saved["step"])
    follower.load_state_dict(saved["pruner"])
    train(resumed, other, range(5, 10))
    assert follower.steps == pruner.steps == 10
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_averaged_weights_keep_the_zeros_of_masks_that_move(schedule: Any) -> None:
    model = pruned_with(schedule)
    averages = [
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5)),
        AveragedModel(model),
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True),
    ]
    step = torch.optim.SGD(model.parameters(), **SGD)
    Pruner(model, step)

    def after() -> None:
        for average in averages:
            average.update_parameters(model)
        assert same(masks(averages[0]), masks(model))

    train(model, step, range(8), after)
    copy_masks(model, averages[2])
    for average in averages:
        assert holds(average)
        assert same(masks(average), masks(model))
        weights = [module.weight for _, module, _ in masked_layers(finalize(average.module))]
        assert not weights  # plain modules
        assert not torch.equal(average.module.first[0].weight, model.first[0].weight)


def test_a_copy_of_a_followed_model_has_masks_of_its_own() -> None:
    model = pruned_with(RigL(steps=20, every=2))
    step = torch.optim.SGD(model.parameters(), **SGD)
    Pruner(model, step)
    train(model, step, range(1))
    copied = copy.deepcopy(model)
    before = masks(copied)
    train(model, step, range(1, 4))
    assert same(masks(copied), before)
    assert not same(masks(model), before)
    other = pruned_with(RigL(steps=20, every=2))
    other.load_state_dict(model.state_dict())
    assert same(masks(other), masks(model))


def test_a_pruner_that_is_removed_follows_no_longer() -> None:
    model = pruned_with(Gradual(steps=4, every=1))
    step = torch.optim.SGD(model.parameters(), **SGD)
    pruner = Pruner(model, step)
    pruner.remove()
    train(model, step, range(3))
    assert pruner.steps == 0
    pruner.finish()
    assert pruner.finished
    assert sparsity(model) == pytest.approx(0.75, abs=0.01)


class Module(pl.LightningModule):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        step = torch.optim.SGD(self.model.parameters(), **SGD)
        return [step], [torch.optim.lr_scheduler.StepLR(step, 1)]


def fit(model: nn.Module, folder: Path, epochs: int, resume: str | None = None) -> str:
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(24, 3, 16, 16), torch.randint(0, 5, (24,)))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[PruningCallback()],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(model), torch.utils.data.DataLoader(data, 4), ckpt_path=resume)
    path = str(folder / f"{epochs}.ckpt")
    trainer.save_checkpoint(path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_lightning_prunes_with_accumulated_batches_and_resumes(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return pruned_with(RigL(steps=12, every=2))

    whole, part, resumed = make(), make(), make()
    fit(whole, tmp_path, 3)  # 6 batches, so 3 steps in each epoch
    path = fit(part, tmp_path, 1)
    fit(resumed, tmp_path, 3, path)
    state = torch.load(tmp_path / "3.ckpt", weights_only=False)["callbacks"]["PruningCallback"]
    assert state["steps"] == 9
    assert not same(masks(part), masks(whole))
    assert same(masks(resumed), masks(whole))
    assert holds(whole)


def test_every_process_has_the_same_masks(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(two_processes.work, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert one["steps"] == other["steps"] == 4
    assert same(one["rigl"], other["rigl"])
    assert not same(one["gradient"], other["gradient"])  # they saw different data
    assert same(one["taylor"], other["taylor"])
    assert not same(one["start"], one["rigl"][: len(one["start"])])


@pytest.mark.parametrize(
    ("schedule", "importance", "message"),
    [
        (RigL(steps=5), "l1", "RigL needs the optimiser"),
        (Gradual(steps=5), "taylor", "importance taylor needs the optimiser"),
        (Iterative(1, 5), "l1", "rewind='weights' needs the optimiser"),
    ],
)
def test_what_needs_the_optimiser_says_so(schedule: Any, importance: str, message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        Pruner(pruned_with(schedule, importance=importance))


def test_mistakes_are_named() -> None:
    model = pruned_with(Gradual(steps=5))
    with pytest.raises(EdgelaneError, match="holds none of the masked weights"):
        Pruner(model, torch.optim.SGD(Residual().parameters(), 0.1))
    with pytest.raises(EdgelaneError, match="leave step"):
        Pruner(model, torch.optim.SGD(model.parameters(), 0.1)).step()
    with pytest.raises(EdgelaneError, match="belongs to another model: expected 4 masked weights, found 0"):
        Pruner(model).load_state_dict({"steps": 1, "scores": [], "remembered": None})
    late = pruned_with(Iterative(1, 5, rewind="learning_rate"))
    with pytest.raises(EdgelaneError, match="needs the scheduler"):
        Pruner(late, torch.optim.SGD(late.parameters(), 0.1))
    mixed = prune_model(model, {"classifier": 0.5}, "unstructured", example_inputs=INPUT, schedule=Gradual(steps=9))
    with pytest.raises(EdgelaneError, match="follow one schedule, found 2"):
        Pruner(mixed)
