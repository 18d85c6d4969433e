"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.errors import UserError

_LOCK = ".lock"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def staging_folder(destination: Path) -> Iterator[Path]:
    """A temporary folder beside `destination`, removed at the end unless it was published.

    Folders that an earlier, killed run left behind are removed first. A lock tells them from those
    of a run that is still alive.

    Raises:
        UserError: the parent folder cannot be written.
    """
    parent = destination.absolute().parent
    prefix = f".{destination.name}.staging-"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # One run at a time here: a folder that is not locked yet looks like a left-over.
        with _locked_folder(parent):
            _sweep(parent, prefix)
            staging = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            lock = (staging / _LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise UserError(
            f"{parent} cannot be written", why=str(error.strerror), todo="choose another OUT="
        ) from error
    with lock:
        content = staging / destination.name
        content.mkdir()
        try:
            yield content
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sweep(parent: Path, prefix: str) -> None:
    for left_over in parent.glob(f"{prefix}*"):
        try:
            with (left_over / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left_over, ignore_errors=True)
        except BlockingIOError:
            continue  # its run is alive
        except FileNotFoundError:
            shutil.rmtree(left_over, ignore_errors=True)


def publish_folder(staging: Path, destination: Path, *, is_ours: Callable[[Path], bool]) -> None:
    """Put a finished folder in the place of `destination`.

    Where there is an older one, both are exchanged in one step (renameat2 on Linux), so that a kill
    at any moment leaves the old folder or the new. Elsewhere there is an instant with neither.

    Args:
        staging: inside `staging_folder`'s; everything in it is flushed to disk first.
        destination: what to create or replace.
        is_ours: whether an existing destination may be replaced.

    Raises:
        UserError: the destination exists and is something else.
    """
    check_destination(destination, is_ours=is_ours)
    flush_folder(staging)
    if not destination.exists():
        staging.rename(destination)
    elif not _exchange(staging, destination):
        old = staging.with_name(f"{staging.name}.old")
        destination.rename(old)
        staging.rename(destination)
    flush_one(destination.parent)


def check_destination(destination: Path, *, is_ours: Callable[[Path], bool]) -> None:
    """Refuse early to replace what is not ours.

    Raises:
        UserError: the destination is a file, or a folder with something else in it.
    """
    if not destination.exists():
        return
    if destination.is_symlink() or not destination.is_dir():
        raise UserError(f"{destination} is not a folder", todo="choose another OUT=")
    if any(destination.iterdir()) and not is_ours(destination):
        raise UserError(
            f"{destination} exists and holds something else",
            why="it would be replaced as a whole",
            todo="choose another OUT=, or move it away",
        )


def _exchange(first: Path, second: Path) -> bool:
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    status: int = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return status == 0


def flush_folder(folder: Path) -> None:
    """Everything in a folder to disk, its names included."""
    for path in sorted(folder.rglob("*")):
        flush_one(path)
    flush_one(folder)


def flush_one(path: Path) -> None:
    """One file, or one folder's names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
