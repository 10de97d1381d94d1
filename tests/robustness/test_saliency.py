from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pictures import COLOURS, Brightest, Fields, bundle
from torch import nn

from edgelane.errors import EdgelaneError
from edgelane.robustness import saliency
from edgelane.robustness.saliency import METHODS, Saliency, last_convolution

GRADIENTS, CAM = METHODS


class Network(nn.Module):
    """Convolution, then a linear readout that looks at the upper half of the picture or at all of it."""

    def __init__(self, rows: int = 16, sign: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 6, 1, bias=False)
        self.readout = nn.Linear(6, 3, bias=False)
        self.rows = rows
        with torch.no_grad():
            self.readout.weight *= sign

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.features(x)[:, :, : self.rows].mean((2, 3)))


def test_maps_of_a_linear_network_by_hand():
    data = bundle(test=6)
    network = Network(rows=8)
    found = saliency({"dense": network}, data, indices=[4])
    (look,) = found.looks
    image, label = data.test[4]
    assert (look.label, found.layer) == (COLOURS[label], "features")
    assert (look.picture == data.test.pictures[4]).all()
    # The score is linear: integrated gradients are weight times pixel, and nothing comes from the lower half.
    weight = (network.readout.weight[label] @ network.features.weight[:, :, 0, 0] / (8 * 16)).detach()
    expected = (weight[:, None, None] * image).abs().sum(0)
    expected[8:] = 0
    torch.testing.assert_close(torch.from_numpy(look.maps[GRADIENTS]["dense"]), expected, rtol=1e-4, atol=1e-6)
    # Grad-CAM: each channel of the layer times the mean of its gradient, which is its weight / 256 here.
    with torch.no_grad():
        channels = network.features(image[None])[0]
        cam = (channels * (network.readout.weight[label] / (8 * 16) * 0.5)[:, None, None]).sum(0)
    torch.testing.assert_close(torch.from_numpy(look.maps[CAM]["dense"]), cam, rtol=1e-4, atol=1e-6)


def test_a_file_holds_all_of_it(tmp_path):
    found = saliency({"dense": Network(), "narrow": Network(rows=4)}, bundle(test=6), count=2)
    found.save(tmp_path / "maps.npz")
    again = Saliency.load(tmp_path / "maps.npz")
    assert again.to_dict() == found.to_dict()
    for mine, theirs in zip(again.looks, found.looks, strict=True):
        assert (mine.picture == theirs.picture).all()
        assert all((mine.maps[m][n] == theirs.maps[m][n]).all() for m in METHODS for n in ("dense", "narrow"))
    Saliency(("a", "b"), "conv", []).save(tmp_path / "none.npz")
    assert Saliency.load(tmp_path / "none.npz").looks == []
    (tmp_path / "other.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(2))
    for name in ("other", "foreign", "absent"):
        with pytest.raises(EdgelaneError, match="cannot read the saliency maps in"):
            Saliency.load(tmp_path / f"{name}.npz")


def test_agreement_is_a_rank_correlation_with_the_first():
    models = {"dense": Network(), "same": Network(), "turned": Network(sign=-1.0), "narrow": Network(rows=4)}
    found = saliency(models, bundle(test=6), count=3)
    assert found.agreement(CAM, "same") == pytest.approx(1.0)
    assert found.agreement(CAM, "turned") == pytest.approx(-1.0)
    assert found.agreement(GRADIENTS, "turned") == pytest.approx(1.0), "magnitudes"
    assert found.agreement(GRADIENTS, "narrow") < 0.8
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["agreement"][CAM]["same"] == pytest.approx(1.0)
    assert content["pictures"][0]["answers"].keys() == models.keys()


def test_a_flat_map_agrees_with_nothing():
    blind = Network()
    with torch.no_grad():
        blind.readout.weight.zero_()
    found = saliency({"dense": Network(), "blind": blind}, bundle(test=6), count=2)
    assert found.agreement(CAM, "blind") is None
    assert found.looks[0].overlay(CAM, "blind").size == (16, 16)


def test_items_are_of_each_class_in_turn():
    found = saliency({"dense": Network()}, bundle(test=9), count=4)
    assert [look.label for look in found.looks] == ["red", "green", "blue", "red"]
    assert len({look.index for look in found.looks}) == 4
    assert len(saliency({"dense": Network()}, bundle(test=3), count=8).looks) == 3


def test_overlay_is_bright_where_the_network_looks():
    found = saliency({"dense": Network(rows=8)}, bundle(test=6), count=1)
    picture = np.asarray(found.looks[0].overlay(GRADIENTS, "dense"), dtype=float)
    assert picture[:8].mean() > 1.5 * picture[8:].mean()


def test_segmentation_explains_the_pixels_of_a_class():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 8, 3, padding=1), Brightest(masks=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.features(x)[:, :3])

    found = saliency({"dense": Wide()}, bundle(Fields, test=6), indices=[1])
    (look,) = found.looks
    assert (look.label, look.answers, found.layer) == ("green", {}, "features")
    assert (look.maps[GRADIENTS]["dense"][:, 9:] == 0).all(), "one pixel beyond the labelled half, through the 3x3"
    assert (look.maps[GRADIENTS]["dense"][:, :8] > 0).any()


def test_quantised_networks_are_explained_at_the_same_layer():
    from edgelane.compression import finalize, quantize_model

    data = bundle(test=12)
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    images = torch.stack([data.test[index][0] for index in range(12)])
    dense(images)
    dense.eval()
    int8 = finalize(quantize_model(dense, [images]))
    found = saliency({"dense": dense, "int8": int8}, data, count=3, layer="0")
    assert found.agreement(CAM, "int8") > 0.95, "BatchNorm is folded in one and not in the other"
    assert found.agreement(GRADIENTS, "int8") > 0.9
    assert last_convolution({"dense": dense, "int8": int8}, images[:1], 3) == "3"


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(EdgelaneError, match="no layer 'layer4'"):
        saliency({"dense": Network()}, bundle(test=3), layer="layer4")
    with pytest.raises(EdgelaneError, match="no convolution of 5x5"):
        saliency({"dense": nn.Sequential(nn.Flatten(), nn.Linear(768, 3))}, bundle(test=3))
    with pytest.raises(EdgelaneError, match="at least one network"):
        saliency({}, bundle(test=3))
