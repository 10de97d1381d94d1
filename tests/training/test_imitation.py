"""The losses of distillation against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from edgelane.errors import EdgelaneError
from edgelane.training.imitation import (
    Heads,
    imitate_heads,
    read_heads,
    soft_channels,
    soft_labels,
    soft_pixels,
    soft_scores,
)

# KL of (0.8, 0.2) to (0.5, 0.5), and of (0.8, 0.2) to (0.4, 0.6).
TO_HALF = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
TO_OTHER = 0.8 * math.log(0.8 / 0.4) + 0.2 * math.log(0.2 / 0.6)
TEMPERATURE = 3.0


def logits(*rows: tuple[float, ...]) -> Tensor:
    """Logits whose softmax at TEMPERATURE is each row."""
    return TEMPERATURE * torch.log(torch.tensor(rows)) + 1.7


def test_soft_labels():
    student, teacher = logits((0.5, 0.5), (0.4, 0.6)), logits((0.8, 0.2), (0.8, 0.2))
    expected = TEMPERATURE**2 * (TO_HALF + TO_OTHER) / 2
    assert float(soft_labels(student, teacher, TEMPERATURE)) == pytest.approx(expected, rel=1e-5)
    assert float(soft_labels(teacher, teacher, TEMPERATURE)) == pytest.approx(0, abs=1e-6)


def test_a_high_temperature_matches_logits():
    """Hinton et al., section 2.1: for logits of mean zero it approaches half their mean squared difference."""
    student, teacher = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, -2.0]])
    assert float(soft_labels(student, teacher, 100.0)) == pytest.approx(0.5 * (1 + 1) / 2, rel=1e-3)


def test_soft_pixels_leave_out_what_has_no_label():
    student = logits((0.5, 0.5), (0.4, 0.6)).T.reshape(1, 2, 1, 2)
    teacher = logits((0.8, 0.2), (0.8, 0.2)).T.reshape(1, 2, 1, 2)
    both = float(soft_pixels(student, teacher, TEMPERATURE))
    assert both == pytest.approx(TEMPERATURE**2 * (TO_HALF + TO_OTHER) / 2, rel=1e-5)
    first = float(soft_pixels(student, teacher, TEMPERATURE, torch.tensor([[[1, 255]]])))
    assert first == pytest.approx(TEMPERATURE**2 * TO_HALF, rel=1e-5)
    assert float(soft_pixels(student, teacher, TEMPERATURE, torch.full((1, 1, 2), 255))) == 0


def test_soft_channels_compare_where_a_class_is_seen():
    """One channel of three pixels: a distribution over the picture, of which an unknown pixel is no part."""
    student = logits((0.5, 0.5)).reshape(1, 1, 1, 2)
    teacher = logits((0.8, 0.2)).reshape(1, 1, 1, 2)
    expected = TEMPERATURE**2 * TO_HALF
    assert float(soft_channels(student, teacher, TEMPERATURE)) == pytest.approx(expected, rel=1e-5)
    assert float(soft_channels(student + 5, teacher, TEMPERATURE)) == pytest.approx(expected, rel=1e-5)
    wider = [
        torch.cat([tensor, torch.full((1, 1, 1, 1), fill)], 3) for tensor, fill in ((student, 9.0), (teacher, 0.0))
    ]
    masked = soft_channels(*wider, TEMPERATURE, torch.tensor([[[0, 0, 255]]]))
    assert float(masked) == pytest.approx(expected, rel=1e-5)


def test_soft_scores():
    """Sigmoids of 0.8 and 0.5 for the teacher, 0.5 and 0.5 for the student: the second class adds nothing."""
    teacher = TEMPERATURE * torch.tensor([[[math.log(4.0), 0.0]]])
    student = torch.zeros(1, 1, 2)
    assert float(soft_scores(student, teacher, TEMPERATURE)) == pytest.approx(TEMPERATURE**2 * TO_HALF, rel=1e-5)
    assert float(soft_scores(teacher, teacher, TEMPERATURE)) == pytest.approx(0, abs=1e-6)


def test_half_precision_is_compared_in_float32():
    student, teacher = torch.zeros(1, 4, dtype=torch.float16), torch.full((1, 4), 60000.0, dtype=torch.float16)
    teacher[0, 0] = 0
    loss = soft_labels(student, teacher, 1.0)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(4 / 3), rel=1e-3)


def test_detection_heads_by_hand():
    """Two places; the teacher is 0.8 sure of the first (class 0 is background) and 0.2 of the second."""
    teacher = Heads(
        [logits((0.2, 0.8), (0.8, 0.2))[None]], [torch.tensor([[[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]])]
    )
    student = Heads(
        [logits((0.5, 0.5), (0.8, 0.2))[None]], [torch.tensor([[[0.0, 0.0, 0.5, 3.0], [1.0, 1.0, 0.0, 0.0]]])]
    )
    plain = Heads(teacher.classes, teacher.boxes)
    classes, boxes = imitate_heads(student, plain, TEMPERATURE, "softmax", 0)
    assert float(classes) == pytest.approx(TEMPERATURE**2 * TO_HALF / 2, rel=1e-5)
    # Confidences at temperature 1: softmax of 3 * log p, so p^3 over the sum.
    sure, unsure = 0.8**3 / (0.8**3 + 0.2**3), 0.2**3 / (0.8**3 + 0.2**3)
    first, second = 0.5 * 0.25 + 2.5, 0.5  # smooth L1 of 0.5 and 3, and of 1
    assert float(boxes) == pytest.approx((sure * first + unsure * second) / (sure + unsure), rel=1e-5)
    _, highest = imitate_heads(student, plain, TEMPERATURE, "softmax", None)
    assert float(highest) == pytest.approx((first + second) / 2, rel=1e-5), "both are 0.8 sure of something"


def test_sigmoid_heads_weigh_boxes_by_the_best_class():
    teacher = Heads([torch.tensor([[[0.0, -100.0], [-100.0, -100.0]]])], [torch.zeros(1, 2, 4)])
    student = Heads(teacher.classes, [torch.tensor([[[2.0, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])])
    classes, boxes = imitate_heads(student, teacher, 1.0, "sigmoid", 0)
    assert float(classes) == pytest.approx(0, abs=1e-6)
    assert float(boxes) == pytest.approx(1.5, rel=1e-5), "what the teacher does not see does not count"


def tensors(*sizes: int) -> list[Tensor]:
    return [torch.zeros(2, count, 3) for count in sizes], [torch.zeros(2, count, 4) for count in sizes]


def test_layouts_that_need_no_explanation():
    classes, boxes = tensors(6, 4)
    for outputs in (
        {"cls_logits": classes, "bbox_regression": boxes, "bbox_ctrness": [], "features": None},
        [{"classes": classes[0], "loc": boxes[0]}, {"classes": classes[1], "loc": boxes[1]}],
        [(classes[0], boxes[0]), (classes[1], boxes[1])],
    ):
        heads = read_heads(outputs)
        assert [tensor.shape for tensor in heads.classes] == [(2, 6, 3), (2, 4, 3)]
        assert [tensor.shape for tensor in heads.boxes] == [(2, 6, 4), (2, 4, 4)]
    assert read_heads({"class_logits": classes[0]}).boxes == []


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(1, 4), r"cannot tell class logits from boxes .*Distillation\(heads=FUNCTION\).*found \[1, 4\]"),
        ({"scale": torch.zeros(2, 3)}, r"found \{scale: \[2, 3\]\}"),
        ({"cls": torch.zeros(1, 6, 3), "box": torch.zeros(1, 5, 4)}, r"at different places: \[\(1, 6\)\] and \[\(1, 5"),
        ({"cls": [None]}, "expected tensors"),
    ],
)
def test_layouts_that_do(outputs, message):
    with pytest.raises(EdgelaneError, match=message):
        read_heads(outputs)
