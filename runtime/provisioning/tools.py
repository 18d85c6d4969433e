"""Runs the programs of the system that this package leans on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import UserError


def run_tool(
    program: str,
    *arguments: str | Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its status is.

    Args:
        program: a name to look for on PATH, or a path.
        arguments: no shell reads them.
        folder: where it runs; here without it.
        environment: all of its variables; ours without it.
        timeout: in seconds.

    Returns:
        Status, standard output and standard error.

    Raises:
        UserError: there is no such program, it cannot be started, or it takes too long.
    """
    path = shutil.which(program)
    if path is None:
        raise UserError(f"the program {program} is missing")
    try:
        return subprocess.run(  # noqa: S603 - a list, and no shell
            [path, *arguments],
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except OSError as error:
        raise UserError(f"{path} cannot be started", why=str(error.strerror)) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{program} took more than {timeout:g} s") from error
