from __future__ import annotations

import pytest
import torch
from pictures import PREPROCESSING, Brightest, Colours
from torch import nn

from edgelane.errors import EdgelaneError
from edgelane.robustness.attacks import Attack, PixelModel, choose

STD = torch.tensor(PREPROCESSING.std)


class Linear(nn.Module):
    """Two opposite scores that are linear in the pixels: the loss of class 0 falls along `weight`."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x * self.weight).flatten(1).sum(1)
        return torch.stack((score, -score), 1)


def linear_case():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 4, 5, generator=generator)
    weight[0, 0, 0] = 0.0
    pictures = torch.rand(2, 3, 4, 5, generator=generator)
    pictures[0, :, 1] = 0.0
    pictures[1, :, 2] = 1.0
    targets = torch.tensor([0, 1])
    # The loss of class 0 rises against the weight's sign, that of class 1 along it; weight 0 moves nothing.
    direction = torch.stack((-weight.sign(), weight.sign()))
    return PixelModel(Linear(weight), PREPROCESSING), pictures, targets, direction


def test_fgsm_moves_each_pixel_by_the_radius_against_the_class():
    model, pictures, targets, direction = linear_case()
    moved = Attack("fgsm", 2)(model, pictures, targets)
    torch.testing.assert_close(moved, (pictures + direction * 2 / 255).clamp(0, 1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("radius", [2, 4])
def test_pgd_ends_on_the_corner_of_the_ball_that_a_linear_network_likes_least(radius):
    model, pictures, targets, direction = linear_case()
    moved = Attack("pgd", radius)(model, pictures, targets, seed=5)
    corner = (pictures + direction * radius / 255).clamp(0, 1)
    free = direction == 0  # these pixels stay where the random start put them
    torch.testing.assert_close(moved[~free], corner[~free], rtol=0, atol=1e-6)
    assert (moved - pictures).abs().max() <= radius / 255 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved[free] != Attack("pgd", radius)(model, pictures, targets, seed=6)[free]).any()
    assert (moved == Attack("pgd", radius)(model, pictures, targets, seed=5)).all()


def test_a_network_that_is_sure_beyond_float32_still_has_a_gradient():
    model, pictures, _, direction = linear_case()
    with torch.no_grad():
        model.model.weight *= 20 / (pictures * model.model.weight).flatten(1).sum(1).abs().min()
    sure = model(pictures).argmax(1)
    assert (model(pictures).softmax(1).gather(1, sure[:, None]) == 1).all(), "a softmax of exactly 1"
    moved = Attack("fgsm", 2)(model, pictures, sure)
    expected = torch.where((sure == 0)[:, None, None, None], direction[:1], direction[1:])
    torch.testing.assert_close(moved, (pictures + expected * 2 / 255).clamp(0, 1), rtol=0, atol=1e-7)


def test_the_generator_of_the_caller_stays_where_it_is():
    model, pictures, targets, _ = linear_case()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Attack("pgd", 2)(model, pictures, targets)
    assert torch.rand(1) == expected


def test_fake_quantised_networks_are_attacked_through_their_roundings():
    from edgelane.compression import finalize, quantize_model

    data = Colours(12, seed=1)
    images = torch.stack([data[index][0] for index in range(12)])
    labels = torch.tensor(data.labels)
    quantised = finalize(quantize_model(Brightest().eval(), [images]))
    pictures = torch.from_numpy(data.pictures).permute(0, 3, 1, 2) / 255
    model = PixelModel(quantised, PREPROCESSING)
    before = nn.functional.cross_entropy(model(pictures), labels)
    for attack in choose(["fgsm", "pgd"]):
        moved = attack(model, pictures, labels)
        share = ((moved - pictures).abs() > 0.99 * attack.radius / 255).float().mean()
        assert share > 0.95, "a gradient that the roundings stopped would leave the pictures as they are"
        assert nn.functional.cross_entropy(model(moved), labels) > before


def test_segmentation_is_attacked_where_it_is_labelled():
    model = PixelModel(Brightest(masks=True), PREPROCESSING)
    pictures = torch.full((1, 3, 4, 4), 0.5)
    masks = torch.full((1, 4, 4), 255)
    masks[0, :2] = 1
    moved = Attack("fgsm", 4)(model, pictures, masks)
    step = 255 * (moved - pictures)[0]
    assert (step[:, 2:] == 0).all()
    expected = torch.tensor([4.0, -4.0, 4.0])[:, None, None].expand(3, 2, 4)  # away from class 1, the second channel
    torch.testing.assert_close(step[:, :2], expected, rtol=0, atol=1e-4)


def test_pixels_are_normalised_as_preprocessing_does():
    picture = Colours(1, seed=0).pictures[0]
    seen = PixelModel(nn.Identity(), PREPROCESSING)(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(seen[0], torch.from_numpy(PREPROCESSING.apply(picture)), rtol=1e-5, atol=1e-5)


def test_names_choose():
    assert [a.label for a in choose(["pgd", "fgsm/8", "pgd/2"])] == ["pgd/2", "pgd/4", "fgsm/8"]
    assert len(choose(["all"])) == 6
    for wrong in ("bim", "pgd/x", "bim/2"):
        with pytest.raises(EdgelaneError, match="attack"):
            choose([wrong])
    with pytest.raises(EdgelaneError, match="radius above 0"):
        choose(["pgd/0"])
