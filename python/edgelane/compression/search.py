"""`compress --search`: many recipes on one trained network, and the front of accuracy against measured latency.

Optuna proposes and remembers. Processes, on this machine or others, that are given the same storage work on the same
search; each compresses in a folder of its own below RUN/search.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane.compression.job import Job
from edgelane.compression.measure import measure
from edgelane.compression.recipe import Budget, Recipe
from edgelane.compression.recipe_file import make_recipe, recipe_of, recipe_text
from edgelane.compression.verb import compress
from edgelane.errors import EdgelaneError
from edgelane.extras import missing
from edgelane.files import make_folder, read_json, write_bytes, write_json

if TYPE_CHECKING:
    import optuna

STUDY = "edgelane"
PATTERNS = ("unstructured", "4x1", "1x4", "4x4")
IMPORTANCES = ("l1", "l2", "taylor")
ALLOCATIONS = ("uniform", "global", "erk")
CALIBRATIONS = ("minmax", "percentile", "mse", "entropy")
SPARSITIES = (0.3, 0.95, 0.05)  # lowest, highest, step
DEFAULT = "cpu-int8"  # where the search begins without a recipe
MOST_TRIALS = 1_000_000
OPENINGS = 5  # of the storage
SECONDS = 1.0  # of the last measurement, for each network on the front


def search(
    run_dir: str | os.PathLike[str],
    trials: int,
    *,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    storage: str | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Try `trials` more recipes and write RUN/search/pareto.json and pareto.svg; returns the content of the former.

    The search moves prune.pattern, sparsity, importance and allocation, and int8 with its calibration; what `settings`
    name stands still, and everything else is the recipe's. The recipe itself is the first to be tried. The budget
    refuses nothing: points that break it are marked. Accuracy is that of the validation split, so that the test split,
    which is given beside it, has not been chosen on. storage: an Optuna storage URL that several processes may share;
    RUN/search/study.db where it is None.
    "points": all finished trials of this CPU in this folder ("trial", "folder", "recipe", "score", "test_score",
    "drop", "within_budget", "p50_ms", "bytes", "on_front"); those on the front were timed once more, taking turns, as
    "front_p50_ms".
    Raises EdgelaneError as `compress` does, and for a storage that cannot be opened.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing("optuna") from error
    from edgelane.bench.machine import cpu_name

    fixed = dict(settings or {})
    base = make_recipe(fixed, recipe or DEFAULT)
    Job.open(Path(run_dir), base, data, say)  # what is wrong with these is wrong in every trial
    folder = Path(run_dir) / "search"
    make_folder(folder)
    study = _study(storage or f"sqlite:///{folder.absolute() / 'study.db'}")
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(_coordinates(base, fixed), skip_if_exists=True)
    for _ in range(trials):
        trial = study.ask()
        # Seeded by the trial, of which processes never have the same, so that they do not try the same.
        study.sampler = optuna.samplers.TPESampler(seed=base.seed * MOST_TRIALS + trial.number)
        proposed = _propose(trial, base, fixed)
        place = folder / f"{trial.number:04d}"
        make_folder(place)
        shutil.copyfile(Path(run_dir) / "model.pt", place / "model.pt")
        write_bytes(place / "recipe.yaml", recipe_text(proposed).encode())
        trial.set_user_attr("cpu", cpu_name())
        trial.set_user_attr("folder", place.name)
        say(f"trial {trial.number}: {in_words(proposed.to_dict())}")
        try:
            result = compress(place, recipe=proposed, data=data, say=say)
        except EdgelaneError as error:  # a recipe that this network cannot take must not end the search
            say(f"trial {trial.number} failed: {error}")
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, (float(_validation(result)["score"]), float(result["totals"]["p50_ms"])))
    found = _front(study, folder, base.budget, cpu_name())
    write_json(folder / "pareto.json", found)
    _plot(folder / "pareto.svg", found)
    return found


def _study(storage: str) -> optuna.Study:
    import optuna
    from sqlalchemy.exc import DBAPIError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for attempt in range(OPENINGS):
        try:
            return optuna.create_study(
                study_name=STUDY, storage=storage, directions=["maximize", "minimize"], load_if_exists=True
            )
        except Exception as error:  # SQLAlchemy and its drivers raise a dozen kinds
            # Processes that make the same database at the same time get in each other's way.
            if not isinstance(error, DBAPIError) or attempt == OPENINGS - 1:
                reason = " ".join(str(error).split())[:200]
                raise EdgelaneError(f"cannot open the search's storage {storage}: {reason}") from error
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError("unreachable")


def _propose(trial: optuna.Trial, base: Recipe, fixed: Mapping[str, Any]) -> Recipe:
    """A recipe from Optuna's numbers; what is fixed is asked of nobody."""
    content = base.to_dict()
    content["budget"] = Budget().__dict__.copy()
    prune = content["prune"] or {}
    prune["pattern"] = (
        prune.get("pattern") if "prune.pattern" in fixed else trial.suggest_categorical("pattern", PATTERNS)
    )
    if "prune.sparsity" not in fixed:
        lowest, highest, step = SPARSITIES
        prune["sparsity"] = round(trial.suggest_float("sparsity", lowest, highest, step=step), 2)
    if "prune.importance" not in fixed:
        prune["importance"] = trial.suggest_categorical("importance", IMPORTANCES)
    if "prune.allocation" not in fixed:
        prune["allocation"] = trial.suggest_categorical("allocation", ALLOCATIONS)
    content["prune"] = prune
    if "quantize" not in fixed:
        content["quantize"] = (content["quantize"] or {}) if trial.suggest_categorical("int8", (True, False)) else None
    if content["quantize"] is not None and "quantize.calibration" not in fixed:
        content["quantize"] = {
            **content["quantize"],
            "calibration": trial.suggest_categorical("calibration", CALIBRATIONS),
        }
    return recipe_of(content)


def _coordinates(base: Recipe, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Where the recipe itself lies in the space, as far as the space holds it."""
    found: dict[str, Any] = {"int8": base.quantize is not None}
    if base.prune is not None:
        for name, known in (("pattern", PATTERNS), ("importance", IMPORTANCES), ("allocation", ALLOCATIONS)):
            if getattr(base.prune, name) in known:
                found[name] = getattr(base.prune, name)
        if base.prune.sparsity is not None and SPARSITIES[0] <= base.prune.sparsity <= SPARSITIES[1]:
            found["sparsity"] = base.prune.sparsity
    if base.quantize is not None and base.quantize.calibration in CALIBRATIONS:
        found["calibration"] = base.quantize.calibration
    names = {"int8": "quantize", "calibration": "quantize.calibration"}
    return {name: value for name, value in found.items() if names.get(name, f"prune.{name}") not in fixed}


def in_words(recipe: Mapping[str, Any]) -> str:
    """What the search moves of a recipe, as `Recipe.to_dict` gives it."""
    prune, quantize = recipe["prune"], recipe["quantize"]
    words = [f"{prune['sparsity']:.0%} {prune['pattern']}", prune["importance"], prune["allocation"]]
    return ", ".join([*words, f"int8 {quantize['calibration']}" if quantize else "float32"])


def _validation(result: Mapping[str, Any]) -> dict[str, Any]:
    metrics: dict[str, Any] = list(result["stages"].values())[-1]["val"]
    return metrics


def _front(study: optuna.Study, folder: Path, budget: Budget, cpu: str) -> dict[str, Any]:
    import optuna

    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    failed = [trial for trial in trials if "error" in trial.user_attrs]
    if not finished:
        raise EdgelaneError(f"no trial was finished; the last one: {failed[-1].user_attrs['error']}")
    own = [
        trial
        for trial in finished
        if trial.user_attrs["cpu"] == cpu and (folder / trial.user_attrs["folder"] / "compress.json").exists()
    ]
    points = []
    for trial in own:
        result = read_json(folder / trial.user_attrs["folder"] / "compress.json")
        points.append(
            {
                "trial": trial.number,
                "folder": trial.user_attrs["folder"],
                "recipe": result["recipe"],
                "score": _validation(result)["score"],
                "test_score": result["metrics"]["score"],
                "drop": result["drop"],
                "within_budget": _within(result, budget),
                "p50_ms": result["totals"]["p50_ms"],
                "bytes": result["totals"]["bytes"],
            }
        )
    for point in points:
        point["on_front"] = not any(_dominates(other, point) for other in points)
    _time_front([point for point in points if point["on_front"]], folder)
    return {
        "cpu": cpu,
        "points": points,
        "failed": [{"trial": trial.number, "error": trial.user_attrs["error"]} for trial in failed],
        "trials_elsewhere": len(finished) - len(own),
    }


def _within(result: Mapping[str, Any], budget: Budget) -> bool:
    limits = (
        (result["totals"]["p50_ms"], budget.latency_ms),
        (result["totals"]["bytes"] / 1e6, budget.size_mb),
        (result["drop"], budget.max_drop),
        (result["worst_class"]["drop"], budget.max_class_drop),
    )
    return all(limit is None or value <= limit for value, limit in limits)


def _dominates(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    better = bool(one["score"] > other["score"] or one["p50_ms"] < other["p50_ms"])
    return better and bool(one["score"] >= other["score"]) and bool(one["p50_ms"] <= other["p50_ms"])


def _time_front(points: list[dict[str, Any]], folder: Path) -> None:
    """Trials were timed minutes or days apart: time those that matter once more, in one run."""
    import torch

    from edgelane.checkpoint import Checkpoint

    if not points:
        return
    checkpoints = {str(point["trial"]): Checkpoint.load(folder / point["folder"] / "compressed.pt") for point in points}
    shape = next(iter(checkpoints.values())).preprocessing
    models = {name: checkpoint.build() for name, checkpoint in checkpoints.items()}
    timing = measure(models, torch.zeros(1, 3, shape.height, shape.width), seconds=SECONDS * len(models))
    for point in points:
        point["front_p50_ms"] = timing[str(point["trial"])].p50_ms


def _plot(path: Path, found: Mapping[str, Any]) -> None:
    from edgelane.report.plots import pareto

    write_bytes(path, pareto(found["points"]).encode())
