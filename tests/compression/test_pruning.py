import copy

import pytest
import torch
from small_networks import Residual, randomised
from torch import nn

from edgelane.compression import (
    Gradual,
    Pruner,
    allocate,
    choose_layers,
    describe,
    finalize,
    prune_model,
    rebuild,
    record_of,
)
from edgelane.compression.masks import masked_layers
from edgelane.errors import EdgelaneError

INPUT = torch.zeros(1, 3, 16, 16)
PRUNED = ["first.0", "second.0", "shortcut.0", "mix.0"]


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: model.get_submodule(name).weight.detach() == 0 for name in PRUNED}


def train(
    model: nn.Module, steps: int, optimizer: str = "sgd", autocast: bool = False, pruner: Pruner | None = None
) -> None:
    torch.manual_seed(0)
    model.train()
    parameters = list(model.parameters())
    step = (
        torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=1e-3)
        if optimizer == "sgd"
        else torch.optim.AdamW(parameters, 1e-2, weight_decay=0.1)
    )
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 16, 16)).float(), torch.randint(0, 5, (8,)))
        step.zero_grad()
        loss.backward()
        step.step()
        if pruner is not None:
            pruner.step()


@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "1x4", "4x4"])
def test_every_layer_loses_the_same_share_and_the_rest_stays(pattern: str) -> None:
    model = Residual()
    before = copy.deepcopy(model.state_dict())
    pruned = prune_model(model, 0.75, pattern, example_inputs=INPUT)
    for name, gone in zeros(pruned).items():
        assert 0.75 <= float(gone.float().mean()) < 0.78, name
    for name in ("stem.0", "depthwise.0", "classifier"):
        assert torch.equal(pruned.get_submodule(name).weight, before[f"{name}.weight"])
    assert all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )  # the argument is untouched


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_zeros_survive_optimiser_steps_and_the_rest_trains(optimizer: str, autocast: bool) -> None:
    pruned = prune_model(Residual(), 0.8, "4x4", example_inputs=INPUT)
    before = zeros(pruned)
    weight = pruned.get_submodule("first.0").weight.detach().clone()
    train(pruned, 5, optimizer, autocast)
    assert all(torch.equal(gone, before[name]) for name, gone in zeros(pruned).items())
    changed = pruned.get_submodule("first.0").weight.detach() != weight
    assert changed[~before["first.0"]].all()


def test_momentum_from_before_a_mask_does_not_revive_a_weight() -> None:
    pruned = prune_model(Residual(), 0.8, "4x4", example_inputs=INPUT, schedule=Gradual(steps=4, every=1))
    pruner = Pruner(pruned)
    train(pruned, 4, pruner=pruner)
    assert pruner.finished
    before = zeros(pruned)
    train(pruned, 4)
    assert all(torch.equal(gone, before[name]) for name, gone in zeros(pruned).items())
    assert all(float(gone.float().mean()) >= 0.8 for gone in before.values())


def test_masks_survive_state_dict_and_deepcopy() -> None:
    pruned = prune_model(randomised(Residual()), 0.8, "4x4", example_inputs=INPUT).eval()
    other = prune_model(Residual(), 0.8, "4x4", example_inputs=INPUT).eval()
    other.load_state_dict(pruned.state_dict())
    copied = copy.deepcopy(pruned)
    x = torch.randn(2, 3, 16, 16)
    for model in (other, copied):
        assert torch.equal(model(x), pruned(x))
        before = zeros(model)
        train(model, 2)
        assert all(torch.equal(gone, before[name]) for name, gone in zeros(model).items())
    assert torch.equal(zeros(pruned)["first.0"], before["first.0"])  # training the copies left the original alone


def test_finalize_gives_plain_modules_and_leaves_the_original_masked() -> None:
    pruned = prune_model(randomised(Residual()), 0.8, "1x4", example_inputs=INPUT).eval()
    final = finalize(pruned)
    assert set(final.state_dict()) == set(Residual().state_dict())
    assert {type(module) for module in final.modules()} <= {type(module) for module in Residual().modules()}
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(final(x), pruned(x))
    assert len(list(masked_layers(pruned))) == len(PRUNED)
    assert not list(masked_layers(final))


@pytest.mark.parametrize("plain", [False, True])
def test_rebuild_restores_outputs_and_masks(plain: bool) -> None:
    pruned = prune_model(randomised(Residual()), 0.8, "4x4", example_inputs=INPUT).eval()
    stored = finalize(pruned) if plain else pruned
    rebuilt = rebuild(Residual(), record_of(pruned), stored.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(rebuilt(x), pruned(x))
    before = zeros(rebuilt)
    train(rebuilt, 2)
    assert all(torch.equal(gone, before[name]) for name, gone in zeros(rebuilt).items())


def test_rebuild_refuses_what_does_not_belong_together() -> None:
    pruned = prune_model(Residual(), 0.8, "4x4", example_inputs=INPUT)
    with pytest.raises(EdgelaneError, match="does not fit Residual"):
        rebuild(Residual(width=24), record_of(pruned), pruned.state_dict())
    with pytest.raises(EdgelaneError, match="does not fit Residual"):
        rebuild(Residual(), {"pruning": {"pattern": "4x4"}}, pruned.state_dict())


def test_a_pruner_follows_its_schedule_and_resumes() -> None:
    pruned = prune_model(Residual(), 0.8, "4x4", example_inputs=INPUT, schedule=Gradual(steps=10, every=2))
    assert not any(gone.any() for gone in zeros(pruned).values())
    pruner = Pruner(pruned)
    shares = []
    for _ in range(5):
        pruner.step()
        shares.append(float(zeros(pruned)["first.0"].float().mean()))
    assert shares[0] == 0.0
    assert shares[1] == shares[2] < shares[3] == shares[4] < 0.8
    other = prune_model(Residual(), 0.8, "4x4", example_inputs=INPUT, schedule=Gradual(steps=10, every=2))
    other.load_state_dict(pruned.state_dict())
    resumed = Pruner(other)
    resumed.load_state_dict(pruner.state_dict())
    before = zeros(other)["first.0"]
    for _ in range(5):
        resumed.step()
    assert resumed.finished
    after = zeros(other)["first.0"]
    assert float(after.float().mean()) >= 0.8
    assert not (before & ~after).any()


def test_a_model_without_a_schedule_has_no_pruner() -> None:
    with pytest.raises(EdgelaneError, match="schedule=Gradual"):
        Pruner(prune_model(Residual(), 0.5, "4x4", example_inputs=INPUT))


def test_stem_final_layer_and_depthwise_stay_dense_unless_asked() -> None:
    reasons = {choice.name: choice.reason for choice in choose_layers(Residual(), "unstructured", example_inputs=INPUT)}
    assert reasons == {
        "stem.0": "stem",
        "first.0": "",
        "second.0": "",
        "shortcut.0": "",
        "depthwise.0": "depthwise",
        "mix.0": "",
        "classifier": "final layer",
    }
    model = prune_model(
        Residual(),
        0.5,
        "unstructured",
        example_inputs=INPUT,
        include=("stem", "depthwise.0", "classifier"),
        skip=("mix",),
    )
    names = [name for name, _, _ in masked_layers(model)]
    assert names == ["stem.0", "first.0", "second.0", "shortcut.0", "depthwise.0", "classifier"]


def test_layers_that_cannot_take_the_pattern_are_named() -> None:
    message = r"1 layers cannot take pattern 2:4 .*depthwise\.0: 1 input channels"
    for prune in (prune_model, allocate):
        with pytest.warns(UserWarning, match=message) as caught:
            prune(Residual(), 0.5, "2:4", example_inputs=INPUT, include=("depthwise",))
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "below 1"),
        ({"pattern": "3x3"}, "unknown sparsity pattern '3x3'"),
        ({"skip": ("no_such",)}, "skip: the model runs no convolution or linear layer named 'no_such'"),
        ({"example_inputs": torch.zeros(1, 4, 16, 16)}, r"does not run on example_inputs of shape \(1, 4, 16, 16\)"),
        ({"example_inputs": "image"}, "example_inputs must be a tensor"),
        ({"pattern": "channel", "schedule": Gradual(steps=3)}, "takes no schedule"),
        ({"skip": ("first", "second", "shortcut", "mix")}, "no layer of the model can be pruned"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        prune_model(Residual(), **{"sparsity": 0.5, "pattern": "4x4", "example_inputs": INPUT, **arguments})  # type: ignore[arg-type]


def test_pruning_again_tightens_the_same_masks() -> None:
    once = prune_model(Residual(), 0.5, "4x4", example_inputs=INPUT)
    twice = prune_model(once, 0.8, "4x4", example_inputs=INPUT)
    for name, gone in zeros(once).items():
        assert not (gone & ~zeros(twice)[name]).any()
    assert record_of(twice)["pruning"]["sparsity"] == 0.8


def test_channel_pruning_shrinks_coupled_layers_to_multiples_of_eight() -> None:
    pruned = prune_model(randomised(Residual()), 0.5, "channel", example_inputs=INPUT)
    shapes = {
        name: tuple(module.weight.shape) for name, module in pruned.named_modules() if isinstance(module, nn.Conv2d)
    }
    assert shapes["stem.0"] == (16, 3, 3, 3)  # the stem is left whole
    assert shapes["first.0"] == (16, 16, 3, 3)
    assert shapes["second.0"] == (16, 16, 3, 3)
    assert shapes["shortcut.0"] == (16, 16, 1, 1)  # joined with `second` by the add
    assert shapes["depthwise.0"] == (16, 1, 3, 3)
    assert shapes["mix.0"] == (16, 16, 1, 1)  # 12 of 24, rounded to a multiple of 8
    totals = describe(pruned, INPUT).totals
    assert totals["macs"] == 16 * 27 * 256 + (2 * 16 * 16 * 9 + 16 * 16 + 16 * 9 + 16 * 16) * 16 + 16 * 5
    assert totals["density"] == 1.0
    rebuilt = rebuild(Residual(), record_of(pruned), pruned.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(rebuilt(x), pruned.eval()(x))


def kept_channels(model: nn.Module, original: nn.Module) -> list[int]:
    """Which of the original's channels `mix.0` still makes, told by its biases."""
    biases = original.mix[0].bias.tolist()  # type: ignore[index, operator, union-attr]
    return [biases.index(value) for value in model.mix[0].bias.tolist()]  # type: ignore[index, operator, union-attr]


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "random"])
def test_channels_go_by_the_importance_that_was_asked_for(importance: str) -> None:
    model = randomised(Residual())
    layer, reader = model.mix[0], model.classifier
    batches = [(torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))) for _ in range(2)]
    with torch.no_grad():  # even ones have many middling weights, odd ones a large one: L1 and L2 differ
        layer.weight.copy_(torch.rand(24, 32, 1, 1) * 0.1 + 0.2)
        layer.weight[1::2] = 0.01
        layer.weight[1::2, 0] = 4.0
        reader.weight.fill_(1e-3)
    expected = {"l1": range(0, 24, 2), "l2": range(1, 24, 2)}
    if importance == "taylor":
        total = [torch.zeros(24)]
        for images, labels in batches:
            model.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            made = (layer.weight * layer.weight.grad).square().sum((1, 2, 3))
            total[0] += (made + (reader.weight * reader.weight.grad).square().sum(0)).detach()
        model.zero_grad()
    seeds = [0, 0, 1] if importance == "random" else [0]
    found = []
    for seed in seeds:
        pruned = prune_model(
            model,
            0.34,
            "channel",
            example_inputs=INPUT,
            importance=importance,
            batches=batches,
            loss=nn.functional.cross_entropy,
            skip=("first", "second", "shortcut"),
            seed=seed,
        )
        assert tuple(pruned.mix[0].weight.shape) == (16, 32, 1, 1)  # 15.8 to the nearest multiple of 8
        found.append(kept_channels(pruned, model))
    if importance == "random":
        assert found[0] == found[1] != found[2]
    elif importance == "taylor":
        assert found[0] == sorted(total[0].argsort(descending=True)[:16].tolist())
    else:
        assert set(expected[importance]) <= set(found[0])


def test_channel_shares_by_layer_are_averaged_where_layers_are_coupled() -> None:
    model = randomised(Residual())
    pruned = prune_model(model, {"second.0": 0.75, "shortcut.0": 0.25}, "channel", example_inputs=INPUT)
    assert pruned.second[0].weight.shape[0] == pruned.shortcut[0].weight.shape[0] == 16  # half of 32
    assert pruned.depthwise[0].weight.shape[0] == 16
    assert pruned.first[0].weight.shape == model.first[0].weight.shape  # not named, not pruned
    assert pruned.mix[0].weight.shape == (24, 16, 1, 1)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(rebuild(Residual(), record_of(pruned), pruned.state_dict())(x), pruned.eval()(x))
    stem = prune_model(model, {"stem.0": 0.5}, "channel", example_inputs=INPUT)
    assert stem.stem[0].weight.shape == (8, 3, 3, 3)


@pytest.mark.parametrize("allocation", ["global", "erk"])
def test_channels_may_be_allocated_unevenly(allocation: str) -> None:
    model = randomised(Residual())
    with torch.no_grad():
        model.first[0].weight[4:] *= 1e-3
    shares = allocate(model, 0.5, "channel", example_inputs=INPUT, allocation=allocation)
    assert (
        shares["first.0"] > 0.8 if allocation == "global" else shares["second.0"] > shares["first.0"] > shares["mix.0"]
    )
    pruned = prune_model(model, 0.5, "channel", example_inputs=INPUT, allocation=allocation)
    kept = pruned.first[0].weight.shape[0]
    assert kept == max(8, 8 * round(32 * (1 - shares["first.0"]) / 8))
    pruned(torch.randn(2, 3, 16, 16))


def test_channel_pruning_takes_no_movement() -> None:
    with pytest.raises(EdgelaneError, match="takes the importance l1, l2, taylor or random, got movement"):
        prune_model(Residual(), 0.5, "channel", example_inputs=INPUT, importance="movement")


def test_describe_counts_macs_by_hand() -> None:
    description = describe(prune_model(Residual(), 0.75, "4x4", example_inputs=INPUT), torch.zeros(3, 3, 16, 16))
    rows = {row["name"]: row for row in description.layers}
    assert rows["stem.0"]["dense_macs"] == rows["stem.0"]["macs"] == 16 * 3 * 9 * 16 * 16
    assert rows["first.0"]["dense_macs"] == 32 * 16 * 9 * 4 * 4
    assert rows["first.0"]["macs"] == rows["first.0"]["nonzero"] * 16
    assert rows["first.0"]["density"] == 0.25
    assert rows["depthwise.0"]["dense_macs"] == 32 * 9 * 16
    assert rows["classifier"]["macs"] == 24 * 5
    assert rows["classifier"]["params"] == 24 * 5 + 5
    assert description.totals["macs"] == sum(row["macs"] for row in description.layers)
    assert description.totals["params"] == sum(parameter.numel() for parameter in Residual().parameters())
