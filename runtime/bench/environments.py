"""Peers' Python environments: each made once from exact versions, with pip as its only network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from runtime.bench.peers import EnvironmentSpec
from runtime.emulation.cache import cache_folder, install
from runtime.errors import UserError

Say = Callable[[str], None]
_INSTALL_SECONDS = 1800
_LOOK_SECONDS = 60


def peers_folder() -> Path:
    """``$MOBILE_EXPORT_CACHE/peers``, or ``build/peers`` below the current folder."""
    return cache_folder("peers")


def interpreter(
    name: str,
    spec: EnvironmentSpec,
    *,
    folder: Path,
    export_python: Path | None = None,
    say: Say = lambda _: None,
) -> Path:
    """The Python of an environment, made if it is not there yet.

    Args:
        name: of the environment.
        spec: its packages.
        folder: of all peers; the environment lies below it.
        export_python: the interpreter that makes bundles; None takes this one.
        say: called with one line before packages are fetched.

    Raises:
        UserError: it cannot be made, or lacks a module.
    """
    if not spec.requirements:
        python = export_python or Path(sys.executable)
        own = export_python is None
        missing = (
            [m for m in spec.modules if find_spec(m) is None]
            if own
            else _missing_modules(python, spec.modules)
        )
        if missing:
            raise UserError(
                f"{python} has no {', '.join(missing)}",
                todo="name the interpreter that makes bundles: --export-python .venv/bin/python",
            )
        return python
    home = folder / "environments" / name
    request = {
        "requirements": "\n".join(spec.requirements),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    fill = partial(_make, name=name, requirements=spec.requirements, say=say)
    install(home, request, fill)
    python = home / "venv" / "bin" / "python"
    if missing := _missing_modules(python, spec.modules):
        raise UserError(
            f"the environment {name} has no {', '.join(missing)}",
            todo=f"remove {home} to have it made again",
        )
    return python


def installed_versions(python: Path, modules: Sequence[str]) -> tuple[str, ...]:
    """Such as ``torch 2.13.0``, of packages that are called as their modules are.

    Raises:
        UserError: the interpreter cannot be run.
    """
    code = (
        "import sys\n"
        "from importlib.metadata import PackageNotFoundError, version\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n"
        "    except PackageNotFoundError: print(name)"
    )
    said = _run([str(python), "-P", "-c", code, *modules], f"{python} cannot be run", _LOOK_SECONDS)
    return tuple(said.splitlines())


def _make(home: Path, *, name: str, requirements: Sequence[str], say: Say) -> None:
    say(f"installing {len(requirements)} packages for the peer environment {name} (once)")
    venv = home / "venv"
    _run([sys.executable, "-m", "venv", str(venv)], f"the environment {name} cannot be made")
    wanted = home / "requirements.txt"
    wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    # Every version is in the list, so nothing may be chosen by a resolver; scripts are not run, so
    # that they name a folder that is moved does not matter.
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--requirement", str(wanted)]
    _run(command, f"pip could not install the environment {name}")


def _missing_modules(python: Path, modules: Sequence[str]) -> list[str]:
    code = (
        "import importlib.util as u, sys\n"
        "print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    )
    said = _run([str(python), "-P", "-c", code, *modules], f"{python} cannot be run", _LOOK_SECONDS)
    return said.split()


def _run(command: Sequence[str], what: str, seconds: float = _INSTALL_SECONDS) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a list, and no shell
            list(command),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=clean_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(what, why=str(error)) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        lines = lines or done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(what, why=lines[-1].removeprefix("ERROR:").strip())
    return done.stdout


def clean_environment() -> Mapping[str, str]:
    """This program's variables without those that would lead another Python to its packages."""
    own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in own}
