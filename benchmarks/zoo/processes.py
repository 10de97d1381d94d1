"""A process for each variant, with limits of time and memory: what one model does cannot end the run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.zoo.outcomes import FAILED

# The server imports these once; its forks begin where it stands.
_PRELOADED = ["benchmarks.zoo.variant", "torchvision", "timm", "onnxruntime", "onnxscript", "edgelane.runtime"]

EXIT_SECONDS = 10.0


class Limits:
    """Seconds of wall time and GiB of private memory that one variant may take."""

    def __init__(self, seconds: float, gib: float) -> None:
        self.seconds, self.gib = seconds, gib


def context() -> Any:
    """Where `run` takes its processes from."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(_PRELOADED)
    return made


def run(made: Any, work: str, arguments: tuple[Any, ...], limits: Limits, scratch: Path) -> dict[str, Any]:
    """`guarded(work, ...)` in a process of its own; what goes beyond a limit or dies becomes an outcome.

    `arguments` are those of `check` or `measure` without their folder, which is made here and removed afterwards.
    """
    receiver, sender = made.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        before, after = arguments[:3], arguments[3:]
        process = made.Process(target=_child, args=(sender, work, (*before, Path(folder), *after), limits.gib))
        process.start()
        sender.close()
        try:
            if not receiver.poll(limits.seconds):
                return {"outcome": FAILED, "reason": f"it took more than {limits.seconds:.0f} s"}
            result: dict[str, Any] = receiver.recv()
            process.join(EXIT_SECONDS)  # it gives back what it took from the system
            return result
        except EOFError:
            process.join()
            log = (Path(folder) / "log").read_text(errors="replace").strip().splitlines()
            words = log[-1][:200] if log else "it said nothing"
            return {"outcome": FAILED, "reason": f"its process ended with status {process.exitcode}: {words}"}
        finally:
            process.kill()
            process.join()
            receiver.close()


def _child(sender: Connection, work: str, arguments: tuple[Any, ...], gib: float) -> None:
    import torch

    from benchmarks.zoo.variant import guarded

    limit = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    log = os.open(arguments[3] / "log", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):  # torch's exporter prints whole graphs from C++
        os.dup2(log, stream)
    result = guarded(work, arguments)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with contextlib.suppress(BrokenPipeError):
        sender.send(result)
