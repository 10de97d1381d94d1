"""What the verbs share: results go to stdout, everything else (progress, warnings, chatter of libraries) to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads of one inference.")]
IsaOption = Annotated[
    str | None, typer.Option("--isa", help="Force a kernel set, for instance avx2; `edgelane doctor` lists them.")
]
SelfTestFlag = Annotated[
    bool,
    typer.Option("--self-test", help="First run the file's golden frame; stop where this CPU's answer differs."),
]
CoresOption = Annotated[
    str | None, typer.Option("--cores", help="CPUs to stay on, one for each thread at least, as 2,3 or 0-3.")
]
MemoryLimitOption = Annotated[
    str | None,
    typer.Option("--memory-limit", help="Most memory that a compiled network may take, as 512M or 8G; default 4G."),
]


def use_memory_limit(limit: str | None) -> None:
    """Let every session of this process and of those that it starts take this much memory."""
    if limit is not None:
        os.environ["EDGELANE_MEMORY_LIMIT"] = limit


def use_cores(cores: str | None) -> None:
    """Keep this process, every engine's threads included, to these CPUs, and each of edgelane's own to one of them."""
    if cores is not None:
        from edgelane import _C

        os.sched_setaffinity(0, _C.select_cores(cores))
        os.environ["EDGELANE_CORES"] = cores


def out() -> Console:
    """The console for results. Made on each use, because a test or a pipe may have replaced sys.stdout.

    Its width is not the terminal's: a table that is too wide for one wraps, and no cell is ever cut off.
    """
    return Console(file=sys.stdout, highlight=False, soft_wrap=True, width=1000)


def err() -> Console:
    """The console for progress and warnings."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print `value` as JSON and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def warn(message: str) -> None:
    """One warning line on stderr."""
    err().print(f"warning: {message}", markup=False, style="yellow")


@contextmanager
def working(description: str) -> Iterator[None]:
    """A spinner on stderr while a library works; what the library prints goes to stderr too."""
    with redirect_stdout(sys.stderr), err().status(description):
        yield


@contextmanager
def chatty() -> Iterator[None]:
    """For library calls that draw their own progress bar (Lightning): send it to stderr."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr, driven by calling the yielded function with the fraction done and what is being done.

    It appears with the first call, so that it does not fight with the bar of a library that works before.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=err(), transient=True)
    task = progress.add_task(description, total=1.0)

    started = False

    def update(fraction: float, stage: str = "") -> None:
        nonlocal started
        if not started:
            progress.start()
            started = True
        progress.update(task, completed=fraction, description=f"{description} {stage}".strip())

    try:
        yield update
    finally:
        if started:  # stopping a bar that never appeared prints an empty line
            progress.stop()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; the first column is left-aligned, numbers and the rest are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    out().print(table)


def human_bytes(count: float) -> str:
    """Bytes in decimal units, as file managers show them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
