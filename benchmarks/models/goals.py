"""The goal table: what edgelane must reach against what users would run instead, and how a measurement is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.kernels.program import percent

Verdict = Literal["stretch", "met", "missed", "not measured"]
OPENVINO, ONNXRUNTIME, BETTER = "OpenVINO", "ONNX Runtime", "better of both"


@dataclass(frozen=True)
class Goal:
    """One line. `bound` says how a value is held against `at_least` and `stretch`: "lower" where it must not be less
    than them, "upper" where it must not be more.
    """

    key: str
    workload: str
    reference: str
    at_least: float
    stretch: float | None
    bound: Literal["lower", "upper"] = "lower"
    form: Callable[[float], str] = "{:.2f}x".format

    def verdict(self, value: float | None) -> Verdict:
        """What a measured value means for this goal."""
        if value is None:
            return "not measured"
        sign = 1 if self.bound == "lower" else -1
        if self.stretch is not None and sign * value >= sign * self.stretch:
            return "stretch"
        return "met" if sign * value >= sign * self.at_least else "missed"

    def show(self, value: float | None) -> str:
        """A value in the goal's unit."""
        return "–" if value is None else self.form(value)


@dataclass(frozen=True)
class Speed:
    """A goal that is a ratio of latencies on one thread: edgelane's `model` in `group` over the reference there."""

    goal: Goal
    group: str
    model: str


def _speed(group: str, model: str, workload: str, reference: str, at_least: float, stretch: float) -> Speed:
    return Speed(Goal(f"{group}/{model}", workload, reference, at_least, stretch), group, model)


SPEED = (
    _speed("resnet50-f32", "unstructured-90", "ResNet-50, 90 % unstructured, fp32", ONNXRUNTIME, 4.0, 5.0),
    _speed("resnet50-f32", "4x1-90", "ResNet-50, 90 % 4x1, fp32", ONNXRUNTIME, 6.0, 7.0),
    _speed("resnet50-int8", "1x4-90", "ResNet-50, 90 % 1x4, int8", OPENVINO, 3.0, 3.5),
    _speed("resnet50-int8", "4x4-90", "ResNet-50, 90 % 4x4, int8", OPENVINO, 4.0, 5.0),
    _speed("resnet50-int8", "dense", "ResNet-50, dense, int8", OPENVINO, 1.0, 1.1),
    _speed("resnet50-f32", "dense", "ResNet-50, dense, fp32", ONNXRUNTIME, 0.95, 1.2),
    _speed("resnet18-int8", "4x4-90", "ResNet-18, 90 % 4x4, int8", OPENVINO, 3.5, 4.5),
    _speed("mobilenet_v2-f32", "4x1-85", "MobileNetV2, 85 % 4x1 on 1x1 layers, fp32", OPENVINO, 2.0, 2.5),
    _speed("mobilenet_v2-int8", "4x4-75", "MobileNetV2, 75 % 4x4 on 1x1 layers, int8", OPENVINO, 1.5, 2.0),
)
PERCEPTION_F32 = Goal("perception-f32", "dense perception networks, fp32, geometric mean", BETTER, 1.1, 1.5)
PERCEPTION_INT8 = Goal("perception-int8", "dense perception networks, int8, geometric mean", BETTER, 1.1, 1.5)
THREADS = Goal("threads", "two threads over one, ResNet-50, 90 % 4x4, int8", "itself", 1.8, 1.95)
JITTER = Goal(
    "jitter",
    "p99.9 / p50, pinned, beyond an empty loop of the same length",
    "itself",
    0.10,
    0.05,
    "upper",
    "{:+.3f}".format,
)
LOAD = Goal("load", "load time of a `.lane`, geometric mean", f"{ONNXRUNTIME} session creation", 1.0, 2.0)
MEMORY = Goal("memory", "peak memory, geometric mean", ONNXRUNTIME, 0.6, 0.4, "upper")
FILE = Goal(
    "file",
    "file size, ResNet-50, 90 % 4x4, int8",
    "dense fp32 ONNX",
    1 / 25,
    1 / 30,
    "upper",
    lambda part: f"1/{1 / part:.1f}",
)
BREAK_EVEN_4X1 = Goal(
    "break-even 4x1", "sparsity where 4x1 overtakes dense, ResNet-50, fp32", "own dense", 0.35, None, "upper", percent
)
BREAK_EVEN_UNSTRUCTURED = Goal(
    "break-even unstructured",
    "sparsity where unstructured overtakes dense, ResNet-50, fp32",
    "own dense",
    0.50,
    None,
    "upper",
    percent,
)
