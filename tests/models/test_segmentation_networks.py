"""Networks for segmentation and widths: plain tensors out, traceable, prunable, exact int8, and their weights kept."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum

import edgelane
from edgelane import models
from edgelane.compression import describe, prune_model, quantize_model
from edgelane.compression.fold import trace
from edgelane.errors import EdgelaneError
from edgelane.export.onnx import export_module

NAMES = ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fpn_resnet18", "fpn_mobilenet_v2"]
SIZE = (64, 96)


def make(name: str, **options: float) -> nn.Module:
    torch.manual_seed(0)
    return models.create(name, 3, task="segmentation", **options)


def test_names_are_torchvisions_segmentation_networks_and_light_ones():
    names = models.names("segmentation")
    assert names == sorted(names)
    assert {"fcn_resnet50", "deeplabv3_resnet50", *NAMES} <= set(names)
    with pytest.raises(EdgelaneError, match=r"no torchvision segmentation model 'resnet18': did you mean fpn_resnet18"):
        models.create("resnet18", 3, task="segmentation")
    with pytest.raises(EdgelaneError, match="a task for classification or segmentation, found detection"):
        models.create("resnet18", 3, task="detection")


@pytest.mark.parametrize("name", NAMES)
def test_logits_have_the_pictures_size_in_training_and_evaluation_and_compress(name):
    model, x = make(name), torch.randn(2, 3, *SIZE)
    assert model.train()(x).shape == (2, 3, *SIZE)
    expected = model.eval()(x)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(trace(model)(x), expected)
    quantized = quantize_model(model, [x])(x)
    assert (quantized - expected).norm() < 0.1 * expected.norm()
    cut = prune_model(model, 0.5, "channel", example_inputs=x)
    assert cut(x).shape == (2, 3, *SIZE)
    assert describe(cut, x).totals["macs"] < 0.5 * describe(model, x).totals["macs"]


def test_the_fully_convolutional_network_equals_torchvisions():
    model = make("fcn_resnet50").eval()
    theirs = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3).eval()
    theirs.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(model(x), theirs(x)["out"])


def test_a_light_network_is_int8_from_end_to_end_when_compiled(tmp_path):
    model, x = make("fpn_mobilenet_v2", width=0.25).eval(), torch.randn(4, 3, *SIZE)
    export_module(quantize_model(model, [x]), x[:1], tmp_path / "m.onnx", {})
    report = edgelane.compile(tmp_path / "m.onnx", tmp_path / "m.lane")
    assert report.notes == []
    floats = [layer.op for layer in report.layers if layer.dtype == "float32"]
    assert floats == ["quantize", "resize"], "only the way in and the enlarged logits"
    assert {prop.key for prop in onnx.load(tmp_path / "m.onnx").metadata_props} == set()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small"])
def test_half_the_width_has_half_the_channels(name):
    whole, half = models.create(name, 4), models.create(name, 4, width=0.5)
    assert half.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 4)
    pairs = [
        (a.out_channels, b.out_channels)
        for a, b in zip(whole.modules(), half.modules(), strict=True)
        if isinstance(a, nn.Conv2d) and a.kernel_size == (1, 1) and a.out_channels >= 128
    ]
    # MobileNetV2 never narrows its last convolution, and 12 channels become 16.
    ratios = np.array([b / a for a, b in pairs if a != b])
    assert len(ratios) >= 2
    assert np.median(ratios) == 0.5
    assert 0.45 < ratios.min() <= ratios.max() < 0.7
    assert all(b % 8 == 0 for _, b in pairs)


def test_a_width_of_one_is_torchvisions_own_network():
    torch.manual_seed(3)
    plain = models.create("resnet18", 4).state_dict()
    torch.manual_seed(3)
    scaled = models.create("resnet18", 4, width=1.0).state_dict()
    assert all(torch.equal(plain[key], scaled[key]) for key in plain)


def test_narrow_resnets_start_as_torchvision_starts_them():
    torch.manual_seed(0)
    weight = models.create("resnet18", 4, width=0.5).layer3[1].conv1.weight
    assert weight.shape == (128, 128, 3, 3)
    assert float(weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)  # He et al. 2015, fan out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vgg11", "width": 0.5}, "vgg11 has one width; a width can be chosen for mobilenet_v2"),
        ({"name": "resnet18", "width": 0.0}, "width: expected a factor above 0 and up to 4, found 0.0"),
        ({"name": "resnet18", "width": 0.5, "pretrained": True}, "no pretrained weights of resnet18 with width 0.5"),
        ({"name": "fcn_resnet50", "task": "segmentation", "width": 0.5}, "can be chosen for fpn_resnet18"),
    ],
)
def test_widths_that_cannot_be_had(arguments, message):
    with pytest.raises(EdgelaneError, match=message):
        models.create(num_classes=4, **arguments)


def test_pretrained_segmentation_weights_keep_all_but_the_final_layers(monkeypatch):
    torch.manual_seed(1)
    state = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *args, **kwargs: dict(state))
    torch.manual_seed(2)
    model = models.create("lraspp_mobilenet_v3_large", 3, task="segmentation", pretrained=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) == ("_classifier." not in name), name


def test_light_networks_take_imagenets_backbone(monkeypatch):
    torch.manual_seed(1)
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *args, **kwargs: dict(state))
    torch.manual_seed(2)
    model = models.create("fpn_resnet18", 3, task="segmentation", pretrained=True)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[name]), name
