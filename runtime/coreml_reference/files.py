"""Opens the files of a package without ever leaving it.

Every level of a path is looked at before it is followed: symbolic links, FIFOs, devices and paths
that climb out are refused. Files are read with seek and read rather than mapped: reading from a
mapped file that has shrunk kills the process with SIGBUS, while a short read is an ordinary error.
Each opening compares the file with what was seen first, so one that has changed is noticed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from runtime.coreml_reference.program import Array, CoreMLError
from runtime.coreml_reference.wire import shown

# O_NOFOLLOW closes the gap between looking and opening, O_NONBLOCK keeps a FIFO from blocking.
_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A regular file inside a package, as it was when it was found.

    Attributes:
        root: the package.
        relative: path inside it, with ``/``.
        size: bytes.
        identity: device, inode, size and time of change (ns).
    """

    root: Path
    relative: str
    size: int
    identity: tuple[int, int, int, int]

    def open(self) -> BinaryIO:
        """Open it for reading.

        Raises:
            CoreMLError: it cannot be opened, or is another file than the one that was found.
        """
        try:
            descriptor = os.open(self.root / self.relative, _FLAGS)
        except OSError as error:
            raise unreadable(self.relative, error) from error
        stream = os.fdopen(descriptor, "rb", buffering=0)
        if _identity(os.fstat(descriptor)) != self.identity:
            stream.close()
            raise changed(self.relative)
        return stream

    def read(self, offset: int, size: int, stream: BinaryIO | None = None) -> Array:
        """Read-only uint8 array with `size` bytes from `offset`; both must lie inside the file.

        Raises:
            CoreMLError: the file has changed or cannot be read.
        """
        if stream is None:
            with self.open() as opened:
                return self.read(offset, size, opened)
        data = np.empty(size, np.uint8)
        view, filled = data.data, 0
        try:
            stream.seek(offset)
            while filled < size:
                got = stream.readinto(view[filled:])  # type: ignore[attr-defined]
                if not got:
                    raise changed(self.relative)
                filled += got
        except OSError as error:
            raise unreadable(self.relative, error) from error
        data.setflags(write=False)
        return data

    def read_all(self, limit: int) -> bytes:
        """The whole content.

        Raises:
            CoreMLError: larger than `limit` bytes, changed, or not readable.
        """
        if self.size > limit:
            raise CoreMLError(
                f"{self.relative} is too large",
                why=f"it has {self.size} bytes; at most {limit} are read",
            )
        return self.read(0, self.size).tobytes()


def find_file(root: Path, relative: str, *, named_by: str) -> StoredFile:
    """Find a regular file at `relative` inside the package `root`.

    Args:
        root: the package's folder.
        relative: path with ``/``, checked by :func:`check_path` before.
        named_by: who asks for it, for the error message.

    Raises:
        CoreMLError: it is missing, or it or a folder on the way is a link or no regular file.
    """
    status = look(root, relative, named_by=named_by)
    if not stat.S_ISREG(status.st_mode):
        raise CoreMLError(
            f"{shown(relative)} is no regular file",
            why="a folder, FIFO, device or socket stands in its place",
            todo="copy the package again",
        )
    return StoredFile(root, relative, status.st_size, _identity(status))


def look(root: Path, relative: str, *, named_by: str) -> os.stat_result:
    """Status of what is at `relative`, having looked at every level on the way.

    Raises:
        CoreMLError: something is missing, a symbolic link, or no folder on the way.
    """
    path = root
    parts = relative.split("/")
    for depth, part in enumerate(parts, 1):
        path = path / part
        here = "/".join(parts[:depth])
        try:
            status = path.lstat()
        except FileNotFoundError as error:
            raise CoreMLError(
                f"the package lacks {shown(here)}",
                why=f"{named_by} names it",
                todo="copy the whole package again",
            ) from error
        except (OSError, ValueError) as error:
            raise unreadable(here, error) from error
        if stat.S_ISLNK(status.st_mode):
            raise CoreMLError(
                f"{shown(here)} is a symbolic link",
                why="a package must hold its own files",
                todo="put the file itself in its place",
            )
        if depth < len(parts) and not stat.S_ISDIR(status.st_mode):
            raise CoreMLError(f"{shown(here)} is no folder", why=f"{named_by} names a file in it")
    return status


def check_path(relative: str, *, named_by: str) -> str:
    """Check that a path from a file names something below its folder, and return it.

    Raises:
        CoreMLError: empty, absolute, with ``..``, ``.``, an empty part, a backslash, a colon or a
            control character.
    """
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(
        character in "\\:" or ord(character) < 32 or ord(character) == 127 for character in relative
    ):
        raise CoreMLError(
            f"{named_by} has the path {shown(relative)}, which could leave the package",
            why="a path must be relative, inside the package and without .. or backslash",
            todo="do not use this package",
        )
    return relative


def changed(relative: str) -> CoreMLError:
    """The error for a file that is no longer the one that was checked."""
    return CoreMLError(
        f"{shown(relative)} was changed while the package was in use", todo="read the package again"
    )


def unreadable(relative: str, error: Exception) -> CoreMLError:
    """The error for a file that the system does not let us read."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return CoreMLError(f"{shown(relative)} cannot be read", why=reason)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
