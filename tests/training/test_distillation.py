"""A student beside its teacher: what is compared, what trains, what stays out of every file, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from bundles import CLASSES, SURFACES, bundle, mask_bundle, mask_network, network
from torch import Tensor, nn

from edgelane.checkpoint import Checkpoint
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing
from edgelane.training import Distillation, Heads, TrainingConfig, evaluate, fit, fit_with_history, predictor
from edgelane.training.imitation import soft_labels, soft_pixels

FAST = {"batch_size": 8, "learning_rate": 0.02, "warmup_epochs": 0.5, "precision": "32", "workers": 0}
PAIR = {"2": "2"}  # the ReLU of both networks


def wide_teacher(seed: int = 5) -> nn.Module:
    """As `network`, with twice the channels at half the size."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, len(CLASSES)),
    )


def test_the_loss_is_the_weighted_sum_of_outputs_and_features():
    student, teacher, images = network(), network(1), torch.randn(4, 3, 16, 16)
    settings = Distillation(teacher, logits=0.7, temperature=2.0, features=PAIR, feature_weight=3.0)
    distiller = settings.attach(student, images[:1])
    assert not distiller.adapters, "equal shapes need none"
    student.eval()
    outputs = student(images)
    teacher.eval()
    features = [(model[:3](images)) for model in (student, teacher)]
    expected = 0.7 * soft_labels(outputs, teacher(images), 2.0) + 3.0 * (features[0] - features[1]).square().mean()
    torch.testing.assert_close(distiller(images, outputs), expected)
    teacher.train()
    torch.testing.assert_close(distiller.settings.build_teacher()(images), teacher.eval()(images))


def test_other_channels_are_adapted_and_other_sizes_resized():
    student, images = network(), torch.randn(2, 3, 16, 16)
    distiller = Distillation(wide_teacher(), logits=0.0, features=PAIR).attach(student, images)
    (adapter,) = distiller.adapters.values()
    assert adapter.weight.shape == (16, 8, 1, 1)
    loss = distiller(images, student(images))
    loss.backward()
    assert adapter.weight.grad is not None
    assert student[0].weight.grad.abs().sum() > 0
    assert student[6].weight.grad is None, "logits have no weight"
    assert all(parameter.grad is None for parameter in distiller._teacher[0].parameters())
    rows = Distillation(wide_teacher(), logits=0.0, features={"5": "4"}).attach(student, images)
    assert [type(module) for module in rows.adapters.values()] == [nn.Linear]


def test_nothing_of_the_teacher_is_in_any_state_and_hooks_go():
    student, teacher = network(), network(1)
    before = student.state_dict().keys()
    was_training = teacher.training
    distiller = Distillation(teacher, features=PAIR).attach(student, torch.zeros(1, 3, 16, 16))
    assert student.state_dict().keys() == before
    assert not list(distiller.parameters())
    assert not distiller.state_dict()
    assert (teacher.training, teacher[0].weight.requires_grad) == (was_training, True), "it is a copy that is frozen"
    distiller.train()
    assert not distiller._teacher[0].training
    assert len(student[2]._forward_hooks) == 1
    distiller.close()
    assert not student[2]._forward_hooks
    student(torch.zeros(1, 3, 16, 16))
    with pytest.raises(EdgelaneError, match="did not run: call the student before the loss"):
        distiller(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3))


def test_a_student_without_labels_learns_from_its_teacher(tmp_path):
    """Labels that say nothing: only the teacher can have taught the student."""
    data = bundle()
    teacher = fit(network(), data, TrainingConfig(epochs=6, **FAST), tmp_path / "teacher")
    blind = bundle()
    blind.train.labels = [label * 0 for label in blind.train.labels]
    blind.train.records = [type(record)(0) for record in blind.train.records]
    alone = fit(network(3), blind, TrainingConfig(epochs=4, **FAST), tmp_path / "alone")
    config = TrainingConfig(epochs=4, **{**FAST, "learning_rate": 0.05})
    settings = Distillation(teacher, logits=20.0, temperature=2.0, features=PAIR)
    result = fit_with_history(network(3), blind, config, tmp_path / "taught", distillation=settings)
    scores = [evaluate(predictor(model), data.test, CLASSES).score for model in (alone, result.model)]
    assert scores[0] < 0.5
    assert scores[1] > 0.8
    rows = result.history
    assert 0 < rows[-1]["train_distillation"] < rows[0]["train_distillation"]
    assert (
        "train_distillation"
        not in fit_with_history(network(), data, TrainingConfig(epochs=1, **FAST), tmp_path / "plain").history[0]
    )


def test_a_resumed_run_ends_as_an_uninterrupted_one_adapters_included(tmp_path):
    import lightning.pytorch as pl

    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 1 and batch_idx == 2:
                raise RuntimeError("power cut")

    def run(folder: str, seed: int, **options):
        settings = Distillation(wide_teacher(), features=PAIR)
        config = TrainingConfig(epochs=3, resume=options.pop("resume", False), **FAST)
        return fit_with_history(network(seed), bundle(), config, tmp_path / folder, distillation=settings, **options)

    whole = run("whole", 0)
    with pytest.raises(RuntimeError, match="power cut"):
        run("cut", 0, callbacks=[Stop()])
    torch.manual_seed(99)
    resumed = run("cut", 7, resume=True)
    states = [torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("whole", "cut")]
    keys = states[0]["state_dict"].keys()
    assert {key for key in keys if not key.startswith("model.")} == {
        "distiller.adapters.2.weight",
        "distiller.adapters.2.bias",
    }
    assert all(torch.equal(states[0]["state_dict"][key], states[1]["state_dict"][key]) for key in keys)
    best = torch.load(tmp_path / "cut" / "checkpoints" / "best.pt", weights_only=True)
    assert best.keys() == network().state_dict().keys()
    assert resumed.model.state_dict().keys() == best.keys()
    assert not any(module._forward_hooks for module in resumed.model.modules())
    pairs = zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    config = TrainingConfig(epochs=4, resume=True, **FAST)
    for other in (None, Distillation(wide_teacher(6), features=PAIR), Distillation(wide_teacher(), logits=0.5)):
        with pytest.raises(EdgelaneError, match="cannot resume: distillation was"):
            fit(network(), bundle(), config, tmp_path / "cut", distillation=other)


def test_mixed_precision(tmp_path):
    config = TrainingConfig(epochs=2, **{**FAST, "precision": "bf16-mixed"})
    settings = Distillation(wide_teacher(), features=PAIR)
    result = fit_with_history(network(), bundle(), config, tmp_path, distillation=settings)
    assert all(0 < row["train_distillation"] < 100 for row in result.history)


@pytest.mark.parametrize("masks", ["pixel", "channel"])
def test_masks(tmp_path, masks):
    data = mask_bundle()
    teacher = fit(mask_network(), data, TrainingConfig(epochs=4, **FAST), tmp_path / "teacher")
    config = TrainingConfig(epochs=4, **FAST)
    settings = Distillation(teacher, masks=masks, features={"2": "2"})
    result = fit_with_history(mask_network(2), data, config, tmp_path / "student", distillation=settings)
    assert evaluate(predictor(result.model), data.test, SURFACES).score > 0.85
    assert result.history[-1]["train_distillation"] < result.history[0]["train_distillation"]
    if masks == "pixel":
        student = mask_network(3)
        images, targets = data.train.images[:2], data.train.masks[:2]
        distiller = Distillation(teacher).attach(student, images, task="segmentation")
        expected = soft_pixels(student(images), teacher(images), 4.0, targets)
        torch.testing.assert_close(distiller(images, student(images), targets), expected)


class Detector(nn.Module):
    """Two levels of maps, as a network of a user's own might give them."""

    def __init__(self, seed: int, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.classes, self.boxes = nn.Conv2d(8, classes, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        levels = [self.body(x), self.body(x[..., ::2, ::2])]
        return {"what": [self.classes(level) for level in levels], "where": [self.boxes(level) for level in levels]}


def as_rows(outputs: dict[str, list[Tensor]]) -> Heads:
    return Heads(*([m.flatten(2).transpose(1, 2) for m in outputs[name]] for name in ("what", "where")))


def test_a_detector_of_ones_own_learns_its_teachers_heads():
    student, teacher, images = Detector(0), Detector(1), torch.randn(2, 3, 8, 8)
    with pytest.raises(EdgelaneError, match=r"give Distillation\(heads=FUNCTION\).*found \{what: \[\[1, 3, 8, 8\]"):
        Distillation(teacher).attach(student, images[:1], task="detection")
    settings = Distillation(teacher, heads=as_rows, activation="sigmoid", features={"body": "body"})
    distiller = settings.attach(student, images[:1], task="detection")
    optimizer = torch.optim.Adam(student.parameters(), 0.03)
    losses = []
    for _ in range(60):
        loss = distiller(images, student(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    same = copy.deepcopy(teacher)
    distiller = settings.attach(same, images[:1], task="detection")
    assert float(distiller(images, same(images)).detach()) == pytest.approx(0, abs=1e-5)


def test_torchvisions_retinanet_heads_are_read_as_they_are():
    from torchvision.models.detection.retinanet import RetinaNetHead

    class TwoLevels(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.head = RetinaNetHead(4, num_anchors=2, num_classes=3)
            for parameter in self.parameters():  # which begin as good as zero
                nn.init.normal_(parameter, std=0.2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return self.head([x, x[..., ::2, ::2]])

    images = torch.randn(1, 4, 8, 8)
    student = TwoLevels(0)
    distiller = Distillation(TwoLevels(1), activation="sigmoid").attach(student, images, task="detection")
    loss = distiller(images, student(images))
    loss.backward()
    assert float(loss.detach()) > 0.01
    assert student.head.regression_head.bbox_reg.weight.grad.abs().sum() > 0


def checkpoint(path: Path, **changes: object) -> Path:
    from edgelane import models

    fields = {
        "model_name": "squeezenet1_1", "classes": CLASSES, "preprocessing": Preprocessing(32, 32), "data": "colours",
        "state_dict": models.create("squeezenet1_1", 3).state_dict(),
    }  # fmt: skip
    Checkpoint(**{**fields, **changes}).save(path)
    return path


def test_a_checkpoint_is_a_teacher_too(tmp_path):
    from edgelane import models

    path = checkpoint(tmp_path / "teacher.pt")
    data = bundle(train=8, val=4)
    data.preprocessing = Preprocessing(32, 32)
    for split in (data.train, data.val):
        split.images = split.images.repeat(1, 1, 2, 2)
    config = TrainingConfig(epochs=1, **FAST)
    student = models.create("squeezenet1_1", 3)
    for teacher in (path, Checkpoint.load(path)):
        out = tmp_path / type(teacher).__name__
        result = fit_with_history(student, data, config, out, distillation=Distillation(teacher))
        assert result.history[0]["train_distillation"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": ("red", "green", "cyan")},
            "classes of the teacher: expected red, green, blue, found red, green, c",
        ),
        ({"task": "segmentation"}, "task of the teacher: expected classification, found segmentation"),
        (
            {"preprocessing": Preprocessing(32, 32, (0.5,) * 3)},
            r"mean and std of the input of the teacher: expected \(",
        ),
    ],
)
def test_a_checkpoint_that_teaches_something_else(tmp_path, changes, message):
    path = checkpoint(tmp_path / "teacher.pt", **changes)
    with pytest.raises(EdgelaneError, match=message):
        fit(network(), bundle(), TrainingConfig(epochs=1, **FAST), tmp_path, distillation=Distillation(path))


def test_what_does_not_fit_is_named(tmp_path):
    data, config = bundle(), TrainingConfig(epochs=1, **FAST)

    def refuse(message: str, teacher: nn.Module, **options: object) -> None:
        student = network()
        with pytest.raises(EdgelaneError, match=message):
            fit(student, data, config, tmp_path, distillation=Distillation(teacher, **options))
        assert not any(module._forward_hooks for module in student.modules())

    four = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    refuse(r"the teacher's output is \[1, 4\] and the student's \[1, 3\]: expected the same classes", four)
    refuse(r"the teacher has no layer 'layer9'; it has 0, 1, 2", network(), features={"2": "layer9"})
    refuse(r"the student has no layer 'layer9'", network(), features={"layer9": "2"})
    refuse(r"returns \[1, 8, 16, 16\], which cannot be brought to the \[1, 3\]", network(), features={"2": "6"})
    unused = network()
    unused.add_module("spare", nn.Identity())
    unused.forward = nn.Sequential(*list(unused)[:7]).forward
    refuse(r"the teacher's layer 'spare' never runs", unused, features={"2": "spare"})
    refuse('expected a tensor of logits, found dict; for a detector give task="detection"', Detector(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature: expected a positive number, found 0.0"),
        ({"logits": -1.0}, "logits: expected 0 or more, found -1.0"),
        ({"logits": 0.0}, "nothing to learn"),
        ({"masks": "both"}, "masks: expected pixel or channel, found 'both'"),
        ({"activation": "relu"}, "activation: expected softmax or sigmoid, found 'relu'"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(EdgelaneError, match=message):
        Distillation(network(), **options)
