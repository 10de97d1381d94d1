"""Writing files so that a crash or a full disk never leaves half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgelane.errors import EdgelaneError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, delete it when the block fails.

    Raises EdgelaneError where the folder cannot be written or the disk is full.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; a result is as readable as any other file
        temporary.replace(target)
    except OSError as error:
        raise EdgelaneError(f"cannot write {target}: {_reason(error, target.parent)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder `path`, or see that files can be made in the one that is there. Raises EdgelaneError if not."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EdgelaneError(f"cannot write into {folder}: {_reason(error, folder)}") from error


def _reason(error: OSError, folder: Path) -> str:
    """Why nothing can be written into `folder`; the system says "File exists" of a file in a folder's place."""
    blocking = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    return f"{blocking} is not a folder" if blocking is not None else error.strerror or str(error)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises EdgelaneError when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EdgelaneError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise EdgelaneError(f"cannot read {path}: {error}") from error
