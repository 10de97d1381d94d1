"""What is compared: workloads, settings, and the units that they make, each with the digest of what it follows from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgelane.errors import EdgelaneError

SEEDS = (0, 1, 2)
DENSE, INT8, REFERENCE, BUDGET, UNIFORM, CHANNEL, REFUSED = (
    "dense",
    "int8",
    "4x4-80-int8",
    "solver-int8",
    "uniform-int8",
    "channel-int8",
    "refused",
)
BUDGET_SHARE = 0.5  # of the dense int8 network's time, for the solver
REFUSED_SPARSITY, MAX_DROP = 0.97, 1.0


@dataclass(frozen=True)
class Setting:
    """One way to deploy a workload's network. `needs`: the settings of the same workload and seed that it is made
    from. `measured`: something in it is found by timing networks on this machine.
    """

    key: str
    title: str
    needs: tuple[str, ...] = (DENSE,)
    pattern: str | None = None
    sparsity: float | None = None
    int8: bool = False
    measured: bool = False


def _pruned(pattern: str, percent: int, int8: bool) -> Setting:
    key = f"{pattern}-{percent}" + ("-int8" if int8 else "")
    title = f"{percent} % {pattern} {'int8' if int8 else 'fp32'}"
    return Setting(key, title, pattern=pattern, sparsity=percent / 100, int8=int8)


SETTINGS: tuple[Setting, ...] = (
    Setting(DENSE, "dense fp32", needs=()),
    Setting(INT8, "dense int8", int8=True),
    *(
        _pruned(pattern, percent, int8)
        for pattern, int8 in (("unstructured", False), ("4x1", False), ("1x4", True), ("4x4", True))
        for percent in (80, 90)
    ),
    Setting("2:4-int8", "2:4 int8", pattern="2:4", int8=True),
    Setting(
        CHANNEL, "channels int8, as fast as 80 % 4x4", (DENSE, REFERENCE), pattern="channel", int8=True, measured=True
    ),
    Setting(BUDGET, "4x4 int8, solver, half the time", (DENSE, INT8), pattern="4x4", int8=True, measured=True),
    Setting(UNIFORM, "4x4 int8, uniform, as fast", (DENSE, BUDGET), pattern="4x4", int8=True, measured=True),
    Setting(
        REFUSED, "made to fail", pattern="4x4", sparsity=REFUSED_SPARSITY, int8=True
    ),  # 97 % at once, without fine-tuning, behind a gate
)


@dataclass(frozen=True)
class Workload:
    """A network on data. `dense`: settings of `edgelane.training.TrainingConfig`; `recipe`: what the recipes of all
    settings have in common, in the sections of a recipe file.
    """

    key: str
    title: str
    network: str
    data: str
    image_size: tuple[int, int]
    dense: Mapping[str, Any] = field(hash=False)
    recipe: Mapping[str, Mapping[str, Any]] = field(hash=False)
    task: str = "classification"
    width: float = 1.0


@dataclass(frozen=True)
class Unit:
    """One setting of one workload with one seed: what is done at a time, and what is not done twice."""

    workload: Workload
    seed: int
    setting: Setting

    @property
    def group(self) -> tuple[str, int]:
        """Units of one group share the dense network and the data."""
        return self.workload.key, self.seed

    @property
    def key(self) -> str:
        """As it is chosen by."""
        return f"{self.workload.key}/{self.setting.key}"

    @property
    def name(self) -> str:
        """As progress and errors call it."""
        return f"{self.workload.key} seed {self.seed}: {self.setting.title}"

    def needs(self) -> list[Unit]:
        """The units that have to be done before."""
        return [Unit(self.workload, self.seed, setting_named(key)) for key in self.setting.needs]

    def digest(self, machine: str) -> str:
        """Of everything that the result follows from but the code: settings, seed, what it needs, and `machine` where
        something is found by timing.
        """
        facts: dict[str, Any] = {
            "setting": self.setting.key,
            "seed": self.seed,
            "machine": machine if self.setting.measured else None,
            "share": BUDGET_SHARE if self.setting.key == BUDGET else None,
            "needs": [unit.digest(machine) for unit in self.needs()],
        }
        if self.setting.key == DENSE:
            facts |= {key: value for key, value in asdict(self.workload).items() if key not in ("title", "recipe")}
        else:
            facts["recipe"] = recipe(self)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def setting_named(key: str) -> Setting:
    """The setting with this key. Raises EdgelaneError, which lists them, for any other."""
    for setting in SETTINGS:
        if setting.key == key:
            return setting
    raise EdgelaneError(f"unknown setting {key}; choose from {', '.join(setting.key for setting in SETTINGS)}")


def units(workloads: Sequence[Workload], seeds: Sequence[int]) -> Iterator[Unit]:
    """All units of the matrix, those that others need first."""
    for workload in workloads:
        for seed in seeds:
            for setting in SETTINGS:
                yield Unit(workload, seed, setting)


def chosen(all_units: Iterable[Unit], names: str) -> list[Unit]:
    """Those that have one of `names`, separated by commas, in "workload/setting"; all for none. Raises EdgelaneError
    where nothing is left.
    """
    wanted = [name for name in names.split(",") if name]
    candidates = list(all_units)
    found = [unit for unit in candidates if not wanted or any(name in unit.key for name in wanted)]
    if not found:
        workloads, settings = (
            {key.split("/")[part]: None for key in (unit.key for unit in candidates)} for part in (0, 1)
        )
        raise EdgelaneError(
            f"no unit has {names} in WORKLOAD/SETTING; workloads: {', '.join(workloads)}; "
            f"settings: {', '.join(settings)}"
        )
    return found


def recipe(unit: Unit, sparsity: float | None = None, latency_ms: float | None = None) -> dict[str, Any]:
    """The content of the unit's recipe file; `sparsity` or `latency_ms` where the setting leaves that to measuring."""
    common, setting = unit.workload.recipe, unit.setting
    content: dict[str, Any] = {"seed": unit.seed}
    if setting.pattern is not None:
        content["prune"] = {"pattern": setting.pattern, **common["prune"]}
        share = setting.sparsity if sparsity is None else sparsity
        if share is not None:
            content["prune"]["sparsity"] = share
        if latency_ms is not None:
            content["prune"]["allocation"] = "latency"
            content["budget"] = {"latency_ms": latency_ms}
        if setting.pattern == "channel":
            content["prune"]["schedule"] = "oneshot"
        content["train"] = {**common["train"], "distill": dict(common["train"]["distill"])}
    if setting.int8:
        content["quantize"] = dict(common["quantize"])
    if setting.key == REFUSED:
        content["prune"]["schedule"] = "oneshot"
        content["train"]["epochs"] = 0
        content["budget"] = {"max_drop": MAX_DROP}
    return content
