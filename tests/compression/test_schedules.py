import itertools

import pytest
import torch

from edgelane.compression import Gradual, Iterative, RigL
from edgelane.compression.patterns import pattern_named
from edgelane.compression.schedules import regrow
from edgelane.errors import EdgelaneError


def test_the_cubic_schedule_rises_fast_then_slow_and_ends_exactly() -> None:
    schedule = Gradual(steps=100, begin=10, every=1, initial=0.2)
    values = [schedule.sparsity_at(step, 0.9) for step in range(0, 121)]
    assert values[0] == values[10] == pytest.approx(0.2)
    assert values[60] == pytest.approx(0.9 - 0.7 * 0.125)
    assert values[110] == values[120] == 0.9
    assert all(b >= a for a, b in itertools.pairwise(values))


def test_gradual_is_due_from_its_begin_to_its_last_step() -> None:
    schedule = Gradual(steps=10, begin=3, every=4)
    assert [step for step in range(1, 20) if schedule.due(step)] == [3, 7, 11, 13]


def test_iterative_removes_the_same_part_of_what_is_left_in_each_round() -> None:
    schedule = Iterative(rounds=3, steps_per_round=10, begin=5)
    assert [step for step in range(1, 60) if schedule.due(step)] == [15, 25, 35]
    values = [schedule.sparsity_at(step, 0.875) for step in (0, 14, 15, 25, 35, 50)]
    assert values == pytest.approx([0.0, 0.0, 0.5, 0.75, 0.875, 0.875])


def test_rigl_moves_less_and_less_along_a_cosine() -> None:
    schedule = RigL(steps=100, every=25, share=0.3)
    assert [step for step in range(1, 200) if schedule.due(step)] == [25, 50, 75]
    shares = [schedule.share_at(step) for step in (0, 25, 50, 100)]
    assert shares == pytest.approx([0.3, 0.15 * (1 + 2**-0.5), 0.15, 0.0])
    assert schedule.sparsity_at(37, 0.8) == 0.8


def test_regrowth_by_hand() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]]).bool()
    magnitude = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    gradient = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 2.0, 4.0]])
    rule = pattern_named("unstructured")
    # Half of four active: weights 1 and 2 go, gradients 4 and 3 come.
    assert regrow(mask, magnitude, gradient, 0.5, rule).int().tolist() == [[1, 0, 1, 0, 0, 1, 0, 1]]
    assert torch.equal(regrow(mask, magnitude, gradient, 0.24, rule), mask)  # 0.96 of a weight is none
    gradient[0, 1] = 9.0  # what just went may come back
    assert regrow(mask, magnitude, gradient, 0.5, rule).int().tolist() == [[1, 1, 1, 0, 0, 0, 0, 1]]


def test_regrowth_moves_whole_blocks_and_keeps_their_number() -> None:
    torch.manual_seed(0)
    rule = pattern_named("4x4")
    blocks = torch.zeros(4, 4, dtype=torch.bool)
    blocks.view(-1)[[1, 4, 7, 8, 13]] = True
    magnitude = torch.rand(16, 16) + 0.1
    gradient = torch.rand(16, 16)
    gradient[8:12, 12:] += 5.0  # the block in row 2, column 3
    mask = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)
    sizes = (magnitude * mask).reshape(4, 4, 4, 4).sum((1, 3))
    smallest = torch.where(blocks, sizes, torch.inf).flatten().argmin()
    new = regrow(mask, magnitude * mask, gradient, 0.3, rule)  # 1.5 of 5 is one
    expected = blocks.clone()
    expected.view(-1)[smallest] = False
    expected[2, 3] = True
    assert torch.equal(new, expected.repeat_interleave(4, 0).repeat_interleave(4, 1))


@pytest.mark.parametrize("name", ["2:4", "1:4", "4:8", "3:5"])
def test_regrowth_keeps_n_of_m(name: str) -> None:
    torch.manual_seed(0)
    rule = pattern_named(name)
    size = rule.block_ic
    magnitude, gradient = torch.rand(6, 2 * size, 3, 3) + 0.1, torch.rand(6, 2 * size, 3, 3)
    from edgelane.compression.patterns import keep_mask

    mask = keep_mask(magnitude, rule.share, rule)
    new = regrow(mask, magnitude * mask, gradient, 0.25, rule)
    grouped = new.reshape(6, 2, size, 9)
    assert (grouped.sum(2) == rule.kept).all()
    out, come = mask & ~new, new & ~mask
    assert int(out.sum()) == int(come.sum()) > 0
    assert int(out.sum()) <= int(0.25 * int(mask.sum()))


def test_n_of_m_regrowth_by_hand() -> None:
    mask = torch.tensor([[1, 1, 0, 0, 1, 1, 0, 0]]).bool()
    magnitude = torch.tensor([[4.0, 3.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0]])
    gradient = torch.tensor([[0.0, 0.0, 5.0, 6.0, 0.0, 0.0, 8.0, 7.0]])
    # A quarter of four is one: the smallest weight, 1, stands in the second group, where gradient 8 comes.
    assert regrow(mask, magnitude, gradient, 0.25, pattern_named("2:4")).int().tolist() == [[1, 1, 0, 0, 1, 0, 1, 0]]
    assert regrow(mask, magnitude, gradient, 0.5, pattern_named("2:4")).int().tolist() == [[1, 0, 0, 1, 1, 0, 1, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradual(steps=0), "gradual pruning needs steps >= 1"),
        (lambda: Iterative(0, 5), "iterative pruning needs rounds >= 1"),
        (lambda: Iterative(2, 5, rewind="back"), "rewind among weights, learning_rate, none"),
        (lambda: RigL(steps=10, share=0.0), "RigL needs steps >= 1"),
    ],
)
def test_mistakes_are_named(make: object, message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        make()  # type: ignore[operator]
