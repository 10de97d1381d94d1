"""Recipes: files with the line of every mistake, arguments beside them, and the way to a dictionary and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from edgelane.compression import recipe_file
from edgelane.compression.recipe import Budget, Distill, Prune, Quantize, Recipe, Train
from edgelane.compression.recipe_file import make_recipe, read_recipe, read_setting, recipe_of, shipped_recipes
from edgelane.errors import EdgelaneError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def test_every_section_of_a_file_is_read(file: Path) -> None:
    file.write_text(
        "seed: 3\n"
        "prune: {pattern: 2:4, permute: true, skip: [layer1, fc], importance: taylor}\n"
        "train:\n  epochs: 4\n  learning_rate: 1e-3\n  distill:\n    features: {layer3: layer2}\n"
        "quantize:\n  calibration: entropy\n"
        "budget:\n  max_drop: 1\n"
        "judge:\n"
    )
    recipe = read_recipe(file)
    assert recipe.prune == Prune("2:4", permute=True, skip=("layer1", "fc"), importance="taylor")
    assert recipe.train.learning_rate == 0.001
    assert recipe.train.distill == Distill(features={"layer3": "layer2"})
    assert (recipe.seed, recipe.quantize, recipe.budget) == (3, Quantize("entropy"), Budget(max_drop=1))
    assert recipe_of(recipe.to_dict()) == recipe


def test_the_readme_explains_every_setting_with_its_default(file: Path) -> None:
    readme = Path(recipe_file.__file__).with_name("README.md").read_text()
    file.write_text(readme.split("```yaml\n")[1].split("```")[0])
    assert read_recipe(file) == Recipe(prune=Prune(sparsity=0.8), train=Train(distill=Distill()), quantize=Quantize())
    written = yaml.safe_load(file.read_text())
    for section, settings in read_recipe(file).to_dict().items():
        assert section == "seed" or set(written[section]) == set(settings)
    assert set(written["train"]["distill"]) == set(Distill.__dataclass_fields__)


def test_json_is_read_too(file: Path) -> None:
    file.write_text('{\n  "prune": {"sparsity": 0.5},\n  "train": {"epochs": -1}}')
    with pytest.raises(EdgelaneError, match=rf"^{file}:3: train\.epochs: expected 0 or more, found -1$"):
        read_recipe(file)


@pytest.mark.parametrize("name", ["cpu-fp32", "cpu-int8", "tensorrt-2-4"])
def test_shipped_recipes_are_read_by_name(name: str) -> None:
    assert name in shipped_recipes()
    assert read_recipe(name).budget.max_drop == 1.0
    assert (read_recipe(name).quantize is None) == (name == "cpu-fp32")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("prune:\n  sparsity: 1.5\n", 2, r"prune\.sparsity: .*below 1, got 1\.5"),
        ("prune:\n  sparsity: high\n", 2, r"prune\.sparsity: expected a number, found 'high'"),
        ("seed: 1\nprune:\n  sparsty: 0.5\n", 3, r"prune\.sparsty: unknown setting; prune has pattern, sparsity"),
        ("pruning:\n  sparsity: 0.5\n", 1, "pruning: unknown setting; the recipe has seed, prune, train"),
        ("prune:\n  pattern: 8x8\n  sparsity: 0.5\n", 2, r"prune\.pattern: unknown sparsity pattern '8x8'"),
        ("\nprune: [1]\n", 2, r"prune: expected settings, found \(1,\)"),
        ("prune:\n  pattern: 4x4\n", 1, r"prune\.sparsity: expected a share of weights, as 0\.85, found nothing"),
        ("quantize:\n  calibration: median\n", 2, r"quantize\.calibration: expected one of minmax, moving_average"),
        ("quantize:\n  float_layers: conv1\n", 2, r"quantize\.float_layers: expected a list of names, found 'conv1'"),
        ("quantize:\n  images: 1.5\n", 2, r"quantize\.images: expected a whole number, found 1\.5"),
        ("quantize: {}\nbudget:\n  latency_ms: 3\n", 2, "budget: latency_ms and size_mb are met by pruning"),
        ("quantize: {}\nquantize: {}\n", 2, "quantize is given twice"),
        ("quantize:\n  images: 3\n a: b\n", 3, "not YAML"),
        (
            "prune: {sparsity: 0.5, importance: movement, schedule: oneshot}",
            1,
            r"prune\.importance: movement is seen while training",
        ),
        ("prune: {pattern: 4x4, sparsity: 0.5, permute: true}", 1, r"prune\.permute: expected false unless"),
        ("prune: {pattern: channel, sparsity: 0.5, schedule: rigl}", 1, r"prune\.schedule: expected oneshot"),
        ("prune: {allocation: latency}", 1, r"prune\.allocation: expected a budget \(latency_ms or size_mb\)"),
        ("prune: {sparsity: 0.5}\nbudget: {size_mb: 1}", 1, r"prune\.allocation: expected latency where there is"),
        ("train:\n  distill:\n    temperature: 0\nquantize: {}", 3, r"train\.distill\.temperature: expected a number"),
        ("? [a]\n: 3\n", 1, "expected the name of a setting"),
        ("- 0.5\n", 1, r"expected sections such as prune and quantize, found \(0\.5,\)"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, problem: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(EdgelaneError, match=rf"^{file}:{line}: {problem}"):
        read_recipe(file)


def test_an_empty_file_is_no_recipe(file: Path) -> None:
    file.write_text("# nothing\n")
    with pytest.raises(EdgelaneError, match="nothing to compress"):
        read_recipe(file)


def test_a_missing_file_is_named_with_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(
        EdgelaneError, match=r"none\.yaml does not exist: expected a file, or one of cpu-fp32, cpu-int8"
    ):
        read_recipe(tmp_path / "none.yaml")


def test_arguments_add_to_a_file_and_take_the_place_of_its_settings(file: Path) -> None:
    file.write_text("prune:\n  sparsity: 0.8\n  pattern: 1x4\nquantize:\n  images: 8\n")
    given: dict[str, Any] = {"quantize": {}, "prune.sparsity": 0.7, "train.epochs": 2}
    recipe = make_recipe(given, file)
    assert (recipe.prune, recipe.quantize, recipe.train.epochs) == (Prune("1x4", 0.7), Quantize(images=8), 2)
    recipe = make_recipe({"quantize": None, "prune.pattern": "2:4", "prune.sparsity": None}, file)
    assert (recipe.prune, recipe.quantize) == (Prune("2:4"), None)
    for source in (None, file):
        with pytest.raises(EdgelaneError, match=r"^prune\.sparsity: .*below 1, got 2$"):
            make_recipe({"prune.sparsity": 2}, source)
    with pytest.raises(EdgelaneError, match=rf"^{file}:2: prune\.sparsity: expected none where a budget decides"):
        make_recipe({"prune.allocation": "latency", "budget.latency_ms": 1.0}, file)


@pytest.mark.parametrize("content", ["quantize:\n  calibration: mse\n", "quantize:\n"])
def test_asking_for_int8_beside_a_file_that_has_it_changes_nothing(content: str, file: Path) -> None:
    file.write_text(content)
    assert make_recipe({"quantize": {}}, file).quantize == Quantize()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("prune.pattern=2:4", "2:4"),
        ("train.learning_rate=1e-3", 0.001),
        ("prune.skip=[layer1, fc]", ("layer1", "fc")),
        ("quantize={images: 8}", {"images": 8}),
        ("quantize=null", None),
        ("budget.max_drop=", None),
    ],
)
def test_single_settings_are_read_as_in_a_file(text: str, value: Any) -> None:
    assert read_setting(text) == (text.partition("=")[0], value)


@pytest.mark.parametrize(
    ("text", "problem"), [("taylor", "expected NAME=VALUE"), ("=1", "expected NAME=VALUE"), ("seed=[", "seed: cannot")]
)
def test_what_is_no_setting_is_named(text: str, problem: str) -> None:
    with pytest.raises(EdgelaneError, match=problem):
        read_setting(text)


def test_settings_take_the_place_of_those_of_a_recipe_object() -> None:
    recipe = Recipe(prune=Prune("1x4", 0.8))
    assert make_recipe({}, recipe) == recipe
    changed = make_recipe({"prune.sparsity": 0.5, "quantize": {}, "train.epochs": 1}, recipe)
    assert (changed.prune, changed.quantize, changed.train.epochs) == (Prune("1x4", 0.5), Quantize(), 1)
    assert recipe.prune == Prune("1x4", 0.8), "left as it was"
