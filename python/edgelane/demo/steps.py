"""Steps that are done once: each leaves a stamp that says from what it was made, and is repeated only when that has
changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelane.errors import EdgelaneError
from edgelane.files import read_json, write_json


class Steps:
    """A chain of steps in one folder. What a step is made from includes the step before it, so a change repeats all
    that follow.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], origin: Mapping[str, Any]) -> None:
        self._folder = folder
        self._say = say
        self._previous = _digest(origin)
        self.seconds: dict[str, float] = {}

    def run(
        self,
        name: str,
        what: str,
        settings: Mapping[str, Any],
        outputs: Sequence[Path],
        work: Callable[[], object],
        *,
        keep: bool = False,
    ) -> None:
        """Do `work`, which makes `outputs`, unless they are there and were made with the same settings by the same
        steps.

        The folders of stale outputs are removed first, except with `keep`, for work that shares a folder with earlier
        steps.
        """
        key = self._previous = _digest({"after": self._previous, "step": name, **settings})
        stamp = self._folder / "steps" / f"{name}.json"
        done = self._read(stamp)
        if done is not None and done["key"] == key and all(path.is_file() for path in outputs):
            self.seconds[name] = float(done["seconds"])
            self._say(f"{name}: {what}: done before ({self.seconds[name]:.0f} s)")
            return
        started = self._folder / "steps" / f"{name}.started.json"
        before = self._read(started)
        if not keep and (before is None or before["key"] != key):
            self._clear({path.parent for path in outputs}, started, own=done is not None or before is not None)
        stamp.unlink(missing_ok=True)
        write_json(started, {"key": key})
        self._say(f"{name}: {what}")
        start = time.perf_counter()
        work()
        self.seconds[name] = round(time.perf_counter() - start, 1)
        missing = [str(path) for path in outputs if not path.is_file()]
        if missing:
            raise EdgelaneError(f"the step {name} did not write {', '.join(missing)}")
        write_json(stamp, {"key": key, "seconds": self.seconds[name]})
        started.unlink(missing_ok=True)
        self._say(f"{name}: {self.seconds[name]:.0f} s")

    def _clear(self, folders: set[Path], started: Path, *, own: bool) -> None:
        """Remove what an earlier, different demo made; a folder that no demo made is somebody's, and an error."""
        for folder in folders:
            if folder.exists() and not own:
                raise EdgelaneError(f"{folder} exists and was not made by the demo: choose another folder with -o")
        write_json(started, {"key": "removing"})  # so that a crash in the middle leaves folders known as the demo's own
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        """A stamp, or None where it is missing or damaged: then the step is simply repeated."""
        try:
            value = read_json(path)
        except EdgelaneError:
            return None
        return value if isinstance(value, dict) and "key" in value else None


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
