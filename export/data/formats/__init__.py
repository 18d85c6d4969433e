"""Local file formats: one module each, with FORMAT, SUFFIXES and ``read(path) -> Table``."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from pathlib import Path

from export.data.tables import Table, listed
from runtime.errors import UserError
from runtime.plugins import modules_by


def suffixes() -> tuple[str, ...]:
    """Every file name ending that can be read, with its dot."""
    modules = modules_by(sys.modules[__name__], "FORMAT").values()
    return tuple(suffix for module in modules for suffix in module.SUFFIXES)


def read_table(path: Path) -> Table:
    """Read one local file.

    Raises:
        UserError: it is no file, may not be read, has an unknown ending, is not in its format, or
            has no rows.
        MissingExtraError: its format needs a package that is not installed.
    """
    if not stat.S_ISREG(mode_of(path)):
        raise UserError(f"{path.name} is not a file", why="a folder or a device has its name")
    for module in modules_by(sys.modules[__name__], "FORMAT").values():
        if path.suffix.lower() in module.SUFFIXES:
            break
    else:
        raise UserError(
            f"{path.name} cannot be read as data",
            why=f"its name ends in {path.suffix or 'nothing'}",
            todo="use one of " + ", ".join(suffixes()),
        )
    try:
        table: Table = module.read(path)
    except OSError as error:
        raise cannot_read(path, error) from error
    twice = [name for name, count in Counter(table.columns).items() if count > 1]
    if twice:
        raise UserError(f"{path.name} has two columns of one name", why=listed(twice))
    if not table.rows and not table.problems:
        raise UserError(f"{path.name} has no rows")
    return table


def mode_of(path: Path) -> int:
    """The file type bits of what the path leads to.

    Raises:
        UserError: it leads nowhere, in a circle, or through a closed door.
    """
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - Path.exists() hides why it says no
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from error


def cannot_read(path: Path, error: Exception) -> UserError:
    """The message for a file that the system will not give."""
    why = getattr(error, "strerror", None) or str(error)
    return UserError(f"{path} cannot be read", why=why.lower())
