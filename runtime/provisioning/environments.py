"""Python environments of exact versions, each made once, with pip as the only network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from runtime.errors import UserError
from runtime.provisioning.cache import install
from runtime.provisioning.pip import pip_reason
from runtime.provisioning.tools import run_tool

Say = Callable[[str], None]
_INSTALL_SECONDS = 1800
_LOOK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What an environment holds.

    Attributes:
        requirements: exact versions for pip, all of them; none for the environment that makes
            bundles, which is there already.
        modules: what the interpreter must be able to find, checked before anything runs.
    """

    requirements: tuple[str, ...]
    modules: tuple[str, ...]


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
        folder: the environment lies in ``environments/NAME`` below it.
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
    python = made_environment(home, spec.requirements, name=name, say=say)
    if missing := _missing_modules(python, spec.modules):
        raise UserError(
            f"the environment {name} has no {', '.join(missing)}",
            todo=f"remove {home} to have it made again",
        )
    return python


def made_environment(
    home: Path,
    requirements: Sequence[str],
    *,
    name: str,
    base: Path | None = None,
    release: str | None = None,
    say: Say = lambda _: None,
) -> Path:
    """The interpreter of an environment with these packages, made if it is not there yet.

    Args:
        home: the environment's folder; made whole or not at all.
        requirements: exact versions, all of them.
        name: for messages.
        base: the interpreter that makes it; None takes this one.
        release: the base's, such as ``3.10``; None is this one's.
        say: called with one line before packages are fetched.

    Raises:
        UserError: it cannot be made.
    """
    request = {
        "requirements": "\n".join(requirements),
        "python": release or f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    by = base or Path(sys.executable)
    install(home, request, partial(_make, name=name, requirements=requirements, by=by, say=say))
    return home / "venv" / "bin" / "python"


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
    return tuple(_asked(python, code, modules).splitlines())


def clean_environment() -> Mapping[str, str]:
    """This program's variables without those that would lead another Python to its packages."""
    own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in own}


def _make(home: Path, *, name: str, requirements: Sequence[str], by: Path, say: Say) -> None:
    say(f"installing {len(requirements)} packages for the environment {name} (once)")
    venv = home / "venv"
    _run(by, "-m", "venv", venv, what=f"the environment {name} cannot be made")
    wanted = home / "requirements.txt"
    wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    # Every version is in the list, so nothing may be chosen by a resolver; scripts are not run, so
    # that they name a folder that is moved does not matter.
    _run(
        venv / "bin" / "python",
        *("-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"),
        *("--requirement", wanted),
        what=f"pip could not install the environment {name}",
    )


def _missing_modules(python: Path, modules: Sequence[str]) -> list[str]:
    code = (
        "import importlib.util as u, sys\n"
        "print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    )
    return _asked(python, code, modules).split()


def _asked(python: Path, code: str, arguments: Sequence[str]) -> str:
    """What a line of code prints; -P, so that nothing in the current folder is imported."""
    what = f"{python} cannot be run"
    return _run(python, "-P", "-c", code, *arguments, what=what, seconds=_LOOK_SECONDS)


def _run(python: Path, *arguments: str | Path, what: str, seconds: float = _INSTALL_SECONDS) -> str:
    try:
        done = run_tool(str(python), *arguments, environment=clean_environment(), timeout=seconds)
    except UserError as error:
        raise UserError(what, why=str(error)) from error
    if done.returncode:
        raise UserError(what, why=pip_reason(done.stderr))
    return done.stdout
