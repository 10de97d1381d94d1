"""Recipe files: YAML (or JSON, which is YAML too), read so that every error names its line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from edgelane.compression.recipe import Recipe, SettingError
from edgelane.errors import EdgelaneError

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
SHIPPED = Path(__file__).with_name("recipes")


def shipped_recipes() -> tuple[str, ...]:
    """The names of the recipes that come with edgelane, for `read_recipe`."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def read_recipe(source: str | os.PathLike[str]) -> Recipe:
    """The recipe in the file `source`, or the shipped one of that name.

    Raises EdgelaneError, with file and line, for what is no recipe.
    """
    return _build(*_read(source), {})


def make_recipe(given: Mapping[str, Any], source: str | os.PathLike[str] | Recipe | None) -> Recipe:
    """The recipe `source` (a file, a shipped one's name, a Recipe, or none: all defaults) with the settings `given` as
    "section.setting": value in place of its own; {} for a section asks for it, with whatever the source has in it.

    Raises EdgelaneError for what is no recipe.
    """
    if isinstance(source, Recipe):
        return _build(None, source.to_dict(), {}, given)
    return _build(None, {}, {}, given) if source is None else _build(*_read(source), given)


def read_setting(text: str) -> tuple[str, Any]:
    """Name and value of NAME=VALUE, such as prune.pattern=2:4, the value as a recipe file has it.

    Raises EdgelaneError for what is none.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise EdgelaneError(f"expected NAME=VALUE such as prune.importance=taylor, found {text!r}")
    import yaml  # type: ignore[import-untyped]

    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise EdgelaneError(f"{name}: cannot read {value!r}") from error
    return name, None if node is None else _values(Path(text), node, name, {})


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.to_dict` gave."""
    recipe: Recipe = section_of(Recipe, settings)
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """The recipe as the content of a file that `read_recipe` reads."""
    import yaml

    return str(yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True))


def section_of(kind: Any, settings: Mapping[str, Any]) -> Any:
    """One section of a recipe from its settings as a dictionary."""
    return _section(kind, settings, "")


def _load(source: str | os.PathLike[str]) -> tuple[Path, Any]:
    """The file and its YAML nodes."""
    try:
        import yaml
    except ImportError as error:
        raise EdgelaneError("recipes need PyYAML: pip install 'edgelane[train]'") from error
    file = Path(source)
    if str(source) in shipped_recipes():
        file = SHIPPED / f"{source}.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise EdgelaneError(
            f"recipe {file} does not exist: expected a file, or one of {', '.join(shipped_recipes())}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EdgelaneError(f"cannot read recipe {file}: {error}") from error
    try:
        return file, yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise EdgelaneError(f"{file}{line}: not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise EdgelaneError(f"{file}: not YAML: {' '.join(str(error).split())}") from error


def _read(source: str | os.PathLike[str]) -> tuple[Path, dict[str, Any], dict[str, int]]:
    """The file, its settings, and the line of each."""
    file, tree = _load(source)
    lines: dict[str, int] = {}
    settings = {} if tree is None else _values(file, tree, "", lines)
    if not isinstance(settings, dict):
        raise EdgelaneError(f"{file}:1: expected sections such as prune and quantize, found {settings!r}")
    return file, settings, lines


def _build(file: Path | None, settings: dict[str, Any], lines: Mapping[str, int], given: Mapping[str, Any]) -> Recipe:
    for name, value in given.items():
        if value != {} or settings.get(name) is None:
            _put(settings, name, value)
    try:
        recipe: Recipe = _section(Recipe, settings, "")
        return recipe
    except SettingError as error:
        line = None if error.setting in given else _line(lines, error.setting)
        raise error if line is None else EdgelaneError(f"{file}:{line}: {error}") from error


def _line(lines: Mapping[str, int], setting: str) -> int | None:
    """Where the setting stands, or the section that should hold it; None for one that no file gave."""
    while setting not in lines:
        setting, dot, _ = setting.rpartition(".")
        if not dot:
            return None
    return lines[setting]


def _values(file: Path, node: Any, name: str, lines: dict[str, int]) -> Any:
    """The plain value of a YAML node; `lines` gets the line of each setting."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise EdgelaneError(f"{file}:{line}: expected the name of a setting")
            if key in result:
                raise EdgelaneError(f"{file}:{line}: {key} is given twice")
            path = f"{name}.{key}".lstrip(".")
            lines[path] = line
            result[key] = _values(file, value_node, path, lines)
        return result
    if isinstance(node, yaml.SequenceNode):
        return tuple(_values(file, entry, name, {}) for entry in node.value)
    if node.style is None and node.tag in _NUMBERS and ":" in node.value:
        return node.value  # the pattern 2:4, which YAML 1.1 takes for a number to the base of 60
    if node.style is None and _EXPONENT.fullmatch(node.value):
        return float(node.value)  # 1e-3, which YAML 1.1 takes for a text
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise EdgelaneError(f"{file}:{node.start_mark.line + 1}: {name}: cannot read {node.value!r}") from error


def _section(kind: Any, settings: Any, prefix: str) -> Any:
    """An object of the section `kind` from its settings."""
    where = prefix or "the recipe"
    if not isinstance(settings, Mapping):
        raise SettingError(where, f"expected settings, found {settings!r}")
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in hints:
            known = ", ".join(entry.name for entry in fields(kind))
            raise SettingError(f"{prefix}.{name}".lstrip("."), f"unknown setting; {where} has {known}")
        nested = next((part for part in (hints[name], *get_args(hints[name])) if is_dataclass(part)), None)
        if nested is not None and value is None and type(None) not in get_args(hints[name]):
            value = {}  # a section whose every line is commented out
        if nested is not None and value is not None:
            value = _section(nested, value, f"{prefix}.{name}".lstrip("."))
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    missing = [entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING]
    assert not missing, "every setting has a default"
    return kind(**arguments)


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for key in sections:
        inner = settings.get(key)
        if not isinstance(inner, dict):  # absent, empty, or something that _section will refuse
            inner = settings[key] = {} if inner is None else inner
            if not isinstance(inner, dict):
                return
        settings = inner
    settings[last] = value
