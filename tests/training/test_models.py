"""Networks by their torchvision name, with our own final layer; pretrained weights without a connection."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
import torchvision
from torchvision.models import WeightsEnum

from edgelane import models
from edgelane.errors import EdgelaneError

SMALL = [
    "alexnet",
    "mobilenet_v3_small",
    "squeezenet1_0",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "regnet_y_400mf",
    "resnet18",
]


def offer(monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]) -> None:
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *args, **kwargs: dict(state))


def test_names_are_torchvisions_classification_networks():
    names = models.names()
    assert {"alexnet", "resnet18", "mobilenet_v3_large", "efficientnet_b0", "regnet_x_400mf", "densenet121"} <= set(
        names
    )
    assert names == sorted(names)
    assert not [name for name in names if "rcnn" in name or "deeplab" in name or "r3d" in name or "raft" in name]


@pytest.mark.parametrize("name", SMALL)
def test_the_final_layer_has_our_classes(name):
    model = models.create(name, 4).eval()
    assert model(torch.randn(1, 3, 96, 96)).shape == (1, 4)


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_auxiliary_heads_are_gone_in_training_and_in_evaluation(name, size):
    model = models.create(name, 4)
    x = torch.randn(2, 3, size, size)
    assert model.train()(x).shape == (2, 4)
    assert model.eval()(x).shape == (2, 4)
    assert not [key for key in model.state_dict() if key.lower().startswith("aux")]


def test_unknown_names_come_with_close_ones():
    with pytest.raises(EdgelaneError, match=r"no torchvision classification model 'ResNet-18': did you mean resnet18"):
        models.create("ResNet-18", 4)
    with pytest.raises(EdgelaneError, match=r"known are alexnet, "):
        models.create("yolo", 4)
    with pytest.raises(EdgelaneError, match="at least one class"):
        models.create("resnet18", 0)


def test_pretrained_weights_keep_all_but_the_final_layer(monkeypatch):
    torch.manual_seed(1)
    state = torchvision.models.squeezenet1_1().state_dict()
    offer(monkeypatch, state)
    torch.manual_seed(2)
    model = models.create("squeezenet1_1", 4, pretrained=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) == (not name.startswith("classifier.1.")), name
    assert model.classifier[1].weight.shape[0] == 4


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_pretrained_networks_with_an_input_transform_give_the_same_features_without_it(monkeypatch, name, size):
    torch.manual_seed(1)
    theirs = getattr(torchvision.models, name)(aux_logits=True, transform_input=True, init_weights=False)
    offer(monkeypatch, theirs.state_dict())
    ours = models.create(name, 1000, pretrained=True)
    assert not ours.transform_input
    x = torch.rand(2, 3, size, size) * 4 - 2
    first = next(key for key, module in theirs.named_children() if hasattr(module, "conv"))
    # BatchNorm's mean absorbs the shift; with other means than its own start the folding has to be right to agree.
    with torch.no_grad():
        a = getattr(theirs, first).eval()(theirs._transform_input(x))
        b = getattr(ours, first).eval()(x)
    inner = (..., slice(2, -2), slice(2, -2))  # GoogLeNet's padding makes its border differ, as documented
    torch.testing.assert_close(a[inner], b[inner], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "error", [URLError("Name or service not known"), RuntimeError("invalid hash value"), OSError("no space")]
)
def test_weights_that_cannot_be_had_give_one_line(monkeypatch, error):
    def fail(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fail)
    with pytest.raises(EdgelaneError) as caught:
        models.create("resnet18", 4, pretrained=True)
    message = str(caught.value)
    assert message.startswith("cannot download the pretrained weights of resnet18: ")
    assert message.endswith("leave out `pretrained`")
    assert "\n" not in message
    assert str(getattr(error, "reason", error)) in message


def test_weights_of_another_shape_are_refused(monkeypatch):
    state = torchvision.models.squeezenet1_1().state_dict()
    state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    offer(monkeypatch, state)
    with pytest.raises(EdgelaneError, match=r"do not fit squeezenet1_1 .*features.0.weight"):
        models.create("squeezenet1_1", 4, pretrained=True)
