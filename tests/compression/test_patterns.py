import pytest
import torch

from edgelane.compression.patterns import PATTERNS, check_sparsity, keep_mask, pattern_named, why_not
from edgelane.errors import EdgelaneError

BLOCKS = [name for name, pattern in PATTERNS.items() if pattern.kind == "block"]


def block_sums(values: torch.Tensor, block_oc: int, block_ic: int) -> list[float]:
    """Sum over each block, written without any of the code under test."""
    oc, ic = values.shape[:2]
    taps = values.reshape(oc, ic, -1)
    return [
        float(taps[o : o + block_oc, i : i + block_ic, t].sum())
        for t in range(taps.shape[2])
        for o in range(0, oc, block_oc)
        for i in range(0, ic, block_ic)
    ]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (10, 7, 1, 1), (12, 20), (4, 4, 1, 1)])
def test_whole_blocks_go_and_at_least_the_share_asked_for(name: str, shape: tuple[int, ...]) -> None:
    pattern = PATTERNS[name]
    torch.manual_seed(1)
    mask = keep_mask(torch.randn(shape), 0.6, pattern)
    full = block_sums(torch.ones(shape), pattern.block_oc, pattern.block_ic)
    kept = block_sums(mask.float(), pattern.block_oc, pattern.block_ic)
    assert all(have in (0, size) for have, size in zip(kept, full, strict=True))
    removed = sum(have == 0 for have in kept)
    if len(kept) > 1:
        assert len(kept) * 0.6 <= removed < len(kept) * 0.6 + 1
    else:
        assert removed == 0  # one block always stays


@pytest.mark.parametrize("name", BLOCKS)
def test_the_blocks_of_smallest_magnitude_go(name: str) -> None:
    pattern = PATTERNS[name]
    torch.manual_seed(2)
    weight = torch.randn(16, 16, 3, 3)
    mask = keep_mask(weight.abs(), 0.5, pattern)
    norms = block_sums(weight.abs(), pattern.block_oc, pattern.block_ic)
    kept = block_sums(mask.float(), pattern.block_oc, pattern.block_ic)
    largest_gone = max(norm for norm, have in zip(norms, kept, strict=True) if not have)
    smallest_kept = min(norm for norm, have in zip(norms, kept, strict=True) if have)
    assert largest_gone <= smallest_kept


def test_a_block_cut_by_the_edge_counts_by_its_mean() -> None:
    weight = torch.ones(4, 5, 1, 1)
    weight[:, 4] = 1.5  # a block of one input channel: smaller in sum, larger in mean
    assert keep_mask(weight, 0.5, PATTERNS["4x4"])[:, 4].all()


def test_two_of_four_keeps_the_two_largest_of_each_four_input_channels() -> None:
    torch.manual_seed(3)
    weight = torch.randn(6, 8, 3, 3)
    mask = keep_mask(weight.abs(), 0.5, PATTERNS["2:4"])
    for o in range(6):
        for start in (0, 4):
            for y in range(3):
                for x in range(3):
                    four = weight[o, start : start + 4, y, x].abs()
                    kept = mask[o, start : start + 4, y, x]
                    assert kept.sum() == 2
                    assert four[kept].min() >= four[~kept].max()


@pytest.mark.parametrize("name", [*BLOCKS, "2:4"])
def test_masks_of_rising_sparsity_nest(name: str) -> None:
    torch.manual_seed(4)
    weight = torch.randn(16, 16, 3, 3)
    shares = (0.1, 0.3, 0.5) if name == "2:4" else (0.2, 0.5, 0.9)
    previous = torch.ones_like(weight, dtype=torch.bool)
    for share in shares:
        mask = keep_mask((weight * previous).abs(), share, PATTERNS[name])
        assert not (mask & ~previous).any()
        assert (~mask).float().mean() >= share
        previous = mask


def test_equal_magnitudes_go_in_storage_order() -> None:
    mask = keep_mask(torch.ones(4, 4), 0.5, PATTERNS["unstructured"])
    assert mask.flatten().tolist() == [False] * 8 + [True] * 8


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), True, "half", None])
def test_a_sparsity_out_of_range_is_refused(sparsity: object) -> None:
    with pytest.raises(EdgelaneError, match="expected a number from 0 to below 1"):
        check_sparsity(sparsity, PATTERNS["4x4"])  # type: ignore[arg-type]


def test_two_of_four_takes_no_other_share() -> None:
    with pytest.raises(EdgelaneError, match=r"expected sparsity 0\.5, got 0\.7"):
        check_sparsity(0.7, PATTERNS["2:4"])


@pytest.mark.parametrize("name", ["8x8", "", None, ["4x4"]])
def test_an_unknown_pattern_is_refused_with_the_list(name: object) -> None:
    with pytest.raises(EdgelaneError, match="unstructured, 4x1, 1x4, 4x4, 2:4, channel"):
        pattern_named(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "groups", "name", "reason"),
    [
        ((3, 8, 3, 3), 1, "4x4", "3 output channels are fewer"),
        ((8, 3, 3, 3), 1, "4x4", "3 input channels are fewer"),
        ((8, 6, 1, 1), 1, "2:4", "6 input channels are not a multiple of 4"),
        ((24, 8, 3, 3), 4, "4x4", "6 output channels per group are not a multiple"),
        ((8, 6, 1, 1), 1, "4x4", None),
        ((32, 4, 3, 3), 8, "4x4", None),
    ],
)
def test_layers_that_cannot_take_a_pattern(shape: tuple[int, ...], groups: int, name: str, reason: str | None) -> None:
    found = why_not(shape, groups, PATTERNS[name])
    assert found is None if reason is None else found is not None and reason in found


def by_hand(scores: torch.Tensor, kept: int, size: int) -> torch.Tensor:
    """The N largest of every M along the input channels, one group after another."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    taps = scores.reshape(*scores.shape[:2], -1)
    for o in range(taps.shape[0]):
        for start in range(0, taps.shape[1], size):
            for tap in range(taps.shape[2]):
                for place in taps[o, start : start + size, tap].argsort(descending=True)[:kept].tolist():
                    mask.reshape(taps.shape)[o, start + place, tap] = True
    return mask


@pytest.mark.parametrize("name", ["1:2", "1:4", "3:4", "2:5", "4:8", "7:16"])
def test_any_n_of_m_keeps_the_n_largest_of_m(name: str) -> None:
    pattern = pattern_named(name)
    kept, size = (int(part) for part in name.split(":"))
    assert (pattern.kept, pattern.block_ic) == (kept, size)
    torch.manual_seed(5)
    scores = torch.rand(5, 2 * size, 3, 3)
    check_sparsity(1 - kept / size, pattern)
    assert torch.equal(keep_mask(scores, pattern.share, pattern), by_hand(scores, kept, size))
    thinned = (~keep_mask(scores, pattern.share / 2, pattern)).reshape(5, 2, size, 9).sum(2)
    assert set(thinned.flatten().tolist()) == {0, size - kept}  # half of the groups, whole ones
    assert int((thinned > 0).sum()) == 45
    assert why_not((8, size + 1, 1, 1), 1, pattern) == f"{size + 1} input channels are not a multiple of {size}"


@pytest.mark.parametrize("name", ["4:4", "5:4", "0:4", "2:17", "2:", "02:4", "2:4:8", "-1:4"])
def test_what_is_no_n_of_m_is_refused(name: str) -> None:
    with pytest.raises(EdgelaneError, match="or N:M with 1 <= N < M <= 16"):
        pattern_named(name)
