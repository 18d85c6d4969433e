"""Where fetched tools and files lie, and how they get there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.files import canonical_json

_STAMP = "stamp.json"


def cache_folder(room: str, build: Path = Path("build")) -> Path:
    """``$MOBILE_EXPORT_CACHE/ROOM``, or without that variable ``build/ROOM``.

    Args:
        room: whose files they are.
        build: taken from the current folder if it is relative.
    """
    return Path(os.environ.get("MOBILE_EXPORT_CACHE") or build).absolute() / room


def placed_by_hand(folder: Path) -> bool:
    """Whether somebody else filled a folder: it is used as it is and never replaced."""
    return folder.is_dir() and not (folder / _STAMP).is_file()


def is_current(folder: Path, request: Mapping[str, str]) -> bool:
    """Whether a folder was filled by `install` with the same request."""
    try:
        found = json.loads((folder / _STAMP).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(found == dict(request))


def install(folder: Path, request: Mapping[str, str], fill: Callable[[Path], None]) -> Path:
    """Fill a folder unless it already holds what is asked for.

    Whoever looks sees the old folder, the new one or none, never a part; two programs may do this
    at once.

    Args:
        folder: to fill; its parents are made.
        request: what is asked for, kept in the folder.
        fill: called with a new empty folder beside it.

    Returns:
        The folder.
    """
    if is_current(folder, request):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        new = work / "new"
        new.mkdir()
        fill(new)
        (new / _STAMP).write_text(canonical_json(dict(request)), encoding="utf-8")
        _swap(new, folder, work / "old", request)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _swap(new: Path, folder: Path, old: Path, request: Mapping[str, str]) -> None:
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        # Another program was faster; its folder is as good if it was asked for the same.
        if not is_current(folder, request):
            raise
