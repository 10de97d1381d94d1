"""The settings of `compress`: from arguments, from a recipe file, or from both where they do not contradict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgelane.compression.patterns import check_sparsity, pattern_named
from edgelane.errors import EdgelaneError
from edgelane.observers import METHODS


@dataclass(frozen=True)
class Recipe:
    """How to compress a trained network. Raises EdgelaneError for a value out of its range."""

    sparsity: float | None = None
    """The share of weights to remove from each pruned layer; None does not prune."""
    pattern: str = "4x4"
    """unstructured, 4x1, 1x4, 4x4, 2:4 or channel."""
    int8: bool = False
    """Quantise weights and activations after pruning."""
    epochs: int = 20
    """Passes over the training data that fine-tune the pruned network; 0 prunes at once and trains no more."""
    ramp: float = 0.5
    """The share of these passes in which the sparsity rises to its final value; the rest trains at that value."""
    learning_rate: float = 1e-3
    batch_size: int = 32
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    balance: str = "none"
    seed: int = 0
    skip: tuple[str, ...] = ()
    """Layers, or modules that hold them, that stay as they are in pruning."""
    include: tuple[str, ...] = ()
    """Layers that are pruned although they are the stem, the final layer or depthwise."""
    calibration: str = "mse"
    """How int8 ranges follow from the calibration images: mse, minmax, moving_average, percentile or entropy."""
    calibration_images: int = 256
    """How many training images, without augmentation, set the int8 ranges."""
    float_layers: tuple[str, ...] = ()
    """Layers, or modules that hold them, that stay float32 in quantisation."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), getattr(type(self), field.name))
        rule = pattern_named(self.pattern)
        if self.sparsity is not None:
            check_sparsity(self.sparsity, rule)
        if self.sparsity is None and not self.int8:
            raise EdgelaneError(
                "nothing to compress: give a sparsity (such as 0.85), int8, or a recipe with one of them"
            )
        if self.epochs < 0 or self.calibration_images < 1 or not 0.0 <= self.ramp <= 1.0:
            raise EdgelaneError(
                "expected epochs >= 0, calibration_images >= 1 and 0 <= ramp <= 1, "
                f"found {self.epochs}, {self.calibration_images} and {self.ramp}"
            )
        if self.calibration not in METHODS:
            raise EdgelaneError(f"unknown calibration {self.calibration!r}; expected one of {', '.join(METHODS)}")

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values: a recipe file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def _check_type(name: str, value: Any, default: Any) -> None:
    if name == "sparsity":
        return  # check_sparsity speaks for it
    expected: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
    fits = isinstance(value, expected) and (isinstance(default, bool) or not isinstance(value, bool))
    if isinstance(value, tuple):
        fits = fits and all(isinstance(entry, str) for entry in value)
    if not fits:
        wanted = (
            "a list of names"
            if isinstance(default, tuple)
            else "a number"
            if float in expected
            else expected[0].__name__
        )
        raise EdgelaneError(f"{name}: expected {wanted}, found {value!r}")


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings in a recipe file: JSON, or YAML where its name ends in .yaml or .yml.

    Raises EdgelaneError when the file is missing, is no mapping, or holds a key that `Recipe` does not know.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise EdgelaneError(f"recipe {file} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise EdgelaneError(f"cannot read recipe {file}: {error}") from error
    content = _parse(file, text)
    if not isinstance(content, dict):
        raise EdgelaneError(
            f"recipe {file}: expected settings such as sparsity: 0.85, found a {type(content).__name__}"
        )
    known = [field.name for field in fields(Recipe)]
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise EdgelaneError(f"recipe {file}: unknown setting {', '.join(unknown)}; known are {', '.join(known)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


def _parse(file: Path, text: str) -> Any:
    if file.suffix.lower() in (".yaml", ".yml"):
        try:
            import yaml  # type: ignore[import-untyped]
        except ImportError as error:
            raise EdgelaneError(
                f"recipe {file} needs PyYAML: pip install pyyaml, or write the recipe as JSON"
            ) from error
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise EdgelaneError(f"recipe {file} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise EdgelaneError(f"recipe {file} is not JSON: {error}") from error


def make_recipe(given: Mapping[str, Any], path: str | os.PathLike[str] | None) -> Recipe:
    """A Recipe from the arguments that were `given` (None stands for: not given) and the recipe file at `path`.

    Raises EdgelaneError when both set the same thing to different values, and when a pattern or epochs are given
    without a sparsity.
    """
    settings = read_recipe(path) if path is not None else {}
    for key, value in given.items():
        if value is None:
            continue
        if key in settings and settings[key] != value:
            raise EdgelaneError(
                f"{key} is {value!r} as an argument and {settings[key]!r} in recipe {path}: leave one of them out"
            )
        settings[key] = value
    for key in ("pattern", "epochs"):
        if given.get(key) is not None and settings.get("sparsity") is None:
            raise EdgelaneError(f"{key} is for pruning: give a sparsity too, or leave {key} out")
    return Recipe(**settings)
