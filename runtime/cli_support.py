"""What both command lines share: errors become one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from runtime.console import err
from runtime.errors import UserError

# Exit statuses: a failed gate is not the same as a gate that could not be asked.
PASS, FAIL, ERROR = 0, 1, 2
_INTERRUPTED = 130


def run(app: typer.Typer) -> None:
    """Run an app; a user's mistake, a full disk or Ctrl-C end in one line, never in a traceback."""
    try:
        app()
    except UserError as error:
        _say(str(error))
        sys.exit(ERROR)
    except BrokenPipeError:
        # The reader went away (`| head`): keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PASS)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}.")
        sys.exit(ERROR)
    except SystemExit as leaving:
        # typer turns Ctrl-C into this status without a word.
        if leaving.code == _INTERRUPTED:
            _say("interrupted; nothing was half written.")
        raise


def lines_of(file: Path | None) -> Iterator[str]:
    """Lines of a UTF-8 file, or of standard input for None, without their ends.

    Raises:
        UserError: a line is not UTF-8.
    """
    try:
        if file is None:
            # Strict, and independent of the machine's locale.
            yield from (line.rstrip("\r\n") for line in _utf8(sys.stdin.buffer))
            return
        with file.open("rb") as stream:
            yield from (line.rstrip("\r\n") for line in _utf8(stream))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file or 'standard input'} is not UTF-8", why=str(error), todo="convert it first"
        ) from error


def _utf8(stream: Iterable[bytes]) -> Iterator[str]:
    for line in stream:
        yield line.decode("utf-8")


def program() -> str:
    """How this command was called, for commands that the user may paste next."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        return f"python -m {spec.parent if spec else script.parent.name}"
    try:
        relative = script.resolve().relative_to(Path.cwd())
    except ValueError:
        return script.name
    return str(relative)


def _say(text: str) -> None:
    err.print("error:", style="bold red", end=" ")
    # No folding: a line in a log should stay one line.
    err.print(text, markup=False, soft_wrap=True)
