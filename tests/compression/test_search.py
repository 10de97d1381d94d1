"""The search over recipes: what is tried, what is remembered, and which points are on the front."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgelane.compression import read_recipe, search
from edgelane.compression.measure import Timing
from edgelane.errors import EdgelaneError

FIXED = {"train.epochs": 0, "prune.importance": "l1", "quantize.images": 8}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network takes a millisecond for each tenth of its weights that is left."""

    def measure(models: dict[str, Any], example: Any, seconds: float = 1.0) -> dict[str, Timing]:
        return {name: Timing(_density(model), _density(model), 1000, {}) for name, model in models.items()}

    for place in ("evidence", "search"):
        monkeypatch.setattr(sys.modules[f"edgelane.compression.{place}"], "measure", measure)


def _density(model: Any) -> float:
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    return 10 * sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


@pytest.mark.usefixtures("timed")
def test_the_search_goes_on_where_it_stood_and_writes_its_front(run: Path) -> None:
    first = search(run, 2, settings=FIXED)
    assert [point["trial"] for point in first["points"]] == [0, 1]
    start = first["points"][0]["recipe"]
    assert (start["prune"]["sparsity"], start["prune"]["pattern"]) == (0.8, "4x4"), "the recipe itself comes first"
    assert start["quantize"] is not None

    found = search(run, 2, settings=FIXED)
    assert [point["trial"] for point in found["points"]] == [0, 1, 2, 3]
    assert json.loads((run / "search" / "pareto.json").read_text()) == found
    assert "<svg" in (run / "search" / "pareto.svg").read_text()
    for point in found["points"]:
        place = run / "search" / point["folder"]
        assert (place / "compressed.pt").exists()
        assert read_recipe(place / "recipe.yaml").to_dict() == point["recipe"]
        assert point["recipe"]["prune"]["importance"] == "l1", "what is given stands still"
        better = [
            other
            for other in found["points"]
            if other["score"] >= point["score"]
            and other["p50_ms"] <= point["p50_ms"]
            and (other["score"], other["p50_ms"]) != (point["score"], point["p50_ms"])
        ]
        assert point["on_front"] == (not better)
        assert ("front_p50_ms" in point) == point["on_front"]
    assert not (run / "compressed.pt").exists()


@pytest.mark.usefixtures("timed")
def test_a_recipe_that_fails_is_listed_and_ends_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["edgelane.compression.search"]  # behind the function of that name
    real, calls = module.compress, []

    def failing(place: Path, **more: Any) -> Any:
        calls.append(place)
        if len(calls) == 1:
            raise EdgelaneError("this one cannot be")
        return real(place, **more)

    monkeypatch.setattr(module, "compress", failing)
    found = search(run, 2, settings={**FIXED, "budget.max_drop": 0.0, "prune.sparsity": 0.9})
    assert found["failed"] == [{"trial": 0, "error": "this one cannot be"}]
    (point,) = found["points"]
    assert point["recipe"]["prune"]["sparsity"] == 0.9
    assert point["within_budget"] == (point["drop"] <= 0.0)


def test_a_storage_that_cannot_be_opened_is_named(run: Path) -> None:
    with pytest.raises(EdgelaneError, match="cannot open the search's storage nowhere://"):
        search(run, 1, settings=FIXED, storage="nowhere://")


def test_what_is_wrong_with_every_trial_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"model\.pt does not exist"):
        search(tmp_path, 1)
