"""What `calibrate` measured on a CPU, and the file that keeps it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelane._version import __version__
from edgelane.bench import machine
from edgelane.errors import EdgelaneError
from edgelane.files import read_json, write_bytes
from edgelane.latency.shapes import LayerShape

FORMAT = 1  # of the file
COMMAND = "edgelane calibrate"
_DEFAULTS = LayerShape("", "", "", (), ()).to_dict()


@dataclass(frozen=True)
class Sample:
    """One step of a calibration network as it ran. `macs` are the multiply-accumulates executed, `time_us` the shortest
    time of all rounds, `footprint_bytes` the packed weights and activations of its whole network.
    """

    shape: LayerShape
    kernel: str
    macs: int
    time_us: float
    footprint_bytes: int
    network: int


@dataclass(frozen=True)
class Table:
    """All samples of a calibration and how they came about.

    `spread` is how much longer the middle one of a network's runs took than the shortest, the median over networks:
    0.05 on a quiet machine. `foreign_cores` are the cores that other processes kept busy meanwhile (None: unknown).
    """

    cpu: str
    isa: str
    threads: int
    version: str
    date: str
    seconds: float
    spread: float
    foreign_cores: float | None
    samples: list[Sample] = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as JSON, whole or not at all."""
        import json

        content = {
            "format": FORMAT,
            **{key: getattr(self, key) for key in _HEADER},
            "samples": [_packed(sample) for sample in self.samples],
        }
        write_bytes(path, json.dumps(content, separators=(",", ":"), allow_nan=False).encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Table:
        """Read what `save` wrote. Raises EdgelaneError for any other file, and for one of another format."""
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise EdgelaneError(
                f"{path}: expected a calibration of format {FORMAT}, found {found!r}; run `{COMMAND}` again"
            )
        try:
            samples = [_unpacked(row) for row in content["samples"]]
            return cls(**{key: content[key] for key in _HEADER}, samples=samples)
        except (KeyError, TypeError, ValueError) as error:
            raise EdgelaneError(f"{path} is damaged ({error}); run `{COMMAND}` again") from error


_HEADER = ("cpu", "isa", "threads", "version", "date", "seconds", "spread", "foreign_cores")


def _packed(sample: Sample) -> list[Any]:
    shape = {key: value for key, value in sample.shape.to_dict().items() if value != _DEFAULTS[key]}
    return [
        shape,
        sample.kernel,
        sample.macs,
        round(sample.time_us, 3),
        sample.footprint_bytes,
        sample.network,
    ]


def _unpacked(row: list[Any]) -> Sample:
    shape, kernel, macs, time_us, footprint, network = row
    return Sample(LayerShape.from_dict(_defaults_of(shape)), kernel, macs, time_us, footprint, network)


def _defaults_of(shape: Mapping[str, Any]) -> dict[str, Any]:
    return {**_DEFAULTS, **shape}


def cache_folder() -> Path:
    """Where calibrations are kept: $EDGELANE_CACHE, else edgelane in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("EDGELANE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgelane"


def table_path(threads: int, isa: str) -> Path:
    """The file of this CPU for `threads` and a kernel set, by this version of edgelane."""
    words = re.findall(r"[a-z0-9]+", machine.machine_slug().lower())
    return cache_folder() / "latency" / f"{'-'.join(words)}-{isa}-{threads}t-{__version__}.json"


def default_isa() -> str:
    """The kernel set that a session takes here: $EDGELANE_ISA, else the best one."""
    from edgelane import _C

    return os.environ.get("EDGELANE_ISA") or str(_C.available_isas()[-1])


def tables() -> list[Path]:
    """Calibrations of this CPU by this version."""
    return sorted((cache_folder() / "latency").glob(f"{machine.machine_slug()}-*-{__version__}.json"))
