import math

import pytest
import torch
from small_networks import Residual, randomised
from torch import Tensor, nn

from edgelane.compression import IMPORTANCES, prune_model
from edgelane.compression.importance import scores
from edgelane.errors import EdgelaneError

INPUT = torch.zeros(1, 3, 16, 16)


class TwoWeights(nn.Module):
    """y = w . x with w = (2, -1), so that the gradient of the sum of outputs is the sum of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[2.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def total(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * targets).sum()


BATCHES = [(torch.tensor([[1.0, 5.0]]), torch.ones(1)), (torch.tensor([[3.0, 0.0]]), torch.ones(1))]


@pytest.mark.parametrize(
    ("importance", "expected"),
    [
        ("l1", [2.0, 1.0]),
        ("l2", [4.0, 1.0]),
        ("taylor", [((2 * 1) ** 2 + (2 * 3) ** 2) / 2, ((-1 * 5) ** 2 + 0) / 2]),
        ("movement", [-(2 * 1 + 2 * 3), -(-1 * 5)]),
    ],
)
def test_scores_by_hand(importance: str, expected: list[float]) -> None:
    found = scores(TwoWeights(), ["layer"], importance, batches=BATCHES, loss=total)
    assert found["layer"].tolist() == [expected]


def test_gradients_that_are_not_finite_do_not_count() -> None:
    broken = (torch.tensor([[math.inf, 1.0]]), torch.ones(1))
    for importance in ("taylor", "movement"):
        clean = scores(TwoWeights(), ["layer"], importance, batches=BATCHES, loss=total)
        mixed = scores(TwoWeights(), ["layer"], importance, batches=[broken, *BATCHES], loss=total)
        assert torch.equal(clean["layer"], mixed["layer"])
        with pytest.raises(EdgelaneError, match="all 1 had gradients that are not finite"):
            scores(TwoWeights(), ["layer"], importance, batches=[broken], loss=total)


def test_scoring_leaves_gradients_modes_and_frozen_weights_alone() -> None:
    model = randomised(Residual()).train()
    model.first.eval()
    model.first[0].weight.requires_grad_(False)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batches = [(torch.randn(4, 3, 16, 16), torch.randint(0, 5, (4,)))]
    found = scores(model, ["first.0"], "taylor", batches=batches, loss=nn.functional.cross_entropy)
    assert float(found["first.0"].sum()) > 0
    assert not model.first[0].weight.requires_grad
    assert model.training
    assert not model.first.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_random_is_the_same_for_the_same_seed_only() -> None:
    first, again, other = (
        scores(Residual(), ["first.0", "second.0"], "random", seed=seed)["second.0"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Tied(nn.Module):
    """Two layers with one weight between a stem and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.two.weight = self.one.weight
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.two(torch.relu(self.one(self.stem(x)))))
        return self.classifier(x.mean((2, 3)))


def test_layers_that_share_a_weight_share_scores_and_mask() -> None:
    batches = [(torch.randn(4, 3, 16, 16), torch.randint(0, 5, (4,)))]
    loss = nn.functional.cross_entropy
    torch.manual_seed(0)
    model = Tied()
    found = scores(model, ["one", "two"], "movement", batches=batches, loss=loss)
    assert torch.equal(found["one"], found["two"])
    loss(model(batches[0][0]), batches[0][1]).backward()
    weight, gradient = model.one.weight.detach(), model.one.weight.grad
    assert gradient is not None
    torch.testing.assert_close(found["one"], -weight * gradient)  # of both uses together

    pruned = prune_model(model, 0.5, "4x4", example_inputs=INPUT, importance="taylor", batches=batches, loss=loss)
    assert pruned.one.parametrizations.weight[0] is pruned.two.parametrizations.weight[0]
    assert torch.equal(pruned.one.weight, pruned.two.weight)
    assert float((pruned.one.weight == 0).float().mean()) == 0.5


def test_a_weight_shared_with_a_dense_layer_stays_dense() -> None:
    with pytest.raises(EdgelaneError, match="two: shares its weight with one, which stays dense"):
        prune_model(Tied(), 0.5, "4x4", example_inputs=INPUT, skip=("one",))


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_what_is_pruned_goes_first_again(importance: str) -> None:
    model = prune_model(randomised(Residual()), 0.5, "4x4", example_inputs=INPUT)
    batches = [(torch.randn(4, 3, 16, 16), torch.randint(0, 5, (4,)))]
    twice = prune_model(
        model,
        0.75,
        "4x4",
        example_inputs=INPUT,
        importance=importance,
        batches=batches,
        loss=nn.functional.cross_entropy,
    )
    for name in ("first.0", "second.0"):
        gone = model.get_submodule(name).weight == 0
        assert not (twice.get_submodule(name).weight[gone] != 0).any()
        assert float((twice.get_submodule(name).weight == 0).float().mean()) == 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"importance": "l3"}, "unknown importance 'l3'; expected one of l1, l2, taylor, movement, random"),
        ({"importance": "taylor"}, "importance taylor follows from gradients: give batches"),
        ({"importance": "movement", "batches": [], "loss": total}, "needs batches: there were none"),
        ({"importance": "taylor", "batches": [torch.zeros(2)] * 2, "loss": total}, "a batch is .inputs, targets."),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        prune_model(Residual(), 0.5, "4x4", example_inputs=INPUT, **arguments)  # type: ignore[arg-type]
