"""Distillation: a student that learns from a teacher's outputs and features beside the labels."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgelane.checkpoint import Checkpoint
from edgelane.compression.layers import evaluating
from edgelane.errors import EdgelaneError
from edgelane.training.imitation import (
    Activation,
    ReadHeads,
    imitate_heads,
    read_heads,
    soft_channels,
    soft_labels,
    soft_pixels,
)

if TYPE_CHECKING:
    from edgelane.data import DataBundle

Teacher: TypeAlias = "nn.Module | Checkpoint | str | os.PathLike[str]"


@dataclass(frozen=True)
class Distillation:
    """What a student takes from a teacher. Its loss is added to the task's:

    task loss + `logits` * divergence of the outputs + `feature_weight` * distance of the features

    `teacher`: a torch module, a checkpoint or the path of one, with the student's classes. It is copied, frozen and in
    evaluation mode; it gets no gradients and is in no state_dict.
    `logits`: weight of the outputs' part, 0 for none; `temperature` softens them (see `soft_labels`). Masks are
    compared at each "pixel" or, with `masks`, "channel" by channel (see `soft_channels`).
    `features`: student layer → teacher layer, by the names of `named_modules()`; the mean squared difference of what
    the two return (Romero et al. 2015, "FitNets"), averaged over the pairs. Where channels differ, a 1x1 convolution
    (for [n, c] and [n, tokens, c] a linear layer) adapts the student's; it is trained along and then dropped. Where
    height and width differ, the student's features are resized.
    `heads`, `activation`, `background`, `boxes`: for detectors, whose outputs are no single tensor: `heads` reads them
    (see `read_heads`, the default), `boxes` is the weight of the box regressions beside that of the classes (both
    times `logits`), `activation` and `background` say how class logits become probabilities (see `imitate_heads`).

    Raises EdgelaneError for weights below 0, a temperature that is not positive, and nothing to learn.
    """

    teacher: Teacher
    logits: float = 1.0
    temperature: float = 4.0
    features: Mapping[str, str] = field(default_factory=dict)
    feature_weight: float = 1.0
    masks: Literal["pixel", "channel"] = "pixel"
    heads: ReadHeads = read_heads
    activation: Activation = "softmax"
    background: int | None = 0
    boxes: float = 1.0

    def __post_init__(self) -> None:
        for name in ("logits", "feature_weight", "boxes"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise EdgelaneError(f"distillation: {name}: expected 0 or more, found {value}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise EdgelaneError(f"distillation: temperature: expected a positive number, found {self.temperature}")
        if self.logits == 0 and not (self.features and self.feature_weight):
            raise EdgelaneError("distillation: nothing to learn: give logits or features a weight above 0")
        for name, choices in (("masks", ("pixel", "channel")), ("activation", ("softmax", "sigmoid"))):
            if getattr(self, name) not in choices:
                found = getattr(self, name)
                raise EdgelaneError(f"distillation: {name}: expected {' or '.join(choices)}, found {found!r}")

    def attach(self, student: nn.Module, example: Tensor, *, task: str = "classification", seed: int = 0) -> Distiller:
        """The loss as a module, with hooks in the student: for training loops other than `fit`.

        `example`: an input [n, 3, h, w] that both take; it tells the shapes. `task`: "classification", "segmentation"
        or "detection" (outputs read as heads). `seed`: of the adapters' first weights.
        Raises EdgelaneError when the two do not fit each other.
        """
        return Distiller(self, student, example, task=task, seed=seed)

    def check(self, bundle: DataBundle) -> None:
        """Raise EdgelaneError when the teacher's checkpoint was trained for another task or other classes or inputs."""
        checkpoint = self._checkpoint()
        if checkpoint is None:
            return
        mean_and_std = [(shape.mean, shape.std) for shape in (checkpoint.preprocessing, bundle.preprocessing)]
        for name, theirs, ours in (
            ("task", checkpoint.task, bundle.task),
            ("classes", ", ".join(checkpoint.classes), ", ".join(bundle.classes)),
            ("mean and std of the input", *mean_and_std),
        ):
            if theirs != ours:
                raise EdgelaneError(f"distillation: {name} of the teacher: expected {ours}, found {theirs}")

    def build_teacher(self) -> nn.Module:
        """A copy of the teacher, frozen and in evaluation mode, on the CPU or where it was."""
        checkpoint = self._checkpoint()
        teacher = copy.deepcopy(self.teacher) if checkpoint is None else checkpoint.build()
        assert isinstance(teacher, nn.Module)
        return teacher.eval().requires_grad_(False)

    def _checkpoint(self) -> Checkpoint | None:
        if isinstance(self.teacher, (str, os.PathLike)):
            return Checkpoint.load(self.teacher)
        return self.teacher if isinstance(self.teacher, Checkpoint) else None


class Distiller(nn.Module):
    """The distillation loss of one student. Call it after the student, with the same images.

    Its parameters are the adapters', to be trained along; the teacher is no part of it. `close` takes the hooks out of
    the student.
    """

    def __init__(self, settings: Distillation, student: nn.Module, example: Tensor, *, task: str, seed: int) -> None:
        super().__init__()
        self.settings, self.task = settings, task
        self._teacher = (settings.build_teacher(),)  # in a tuple, where nn.Module does not look for modules
        self._seen: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        self._handles: list[Any] = []
        self.adapters = nn.ModuleDict()
        try:
            self._watch(student, "student", settings.features.keys(), self._seen[0])
            self._watch(self._teacher[0], "teacher", settings.features.values(), self._seen[1])
            self._check_outputs(student, example)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self._make_adapters()
        except EdgelaneError:
            self.close()
            raise

    def forward(self, images: Tensor, outputs: Any, targets: Tensor | None = None) -> Tensor:
        """The loss, a scalar in float32, for what the student has just made of `images`.

        `targets`: a segmentation's masks, whose pixels of value 255 are left out.
        """
        expected = self._run_teacher(images)
        settings = self.settings
        loss = torch.zeros((), device=images.device)
        if settings.logits:
            loss = loss + settings.logits * self._output_loss(outputs, expected, targets)
        if settings.features and settings.feature_weight:
            distances = [self._distance(*pair) for pair in settings.features.items()]
            loss = loss + settings.feature_weight * torch.stack(distances).mean()
        for seen in self._seen:
            seen.clear()
        return loss

    def close(self) -> None:
        """Take the hooks out of the student."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def identity(self) -> dict[str, Any]:
        """What makes a resumed run the same one, as plain values: the settings and a hash of the teacher's weights."""
        digest = hashlib.sha256()
        for name, value in self._teacher[0].state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        plain = ("logits", "temperature", "feature_weight", "masks", "activation", "background", "boxes")
        settings = {name: getattr(self.settings, name) for name in plain}
        return {**settings, "features": dict(self.settings.features), "teacher": digest.hexdigest()[:16]}

    def _run_teacher(self, images: Tensor) -> Any:
        teacher = self._teacher[0]
        first = next(teacher.parameters(), None)
        if first is not None and first.device != images.device:
            teacher.to(images.device)
        with torch.no_grad():
            return teacher(images)

    def _output_loss(self, outputs: Any, expected: Any, targets: Tensor | None) -> Tensor:
        settings = self.settings
        if self.task == "segmentation":
            compare = soft_channels if settings.masks == "channel" else soft_pixels
            return compare(outputs, expected, settings.temperature, targets)
        if self.task == "detection":
            classes, boxes = imitate_heads(
                settings.heads(outputs),
                settings.heads(expected),
                settings.temperature,
                settings.activation,
                settings.background,
            )
            return classes + settings.boxes * boxes
        return soft_labels(outputs, expected, settings.temperature)

    def _distance(self, student_layer: str, teacher_layer: str) -> Tensor:
        if student_layer not in self._seen[0]:
            raise EdgelaneError(
                f"distillation: the student's layer {student_layer!r} did not run: call the student before the loss"
            )
        mine, theirs = self._seen[0][student_layer], self._seen[1][teacher_layer]
        key = _key(student_layer)
        if key in self.adapters:
            mine = self.adapters[key](mine)
        if mine.dim() == 4 and mine.shape[-2:] != theirs.shape[-2:]:
            mine = functional.interpolate(mine, size=theirs.shape[-2:], mode="bilinear", align_corners=False)
        return functional.mse_loss(mine.float(), theirs.float())

    def _watch(self, model: nn.Module, role: str, names: Any, seen: dict[str, Tensor]) -> None:
        modules = dict(model.named_modules())

        def remember(name: str) -> Any:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                seen[name] = output

            return hook

        for name in names:
            if name not in modules:
                raise EdgelaneError(f"distillation: the {role} has no layer {name!r}; it has {_some(modules)}")
            self._handles.append(modules[name].register_forward_hook(remember(name)))

    def _check_outputs(self, student: nn.Module, example: Tensor) -> None:
        device = next((value.device for value in student.parameters()), torch.device("cpu"))
        images = example.to(device)
        with evaluating(student):
            found = student(images)
        expected = self._run_teacher(images)
        if self.settings.logits:
            shapes = [self._shapes(value) for value in (found, expected)]
            if shapes[0] != shapes[1]:
                raise EdgelaneError(
                    f"distillation: the teacher's output is {shapes[1]} and the student's {shapes[0]}: "
                    "expected the same classes and sizes"
                )

    def _shapes(self, outputs: Any) -> list[Any]:
        if self.task == "detection":
            heads = self.settings.heads(outputs)
            return [list(tensor.shape) for part in (heads.classes, heads.boxes) for tensor in part]
        if not isinstance(outputs, Tensor):
            raise EdgelaneError(
                f"distillation for {self.task}: expected a tensor of logits, found {type(outputs).__name__}; "
                'for a detector give task="detection"'
            )
        return list(outputs.shape)

    def _make_adapters(self) -> None:
        for student_layer, teacher_layer in self.settings.features.items():
            pair = self._seen[0].get(student_layer), self._seen[1].get(teacher_layer)
            for role, name, value in zip(("student", "teacher"), (student_layer, teacher_layer), pair, strict=True):
                if not isinstance(value, Tensor) or value.dim() < 2:
                    state = "never runs" if value is None else "does not return a tensor [n, channels, ...]"
                    raise EdgelaneError(f"distillation: the {role}'s layer {name!r} {state}")
            mine, theirs = pair
            assert mine is not None
            assert theirs is not None
            if mine.dim() != theirs.dim() or (mine.dim() != 4 and mine.shape[:-1] != theirs.shape[:-1]):
                raise EdgelaneError(
                    f"distillation: {student_layer!r} returns {list(mine.shape)}, which cannot be brought to the "
                    f"{list(theirs.shape)} of the teacher's {teacher_layer!r}"
                )
            axis = 1 if mine.dim() == 4 else -1
            channels, wanted = mine.shape[axis], theirs.shape[axis]
            if channels != wanted:
                make: Any = nn.Conv2d(channels, wanted, 1) if mine.dim() == 4 else nn.Linear(channels, wanted)
                self.adapters[_key(student_layer)] = make
        for seen in self._seen:
            seen.clear()


def _key(name: str) -> str:
    """A layer's name as nn.ModuleDict takes it."""
    return name.replace(".", "/")


def _some(modules: Mapping[str, nn.Module]) -> str:
    names = [name for name in modules if name]
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
