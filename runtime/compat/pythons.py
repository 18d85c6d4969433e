"""Finds an older Python on this machine: some runtimes have no wheel for this one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from runtime.errors import UserError
from runtime.provisioning.environments import clean_environment
from runtime.provisioning.tools import run_tool

_LOOK_SECONDS = 60


def find_python(releases: Sequence[str]) -> tuple[str, Path]:
    """The first of these releases that is installed, and its interpreter.

    Args:
        releases: such as ``3.11``, the preferred one first.

    Raises:
        UserError: none of them is found.
    """
    for release in releases:
        for candidate in _candidates(release):
            if _release_of(candidate) == release:
                return release, candidate
    raise UserError(
        f"no Python {' or '.join(releases)} is found",
        why="there is a wheel for no other",
        todo=f"install one, so that python{releases[0]} is on the PATH",
    )


def _candidates(release: str) -> Iterator[Path]:
    yield Path(sys.executable)
    if on_path := shutil.which(f"python{release}"):
        yield Path(on_path)
    # pyenv's programs on the PATH start only the releases that were switched on.
    root = os.environ.get("PYENV_ROOT")
    if root:
        yield from sorted(Path(root).glob(f"versions/{release}.*/bin/python{release}"))


@cache
def _release_of(python: Path) -> str | None:
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        # -I and not -P, which releases before 3.11 do not know.
        done = run_tool(
            str(python), "-I", "-c", code, environment=clean_environment(), timeout=_LOOK_SECONDS
        )
    except UserError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
