"""How commands talk: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Width 100 where nobody looks (CI logs): rich's 80 would fold the tables.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 110)

# How often a log, where no bar can be drawn, is told how far a long step is.
_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def stage(text: str) -> Iterator[None]:
    """Name a step and, when it is done, how long it took."""
    began = time.monotonic()
    err.print(f"[dim]·[/] {text} …")
    yield
    err.print(f"  [green]done[/] [dim]in {time.monotonic() - began:.1f} s[/]")


@contextmanager
def progress_bar(text: str, *, done: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line now and then in a log. Yields a function of (done, total).

    `done` was done before, and plays no part in the time left.
    """
    if not err.is_terminal:
        yield _lines(text)
        return
    bar = Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    with bar:
        task = bar.add_task(text, total=None, completed=done)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(text: str) -> Callable[[int, int], None]:
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _SECONDS_BETWEEN_LINES:
            told = now
            note(f"  {text}: {done:,} of {total:,}")

    return tell


def note(text: str) -> None:
    """One line on standard error."""
    err.print(text, markup=False)


def megabytes(size: int) -> str:
    """Bytes → ``12.3 MB`` (10^6 bytes)."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
