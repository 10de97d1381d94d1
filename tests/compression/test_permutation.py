import copy
import itertools

import pytest
import torch
from small_networks import Branches, Residual, randomised
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from edgelane.compression import prune_model
from edgelane.compression.choice import prunable_layers
from edgelane.compression.patterns import pattern_named
from edgelane.compression.permutation import permute_channels
from edgelane.errors import EdgelaneError

INPUT = torch.zeros(1, 3, 16, 16)


class Concatenated(nn.Module):
    """Two branches whose concatenation is normalised, convolved and added: 3 x 16 x 16 in, 5 out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.left = nn.Conv2d(16, 10, 3, padding=1)  # 10: the second branch starts within a group of four
        self.right = nn.Conv2d(16, 14, 1)
        self.norm = nn.BatchNorm2d(24)
        self.one = nn.Conv2d(24, 24, 3, padding=1)
        self.two = nn.Conv2d(24, 16, 1)
        self.hidden = nn.Linear(16 * 4, 32)
        self.classifier = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(torch.cat((self.left(x), self.right(x)), 1)))
        x = self.two(torch.relu(self.one(x)) + x)
        x = nn.functional.adaptive_avg_pool2d(torch.relu(x), 2).flatten(1)
        return self.classifier(torch.relu(self.hidden(x)))


def skewed(model: nn.Module, run: int = 4) -> nn.Module:
    """Small and large input channels in runs, so that the order as it is keeps little."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.weight.shape[1] >= 8:
                runs = torch.arange(module.weight.shape[1]) // run % 2
                shape = (1, -1) + (1,) * (module.weight.dim() - 2)
                module.weight.mul_((0.2 + runs).reshape(shape))
    return model


def kept(model: nn.Module, names: list[str], name: str) -> float:
    """The magnitude that N:M masks keep, written without any of the code under test."""
    count, size = (int(part) for part in name.split(":"))
    total = 0.0
    for layer in names:
        weight = model.get_submodule(layer).weight.detach().abs()  # type: ignore[operator, union-attr]
        for start in range(0, weight.shape[1], size):
            four = weight[:, start : start + size]
            total += float(four.sort(1, descending=True).values[:, :count].double().sum())
    return total


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
@pytest.mark.parametrize("make", [Residual, Concatenated, Branches])
@pytest.mark.filterwarnings("ignore:.*cannot take pattern")
def test_the_network_computes_the_same_and_its_masks_keep_more(make: type[nn.Module], pattern: str) -> None:
    model = skewed(randomised(make()), pattern_named(pattern).block_ic)
    names = prunable_layers(model, pattern, example_inputs=INPUT)
    permuted = copy.deepcopy(model)
    gains = permute_channels(permuted, dict.fromkeys(names, pattern_named(pattern)), INPUT)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        wanted = model(x)
        assert float((permuted(x) - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
    before, after = kept(model, names, pattern), kept(permuted, names, pattern)
    if make is not Branches:  # most of its channels are split and shuffled
        assert after > 1.03 * before
    assert after >= before
    assert all(gain > 1 for gain in gains.values())


def test_residual_depthwise_and_concatenated_layers_are_reordered_together() -> None:
    model = skewed(randomised(Residual()))
    names = prunable_layers(model, "2:4", example_inputs=INPUT)
    permuted = copy.deepcopy(model)
    permute_channels(permuted, dict.fromkeys(names, pattern_named("2:4")), INPUT)
    for name in ("second.0", "shortcut.0", "depthwise.0"):  # one group: the add ties them
        old, new = model.get_submodule(name).weight, permuted.get_submodule(name).weight
        assert not torch.equal(old, new)
        assert sorted(old.abs().sum((1, 2, 3)).tolist()) == pytest.approx(sorted(new.abs().sum((1, 2, 3)).tolist()))
    depthwise = {tuple(row.flatten().tolist()): index for index, row in enumerate(model.depthwise[0].weight)}
    order = [depthwise[tuple(row.flatten().tolist())] for row in permuted.depthwise[0].weight]
    assert order != list(range(32))
    assert torch.equal(permuted.second[1].running_mean, model.second[1].running_mean[order])
    assert torch.equal(permuted.shortcut[1].bias, model.shortcut[1].bias[order])
    assert torch.equal(permuted.mix[0].weight, model.mix[0].weight[:, order])
    assert torch.equal(permuted.classifier.bias, model.classifier.bias)


def test_greedy_swaps_find_the_best_order_of_a_small_layer() -> None:
    """Four large channels in one group of four: 2:4 keeps two of them, the best order all."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 2, 1)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        model[1].weight[:, :4] += 10.0
    weight = model[1].weight.detach().abs().squeeze()
    best = max(
        float(weight[:, list(first)].topk(2, 1).values.sum())
        + float(weight[:, [c for c in range(8) if c not in first]].topk(2, 1).values.sum())
        for first in itertools.combinations(range(8), 4)
    )
    permute_channels(model, {"1": pattern_named("2:4")}, torch.zeros(1, 3, 4, 4))
    assert kept(model, ["1"], "2:4") == pytest.approx(best, rel=1e-5)


def test_the_search_gives_the_same_result_every_time() -> None:
    model = skewed(randomised(Residual()))
    one, other = (prune_model(model, 0.5, "2:4", example_inputs=INPUT, permute=True) for _ in range(2))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    plain = prune_model(model, 0.5, "2:4", example_inputs=INPUT)
    names = ["first.0", "second.0", "shortcut.0", "mix.0"]
    norms = [
        sum(float(pruned.get_submodule(name).weight.detach().abs().sum()) for name in names)  # type: ignore[operator, union-attr]
        for pruned in (one, plain)
    ]
    assert norms[0] > 1.03 * norms[1]


class Scaled(nn.Module):
    """A constant per channel that is no parameter: torch-pruning does not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.register_buffer("scale", torch.arange(1.0, 9.0).reshape(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.middle(self.stem(x) * self.scale)))


def test_a_group_that_would_compute_something_else_stays_as_it_was() -> None:
    torch.manual_seed(0)
    model = skewed(Scaled().eval())
    permuted = copy.deepcopy(model)
    rule = pattern_named("2:4")
    gains = permute_channels(permuted, {"middle": rule, "last": rule}, torch.zeros(1, 3, 4, 4))
    assert list(gains) == ["last"]
    assert torch.equal(permuted.stem.weight, model.stem.weight)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(permuted(x), model(x))


def test_channels_of_a_grouped_convolution_and_of_an_output_keep_their_order() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1, groups=2), nn.Conv2d(16, 8, 1)]
    model = skewed(nn.Sequential(*layers).eval())
    before = copy.deepcopy(model.state_dict())
    rules = dict.fromkeys(("1", "2"), pattern_named("2:4"))
    assert permute_channels(model, rules, torch.zeros(1, 3, 4, 4)) == {}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Gamma(nn.Module):
    """A scale per channel that is a parameter of the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.gamma = nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.middle(self.stem(x) * self.gamma)))


def test_what_reads_a_free_parameter_keeps_its_order() -> None:
    torch.manual_seed(0)
    model = skewed(Gamma().eval())
    permuted = copy.deepcopy(model)
    rule = pattern_named("2:4")
    gains = permute_channels(permuted, {"middle": rule, "last": rule}, torch.zeros(1, 3, 4, 4))
    assert list(gains) == ["last"]
    assert torch.equal(permuted.stem.weight, model.stem.weight)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(permuted(x), model(x))


def test_mistakes_are_named() -> None:
    with pytest.raises(EdgelaneError, match="permute is for N:M patterns: expected one such as 2:4, got 4x4"):
        prune_model(Residual(), 0.5, "4x4", example_inputs=INPUT, permute=True)
    masked = prune_model(Residual(), 0.5, "2:4", example_inputs=INPUT)
    with pytest.raises(EdgelaneError, match="finalize it first"):
        prune_model(masked, 0.5, "2:4", example_inputs=INPUT, permute=True)
    swin = SwinTransformer([4, 4], 16, [2, 2], [2, 2], [2, 2], num_classes=5).eval()
    with pytest.raises(EdgelaneError, match="cannot follow SwinTransformer: Maximum recursive depth"):
        prune_model(swin, 0.5, "2:4", example_inputs=torch.zeros(1, 3, 32, 32), permute=True)
