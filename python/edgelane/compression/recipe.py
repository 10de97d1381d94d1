"""A recipe: everything that `compress` is told, in sections that stand in a recipe file as they stand here."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgelane.compression.patterns import check_sparsity, pattern_named
from edgelane.errors import EdgelaneError

Importance = Literal["l1", "l2", "taylor", "movement", "random"]
Allocation = Literal["uniform", "global", "erk", "latency"]
ScheduleName = Literal["oneshot", "gradual", "iterative", "rigl"]
Calibration = Literal["minmax", "moving_average", "percentile", "mse", "entropy"]
Rounding = Literal["nearest", "adaround"]


class SettingError(EdgelaneError):
    """A setting that cannot be: `setting` is its name with its section ("prune.sparsity"), `problem` what is wrong."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting, self.problem = setting, problem


@dataclass(frozen=True)
class Prune:
    """Which weights go, and when."""

    pattern: str = "4x4"
    """unstructured, 4x1, 1x4, 4x4, N:M (such as 2:4) or channel."""
    sparsity: float | None = None
    """The share of weights to remove; None for N:M, which says it itself, and where a budget decides."""
    importance: Importance = "l1"
    """What a weight is worth. taylor looks at gradients before, movement at those of the fine-tuning."""
    allocation: Allocation = "uniform"
    """Shares among the layers: the same, one threshold for all, by their shape (ERK), or where it saves time."""
    schedule: ScheduleName = "gradual"
    """oneshot, gradual (cubic), iterative (rounds, with rewinding) or rigl (moving masks)."""
    ramp: float = 0.5
    """The share of the fine-tuning in which gradual reaches the final sparsity, and in which rigl moves."""
    rounds: int = 4
    """Of iterative."""
    rewind: Literal["weights", "learning_rate"] = "weights"
    """What iterative sets back after each round."""
    skip: tuple[str, ...] = ()
    """Layers, or modules that hold them, that stay dense."""
    include: tuple[str, ...] = ()
    """Layers that are pruned although they are the stem, the final layer or depthwise."""
    permute: bool = False
    """N:M only: reorder channels first, so that the pattern keeps more of the weights' magnitude."""

    def __post_init__(self) -> None:
        _check_types(self, "prune")
        try:
            pattern = pattern_named(self.pattern)
        except EdgelaneError as error:
            raise SettingError("prune.pattern", str(error)) from error
        if self.sparsity is not None:
            try:
                check_sparsity(self.sparsity, pattern)
            except EdgelaneError as error:
                raise SettingError("prune.sparsity", str(error)) from error
        _check(0.0 < self.ramp <= 1.0, "prune.ramp", "a share above 0, at most 1", self.ramp)
        _check(self.rounds >= 1, "prune.rounds", "1 or more", self.rounds)
        _check(not self.permute or pattern.kind == "n:m", "prune.permute", "false unless the pattern is N:M", True)
        if pattern.kind == "channel":
            _check(self.schedule != "rigl", "prune.schedule", "oneshot for pattern channel", self.schedule)
            _check(self.importance != "movement", "prune.importance", "l1, l2, taylor or random", self.importance)
        if self.importance == "movement" and self.schedule == "oneshot":
            raise SettingError(
                "prune.importance", "movement is seen while training: expected a schedule, found oneshot"
            )


@dataclass(frozen=True)
class Distill:
    """What the network learns from a teacher while it is fine-tuned, beside the labels."""

    teacher: str = "dense"
    """dense: the network before compression; or the run folder or checkpoint of another one with the same classes."""
    logits: float = 1.0
    """Weight of the divergence between the outputs."""
    temperature: float = 4.0
    features: Mapping[str, str] = field(default_factory=dict)
    """Layers whose outputs should agree: student's name to teacher's."""
    feature_weight: float = 1.0

    def __post_init__(self) -> None:
        _check_types(self, "train.distill")
        _check(self.temperature > 0, "train.distill.temperature", "a number above 0", self.temperature)
        for name in ("logits", "feature_weight"):
            _check(getattr(self, name) >= 0, f"train.distill.{name}", "0 or more", getattr(self, name))


@dataclass(frozen=True)
class Train:
    """The fine-tuning of a pruned network."""

    epochs: int = 20
    """Passes over the training data; 0 prunes at once and trains no more."""
    learning_rate: float = 1e-3
    batch_size: int = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    balance: Literal["none", "sampling", "loss"] = "none"
    distill: Distill | None = None

    def __post_init__(self) -> None:
        _check_types(self, "train")
        _check(self.epochs >= 0, "train.epochs", "0 or more", self.epochs)
        _check(self.batch_size >= 1, "train.batch_size", "1 or more", self.batch_size)
        _check(self.learning_rate > 0, "train.learning_rate", "a number above 0", self.learning_rate)
        _check(self.weight_decay >= 0, "train.weight_decay", "0 or more", self.weight_decay)
        _check(0 <= self.label_smoothing < 1, "train.label_smoothing", "from 0 to below 1", self.label_smoothing)


@dataclass(frozen=True)
class Quantize:
    """int8. With a gate (budget.max_drop) this is where the search for a better one begins."""

    calibration: Calibration = "mse"
    """How the ranges of activations follow from the calibration images."""
    images: int = 256
    """How many training images, without augmentation, set the ranges."""
    equalize: bool = False
    """Even out the channels' ranges across layers first; for depthwise networks."""
    bias_correction: bool = False
    rounding: Rounding = "nearest"
    """adaround learns for each weight whether it is rounded up or down."""
    qat_epochs: int = 0
    """Passes of quantisation-aware training after calibration."""
    qat_learning_rate: float = 1e-4
    residual: Literal["both", "fused"] = "both"
    """int8 on both operands of residual additions, or, as TensorRT fuses them, on the one that is not a convolution."""
    float_layers: tuple[str, ...] = ()
    """Layers, or modules that hold them, that stay float32."""

    def __post_init__(self) -> None:
        _check_types(self, "quantize")
        _check(self.images >= 1, "quantize.images", "1 or more", self.images)
        _check(self.qat_epochs >= 0, "quantize.qat_epochs", "0 or more", self.qat_epochs)
        _check(self.qat_learning_rate > 0, "quantize.qat_learning_rate", "a number above 0", self.qat_learning_rate)


@dataclass(frozen=True)
class Budget:
    """What the result may take, and what it may cost. None is no limit."""

    latency_ms: float | None = None
    """One thread, batch 1, on this machine."""
    size_mb: float | None = None
    """Of the `.lane` file, 10^6 bytes."""
    max_drop: float | None = None
    """Points (hundredths) of the task's metric, against the network before compression."""
    max_class_drop: float | None = None
    """The same for the class that loses most."""

    def __post_init__(self) -> None:
        _check_types(self, "budget")
        for name in ("latency_ms", "size_mb"):
            value = getattr(self, name)
            _check(value is None or value > 0, f"budget.{name}", "a number above 0", value)
        for name in ("max_drop", "max_class_drop"):
            value = getattr(self, name)
            _check(value is None or 0 <= value <= 100, f"budget.{name}", "points from 0 to 100", value)


@dataclass(frozen=True)
class Judge:
    """What else the dense and the compressed network are compared on, beside the test split."""

    conditions: tuple[str, ...] = ()
    """Names of image conditions, or all."""
    attacks: tuple[str, ...] = ()
    """fgsm, pgd, or all."""
    images: int = 256
    """How many test images these take."""
    saliency: int = 0
    """For how many pictures the report compares saliency maps."""

    def __post_init__(self) -> None:
        _check_types(self, "judge")
        _check(self.images >= 1, "judge.images", "1 or more", self.images)
        _check(self.saliency >= 0, "judge.saliency", "0 or more", self.saliency)


@dataclass(frozen=True)
class Recipe:
    """How to compress a trained network. Raises SettingError, an EdgelaneError, for a value out of its range."""

    seed: int = 0
    prune: Prune | None = None
    train: Train = field(default_factory=Train)
    quantize: Quantize | None = None
    budget: Budget = field(default_factory=Budget)
    judge: Judge = field(default_factory=Judge)

    def __post_init__(self) -> None:
        _check_types(self, "")
        _check(self.seed >= 0, "seed", "0 or more", self.seed)
        if self.prune is None and self.quantize is None:
            raise EdgelaneError(
                "nothing to compress: give a sparsity (such as 0.85), int8, a budget, or a recipe with one of them"
            )
        sized = self.budget.latency_ms is not None or self.budget.size_mb is not None
        if self.prune is None:
            if sized:
                raise SettingError("budget", "latency_ms and size_mb are met by pruning: expected a section prune")
            return
        pattern = pattern_named(self.prune.pattern)
        if self.prune.allocation == "latency":
            _check(sized, "prune.allocation", "a budget (latency_ms or size_mb) for latency", "none")
            _check(self.prune.sparsity is None, "prune.sparsity", "none where a budget decides", self.prune.sparsity)
            _check(pattern.kind == "block", "prune.pattern", "a block pattern for a budget", self.prune.pattern)
        else:
            _check(not sized, "prune.allocation", "latency where there is a budget", self.prune.allocation)
            if pattern.kind != "n:m":
                _check(self.prune.sparsity is not None, "prune.sparsity", "a share of weights, as 0.85", None)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values: a recipe file."""
        settings: dict[str, Any] = plain(self)
        return settings


def plain(value: Any) -> Any:
    """A section, or a value of one, as JSON values."""
    if is_dataclass(value):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _check(holds: bool, setting: str, expected: str, found: Any) -> None:
    if not holds:
        raise SettingError(setting, f"expected {expected}, found {'nothing' if found is None else found}")


def _check_types(section: Any, prefix: str) -> None:
    """Every field of `section` against its annotation."""
    for name, hint in get_type_hints(type(section)).items():
        value = getattr(section, name)
        problem = misfit(value, hint)
        if problem is not None:
            raise SettingError(f"{prefix}.{name}".lstrip("."), problem)


def misfit(value: Any, hint: Any) -> str | None:
    """What is wrong with `value` where the annotation `hint` stands, or None."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return misfit(value, next(argument for argument in arguments if argument is not type(None)))
    if origin is Literal:
        fits, wanted = value in arguments, f"one of {', '.join(arguments)}"
    elif origin is tuple:
        fits = isinstance(value, tuple) and all(isinstance(entry, str) for entry in value)
        wanted = "a list of names"
    elif hint is float:
        fits, wanted = isinstance(value, (int, float)) and not isinstance(value, bool), "a number"
    elif hint is int:
        fits, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif hint is bool:
        fits, wanted = isinstance(value, bool), "true or false"
    elif hint is str:
        fits, wanted = isinstance(value, str), "a text"
    elif is_dataclass(hint):
        fits, wanted = isinstance(value, hint), "settings"  # type: ignore[arg-type]
    else:  # a mapping of names
        fits = isinstance(value, Mapping) and all(isinstance(part, str) for item in value.items() for part in item)
        wanted = "names with names"
    return None if fits else f"expected {wanted}, found {value!r}"
