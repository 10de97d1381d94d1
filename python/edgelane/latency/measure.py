"""`edgelane calibrate`: how long layers take on this CPU, measured once, in minutes, and kept for all predictions."""

from __future__ import annotations

import datetime
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelane._version import __version__
from edgelane.bench import machine
from edgelane.errors import EdgelaneError
from edgelane.latency.model import LatencyModel
from edgelane.latency.shapes import DTYPES, LayerShape, compile_proto
from edgelane.latency.table import Sample, Table, table_path

if TYPE_CHECKING:
    from edgelane.latency.synthetic import Setting
    from edgelane.runtime import ProfileRow, Session

NOISY_SPREAD = 0.12  # on a quiet machine a network's middle run takes 2 to 6 % longer than its shortest
NOISY_CORES = 0.5
TOGETHER = 10  # networks that take turns: a disturbance shorter than their rounds spoils some of each network's only
AGREE = 1.03  # the two shortest runs of a network are this close, or it runs again
MOST_ROUNDS = 3  # times the setting's

Progress = Callable[[float, str], None]


def calibrate(
    path: str | os.PathLike[str] | None = None,
    *,
    threads: int = 1,
    isa: str | None = None,
    progress: Progress | None = None,
    setting: Setting | None = None,
) -> LatencyModel:
    """Time random networks on this CPU, keep the table, and return the model of it.

    path: where to write the table; None is its place in the cache folder, where `LatencyModel.load` looks.
    threads, isa: of the sessions that are timed; each pair has a table of its own. None is the kernel set that
        sessions take here.
    progress: called with the share that is done and what is being done.
    setting: how much is measured; the default takes some minutes.

    Raises EdgelaneError for threads or a kernel set that this machine does not have, and where the table cannot be
    written.
    """
    try:
        from edgelane.latency import synthetic
    except ImportError as error:
        raise EdgelaneError(f"calibrating needs {error.name}: pip install 'edgelane[export]'") from error
    wanted = setting or synthetic.Setting()
    say = progress or (lambda share, text: None)
    began, load = time.monotonic(), machine.Load()
    samples: list[Sample] = []
    spreads: list[float] = []
    used = ""
    done = 0
    with tempfile.TemporaryDirectory(prefix="edgelane-calibrate-") as folder:
        for dtype in DTYPES:
            waiting: list[_Timed] = []
            for index, proto in enumerate(synthetic.networks(wanted, dtype)):
                say(done / (2 * wanted.networks), f"{dtype}, network {index + 1} of {wanted.networks}")
                waiting.append(_Timed.load(proto, Path(folder), len(spreads) + len(waiting), threads, isa))
                used = waiting[-1].session.isa
                done += 1
                if len(waiting) == TOGETHER or index + 1 == wanted.networks:
                    _take_turns(waiting, wanted)
                    for network in waiting:
                        samples += network.samples()
                        spreads.append(network.spread)
                    waiting = []
    table = Table(
        cpu=machine.cpu_name(),
        isa=used,
        threads=threads,
        version=__version__,
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        spread=round(float(np.median(spreads)), 3),
        foreign_cores=load.foreign_cores(),
        samples=samples,
    )
    say(1.0, "fitting")
    model = LatencyModel(table)
    table.save(path if path is not None else table_path(threads, used))
    return model


def noise(table: Table) -> str:
    """One line that says how the machine was disturbed while it was calibrated; empty where it was quiet."""
    reasons = []
    if table.spread > NOISY_SPREAD:
        reasons.append(f"a network's middle run took {table.spread:.0%} longer than its shortest")
    if table.foreign_cores is not None and table.foreign_cores > NOISY_CORES:
        reasons.append(f"other processes kept {table.foreign_cores:.1f} cores busy")
    if not reasons:
        return ""
    return f"the machine was not quiet ({'; '.join(reasons)}): calibrate again when it is, for predictions to rely on"


def _take_turns(networks: list[_Timed], setting: Setting) -> None:
    for round_number in range(MOST_ROUNDS * setting.rounds):
        for network in networks:
            if round_number < setting.rounds or not network.agrees:
                network.run(setting.repeats)


@dataclass
class _Timed:
    """A calibration network, loaded, and the times of its steps so far."""

    number: int
    steps: list[tuple[str, LayerShape]]
    session: Session
    feeds: dict[str, Any]
    rows: list[ProfileRow]
    shortest: np.ndarray  # by step
    totals: list[float]  # by round

    @classmethod
    def load(cls, proto: Any, folder: Path, number: int, threads: int, isa: str | None) -> _Timed:
        from edgelane.runtime import Session

        steps, content = compile_proto(proto)
        path = folder / "network.lane"
        path.write_bytes(content)
        session = Session(path, threads=threads, isa=isa)
        path.unlink()
        shape = session.inputs[0].shape
        rng = np.random.default_rng(number)
        feeds = {session.inputs[0].name: rng.standard_normal(shape, dtype=np.float32)}
        rows = session.profile(feeds, 1)
        if [row.op for row in rows] != [step.op for _, step in steps]:
            raise EdgelaneError(
                f"the profile of a calibration network has {len(rows)} rows, its graph {len(steps)} others: "
                "this is a bug in edgelane"
            )
        return cls(number, steps, session, feeds, rows, np.full(len(rows), np.inf), [])

    def run(self, repeats: int) -> None:
        times = np.array([row.time_us for row in self.session.profile(self.feeds, repeats)])
        self.shortest = np.minimum(self.shortest, times)
        self.totals.append(float(times.sum()))

    @property
    def agrees(self) -> bool:
        first, second = sorted(self.totals)[:2] if len(self.totals) > 1 else (1.0, np.inf)
        return second <= AGREE * first

    @property
    def spread(self) -> float:
        return float(np.median(self.totals) / min(self.totals) - 1)

    def samples(self) -> list[Sample]:
        footprint = self.session.packed_bytes + self.session.arena_bytes
        return [
            Sample(shape, row.kernel, row.macs, float(time_us), footprint, self.number)
            for (_, shape), row, time_us in zip(self.steps, self.rows, self.shortest, strict=True)
        ]
