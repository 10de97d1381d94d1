"""`edgelane` and `python -m edgelane`: runs the command line and turns every failure into one line and exit code 1."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from edgelane.errors import EdgelaneError
from edgelane.extras import EXTRA_OF, missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with `arguments` (default: the process's own) and return the exit code, 0 or 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("EDGELANE_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]  # accepted anywhere: it is typed after something went wrong
    if not debug:
        warnings.simplefilter("ignore")  # libraries warn for developers; what a user must know is printed by the verb
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _fail("interrupted")
    except BrokenPipeError:
        # The reader of a pipe has left. Python would complain again when it flushes stdout on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(_explain(error))


def _run(words: list[str]) -> int:
    """Parse the command line and call its verb; return the exit code, and let every exception through.

    Typer's own `app()` would turn Ctrl-C into an exit code without a word.
    """
    import typer

    from edgelane.cli import app

    command = typer.main.get_command(app)
    try:
        with command.make_context("edgelane", words) as context:
            command.invoke(context)
    except typer.Exit as done:  # --help, --version, and what a verb raises to exit with 1
        return 1 if done.exit_code else 0
    return 0


def _explain(error: Exception) -> str:
    if isinstance(error, EdgelaneError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] in EXTRA_OF:
        return str(missing(error.name.split(".")[0]))
    usage = getattr(error, "format_message", None)  # what typer raises for a wrong command line
    if usage is not None:
        context = getattr(error, "ctx", None)
        return f"{usage().rstrip('.')}; try: {context.command_path if context else 'edgelane'} --help"
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"unexpected {type(error).__name__}: {error} (--debug shows where; this is a bug in edgelane)"


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
