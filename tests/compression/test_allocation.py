import pytest
import torch
from small_networks import Residual, randomised
from torch import nn

from edgelane.compression import allocate, prune_model, rebuild, record_of
from edgelane.compression.allocation import erk, global_shares
from edgelane.compression.masks import masked_layers
from edgelane.compression.patterns import PATTERNS
from edgelane.errors import EdgelaneError

INPUT = torch.zeros(1, 3, 16, 16)
NAMES = ["first.0", "second.0", "shortcut.0", "mix.0"]


def removed(model: nn.Module) -> dict[str, float]:
    return {name: float((module.weight == 0).float().mean()) for name, module, _ in masked_layers(model)}  # type: ignore[union-attr]


def removed_in_all(model: nn.Module) -> float:
    weights = torch.cat([module.weight.flatten() for _, module, _ in masked_layers(model)])  # type: ignore[operator, union-attr]
    return float((weights == 0).float().mean())


def test_erk_by_hand() -> None:
    # Ratios (4+4+1+1)/16 and (16+16+3+3)/2304; 1 % of 2320 weights are 23.2, so the factor is 23.2/48.
    shares = erk({"small": (4, 4, 1, 1), "large": (16, 16, 3, 3)}, 0.99)
    assert shares["small"] == pytest.approx(1 - 23.2 / 48 * 10 / 16)
    assert shares["large"] == pytest.approx(1 - 23.2 / 48 * 38 / 2304)


def test_erk_keeps_a_layer_dense_and_the_others_share_the_rest() -> None:
    # At 90 %, the small layer's density would be 232/48 * 10/16 = 3.02: it keeps its 16 weights, the large one has 216.
    shares = erk({"small": (4, 4, 1, 1), "large": (16, 16, 3, 3)}, 0.9)
    assert shares == {"small": 0.0, "large": pytest.approx(1 - 216 / 2304)}


def test_global_compares_layers_by_their_own_scale() -> None:
    found = {"a": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "b": torch.tensor([[10.0, 20.0, 30.0, 1000.0]])}
    # Normalised, a is 0.37 0.73 1.10 1.46 and b is 0.02 0.04 0.06 2.00; raw, b would lose none.
    unstructured = PATTERNS["unstructured"]
    assert global_shares(found, 0.5, unstructured) == {"a": 0.25, "b": 0.75}
    assert global_shares(found, 0.5, unstructured, "taylor") == {"a": 0.75, "b": 0.25}  # raw, but the best stays


def test_global_empties_no_layer() -> None:
    found = {"weak": torch.full((4, 4), 1e-6), "strong": torch.arange(1.0, 17.0).reshape(4, 4)}
    for name in ("unstructured", "4x1"):
        shares = global_shares(found, 0.5, PATTERNS[name], "taylor")
        assert shares["weak"] == {"unstructured": 15 / 16, "4x1": 3 / 4}[name]
    assert global_shares(found, 0.999, PATTERNS["unstructured"]) == {"weak": 15 / 16, "strong": 15 / 16}


@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "1x4", "4x4"])
@pytest.mark.parametrize("allocation", ["uniform", "global", "erk"])
def test_the_whole_loses_what_was_asked_in_the_shares_that_allocate_gives(allocation: str, pattern: str) -> None:
    model = randomised(Residual())
    with torch.no_grad():  # so that layers differ
        model.first[0].weight[4:] *= 0.01
    shares = allocate(model, 0.7, pattern, example_inputs=INPUT, allocation=allocation)
    pruned = prune_model(model, 0.7, pattern, example_inputs=INPUT, allocation=allocation)
    assert list(shares) == NAMES
    assert 0.7 - 1e-3 <= removed_in_all(pruned) <= 0.71
    for name, share in removed(pruned).items():
        assert share == pytest.approx(shares[name], abs=0.021)  # whole blocks: a layer has 48 of 4x4 at least
    if allocation == "global":
        assert shares["first.0"] > 0.8
    assert record_of(pruned)["pruning"]["allocation"] == allocation


def test_n_of_m_has_one_share_whatever_the_allocation() -> None:
    for allocation in ("uniform", "global", "erk"):
        shares = allocate(Residual(), 0.75, "1:4", example_inputs=INPUT, allocation=allocation)
        assert shares == dict.fromkeys(NAMES, 0.75)


def test_a_mapping_takes_the_place_of_an_allocation() -> None:
    shares = {"classifier": 0.5, "first.0": 0.75, "mix.0": 0.0}
    pruned = prune_model(randomised(Residual()), shares, "unstructured", example_inputs=INPUT)
    assert removed(pruned) == {"first.0": 0.75, "classifier": pytest.approx(0.5)}
    record = record_of(pruned)["pruning"]
    assert record["layers"] == ["first.0", "classifier"]
    assert record["sparsity"] == pytest.approx((0.75 * 4608 + 0.5 * 120) / 4728)
    assert record["allocation"] == "given"


@pytest.mark.parametrize("finalized", [False, True])
def test_each_layer_may_have_a_pattern_of_its_own_and_rebuild_knows(finalized: bool) -> None:
    from edgelane.compression import finalize

    shares = {"first.0": 0.75, "second.0": 0.5, "mix.0": 0.5}
    patterns = {"first.0": "4x4", "second.0": "2:4", "mix.0": "1x4"}
    pruned = prune_model(randomised(Residual()), shares, patterns, example_inputs=INPUT).eval()
    assert record_of(pruned)["pruning"]["pattern"] == "mixed"
    fours = (pruned.second[0].weight != 0).reshape(32, 8, 4, 9).sum(2)
    assert (fours == 2).all()
    stored = finalize(pruned) if finalized else pruned
    rebuilt = rebuild(Residual(), record_of(pruned), stored.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(rebuilt(x), pruned(x))
    assert {name: mask.pattern.name for name, _, mask in masked_layers(rebuilt)} == patterns


def test_masks_of_an_earlier_call_stay_and_are_recorded() -> None:
    once = prune_model(randomised(Residual()), {"first.0": 0.75}, "4x4", example_inputs=INPUT)
    twice = prune_model(once, {"second.0": 0.5}, "1x4", example_inputs=INPUT).eval()
    assert removed(twice) == {"first.0": 0.75, "second.0": 0.5}
    assert record_of(twice)["pruning"]["patterns"] == {"first.0": "4x4", "second.0": "1x4"}
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(rebuild(Residual(), record_of(twice), twice.state_dict())(x), twice(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"allocation": "even"}, "unknown allocation 'even'; expected one of uniform, global, erk"),
        ({"sparsity": {"first": 0.5}}, "first cannot be pruned in pattern 4x4: it is a module that holds layers"),
        ({"sparsity": {"nothing": 0.5}}, "no convolution or linear layer named 'nothing'"),
        (
            {"sparsity": {"depthwise.0": 0.5}},
            "depthwise.0 cannot be pruned in pattern 4x4: 1 output",
        ),
        ({"sparsity": {"first.0": 1.5}}, "below 1, got 1.5"),
        ({"sparsity": {"first.0": 0.0}}, "names no layer with a share above 0"),
        ({"sparsity": {"first.0": 0.5}, "pattern": {}}, "no pattern for first.0"),
        ({"pattern": {"first.0": "4x4"}}, "patterns by layer need sparsities by layer"),
        (
            {"sparsity": {"first.0": 0.5, "mix.0": 0.5}, "pattern": {"first.0": "channel", "mix.0": "4x4"}},
            "pattern channel cannot stand beside others",
        ),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        prune_model(Residual(), **{"sparsity": 0.5, "pattern": "4x4", "example_inputs": INPUT, **arguments})  # type: ignore[arg-type]
