"""How far a student's outputs are from a teacher's: one function for each kind of output, all zero where they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from edgelane.errors import EdgelaneError
from edgelane.tasks import IGNORED

Activation = Literal["softmax", "sigmoid"]
ReadHeads = Callable[[Any], "Heads"]
_NEVER = -1e4  # a logit whose probability is 0 in float32 and whose logarithm is still a number
_CLASS_WORDS, _BOX_WORDS = ("cls", "class", "logit"), ("box", "loc", "reg")


def soft_labels(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network": KL divergence of the softened
    probabilities, times temperature squared, which keeps the gradients' size. Logits [n, classes]; the mean over n.
    """
    return _kl(student, teacher, temperature, 1).mean()


def soft_pixels(student: Tensor, teacher: Tensor, temperature: float, targets: Tensor | None = None) -> Tensor:
    """`soft_labels` at each pixel of logits [n, classes, h, w]; the mean over the pixels whose target is not 255."""
    divergence = _kl(student, teacher, temperature, 1)
    if targets is None:
        return divergence.mean()
    known = targets != IGNORED
    return (divergence * known).sum() / known.sum().clamp(min=1)


def soft_channels(student: Tensor, teacher: Tensor, temperature: float, targets: Tensor | None = None) -> Tensor:
    """Shu et al. (2021), "Channel-wise Knowledge Distillation for Dense Prediction": each channel of [n, classes, h, w]
    becomes a distribution over the picture's pixels; KL divergence times temperature squared, the mean over channels.
    Pixels whose target is 255 are left out.
    """
    if targets is not None:
        unknown = (targets == IGNORED)[:, None]
        student, teacher = student.masked_fill(unknown, _NEVER), teacher.masked_fill(unknown, _NEVER)
    return _kl(student.flatten(2), teacher.flatten(2), temperature, 2).mean()


def _kl(student: Tensor, teacher: Tensor, temperature: float, axis: int) -> Tensor:
    """T^2 * KL(teacher || student) along `axis`, in float32."""
    s = functional.log_softmax(student.float() / temperature, axis)
    t = functional.softmax(teacher.float() / temperature, axis)
    return functional.kl_div(s, t, reduction="none").sum(axis) * temperature**2


def soft_scores(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """For classes that do not exclude each other: binary KL divergence of the softened sigmoids, times temperature
    squared, summed over the last axis. Logits [..., classes]; the mean over all other axes.
    """
    s, t = student.float() / temperature, teacher.float() / temperature
    probability = torch.sigmoid(t)
    cross = functional.binary_cross_entropy_with_logits(s, probability, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(t, probability, reduction="none")
    return (cross - entropy).sum(-1).mean() * temperature**2


@dataclass(frozen=True)
class Heads:
    """What a detector says at each of its places, level by level.

    `classes[i]`: logits [n, ..., classes]. `boxes[i]`: regressions [n, ..., 4] (or any number) at the same places; none
    at all for a network without boxes.
    """

    classes: Sequence[Tensor]
    boxes: Sequence[Tensor] = ()


def read_heads(outputs: Any) -> Heads:
    """Heads from the layouts that need no explanation.

    - A mapping, as torchvision's heads give: entries with "cls", "class" or "logit" in their name are class logits,
      those with "box", "loc" or "reg" box regressions; each a tensor or a list with one per level, in the same order.
    - A sequence of such mappings, or of (class logits, box regressions) pairs: one per level.

    Class logits end in an axis of classes, [n, ..., classes], boxes in one of coordinates. Other entries (such as
    centerness) are left out. Raises EdgelaneError for any other layout: `Distillation(heads=...)` takes a function.
    """
    if isinstance(outputs, Mapping):
        classes = _named(outputs, _CLASS_WORDS)
        if classes:
            return _checked(Heads(classes, _named(outputs, _BOX_WORDS)))
    elif isinstance(outputs, (list, tuple)) and outputs:
        if all(isinstance(level, Mapping) for level in outputs):
            levels = [read_heads(level) for level in outputs]
            flat = [[tensor for level in levels for tensor in getattr(level, part)] for part in ("classes", "boxes")]
            return _checked(Heads(*flat))
        if all(isinstance(level, (list, tuple)) and len(level) == 2 for level in outputs):
            return _checked(Heads([level[0] for level in outputs], [level[1] for level in outputs]))
    raise EdgelaneError(
        "distillation cannot tell class logits from boxes in this output: give Distillation(heads=FUNCTION), which "
        f"turns it into edgelane.training.Heads; found {_describe(outputs)}"
    )


def _named(outputs: Mapping[str, Any], words: Sequence[str]) -> list[Tensor]:
    found: list[Tensor] = []
    for name, value in outputs.items():
        if any(word in name.lower() for word in words):
            found += [value] if isinstance(value, Tensor) else list(value)
    return found


def _checked(heads: Heads) -> Heads:
    for part in (heads.classes, heads.boxes):
        if not all(isinstance(tensor, Tensor) and tensor.dim() >= 2 for tensor in part):
            raise EdgelaneError(f"heads: expected tensors [n, ..., classes or coordinates], found {_describe(part)}")
    places = [[tuple(tensor.shape[:-1]) for tensor in part] for part in (heads.classes, heads.boxes)]
    if heads.boxes and places[0] != places[1]:
        raise EdgelaneError(f"heads: classes and boxes are at different places: {places[0]} and {places[1]}")
    return heads


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_describe(entry)}" for key, entry in list(value.items())[:6]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_describe(entry) for entry in value[:6]) + "]"
    return type(value).__name__


def imitate_heads(
    student: Heads, teacher: Heads, temperature: float, activation: Activation, background: int | None
) -> tuple[Tensor, Tensor]:
    """(class loss, box loss) of two detectors' heads, all levels together.

    Classes: `soft_labels` (softmax) or `soft_scores` (sigmoid) at every place, the mean over places. Boxes: smooth L1,
    summed over the coordinates and averaged over the places with the teacher's confidence as weight, because where the
    teacher sees nothing its box means nothing. Confidence: 1 - P(`background`) or, with background None, the highest
    probability.
    """
    s, t = (torch.cat([level.flatten(1, -2) for level in heads.classes], 1) for heads in (student, teacher))
    if activation == "sigmoid":
        classes = soft_scores(s, t, temperature)
        probabilities = torch.sigmoid(t.float())
    else:
        classes = _kl(s, t, temperature, -1).mean()
        probabilities = functional.softmax(t.float(), -1)
    if not student.boxes:
        return classes, classes.new_zeros(())
    if activation == "sigmoid" or background is None:
        confidence = probabilities.amax(-1)
    else:
        confidence = 1 - probabilities[..., background]
    a, b = (torch.cat([level.flatten(1, -2) for level in heads.boxes], 1).float() for heads in (student, teacher))
    distance = functional.smooth_l1_loss(a, b, reduction="none").sum(-1)
    return classes, (confidence * distance).sum() / confidence.sum().clamp(min=torch.finfo(torch.float32).eps)
