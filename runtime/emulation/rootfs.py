"""An arm64 system that is just large enough for Python, and the runtimes' arm64 builds.

The packages are Debian's, unpacked and not installed. The runtimes are the wheels for arm64 of the
very versions that this Python has, so that a difference between processors is one of processors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from runtime.emulation.process import why_it_ended
from runtime.emulation.qemu import Qemu
from runtime.errors import UserError
from runtime.provisioning.apt import private_apt, unpack
from runtime.provisioning.cache import cache_folder, install, is_current, placed_by_hand
from runtime.provisioning.pip import pip_reason
from runtime.provisioning.tools import run_tool

# Debian's releases by their Python. An older Python has wheels of more versions.
_RELEASES = {(3, 11): "bookworm", (3, 13): "trixie"}
_SYSTEM = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1", "libgomp1")
# What sessions import; the wheels' other dependencies serve tools that are not run here.
_WHEELS = ("numpy", "threadpoolctl", "onnxruntime", "ai-edge-litert")
_NEEDED = "numpy"
_MODULES = {"ai-edge-litert": "ai_edge_litert.interpreter"}
_TRY_SECONDS = 300
# Every glibc that manylinux wheels name, up to the release's own.
_GLIBC = {"bookworm": 36, "trixie": 41}


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A system for the emulator.

    Attributes:
        folder: with ``system/`` and ``site/``.
    """

    folder: Path

    @property
    def system(self) -> Path:
        """What the emulated program sees as ``/``, before the host's own files."""
        return self.folder / "system"

    @property
    def site(self) -> Path:
        """Python packages."""
        return self.folder / "site"

    @property
    def python(self) -> Path:
        """The interpreter's file.

        Raises:
            UserError: there is none.
        """
        found = sorted((self.system / "usr" / "bin").glob("python3.[0-9]*"))
        if not found:
            raise UserError(
                f"{self.system} has no usr/bin/python3.11 or later",
                todo=f"remove {self.folder} and run this again",
            )
        return found[-1]


def release_for(python: tuple[int, int]) -> str:
    """The newest release whose Python is not newer than the host's, else the oldest."""
    fitting = [version for version in _RELEASES if version <= python]
    return _RELEASES[max(fitting, default=min(_RELEASES))]


def wheels_like_here() -> tuple[str, ...]:
    """``numpy==2.3.5`` …: the packages that sessions import, in the versions of this Python.

    Raises:
        UserError: numpy is not installed as a package.
    """
    found = []
    for name in _WHEELS:
        try:
            found.append(f"{name}=={version_of(name)}")
        except PackageNotFoundError:
            if name == _NEEDED:
                raise UserError("numpy is not installed in this Python") from None
    return tuple(found)


def pip_arguments(release: str, wheels: tuple[str, ...], target: Path) -> list[str]:
    """What pip is asked for: wheels for arm64, never anything that runs code of a package."""
    python = next(version for version, name in _RELEASES.items() if name == release)
    platforms = ["manylinux2014_aarch64"]
    platforms += [f"manylinux_2_{minor}_aarch64" for minor in range(_GLIBC[release], 16, -1)]
    arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    arguments += ["--only-binary=:all:", "--target", str(target), "--implementation", "cp"]
    arguments += ["--python-version", ".".join(map(str, python))]
    for platform in platforms:
        arguments += ["--platform", platform]
    return [*arguments, *wheels]


def get_rootfs(qemu: Qemu, say: Callable[[str], None] = lambda _: None) -> Rootfs:
    """The arm64 system; made once, and again when a runtime's version changes on the host.

    Args:
        qemu: for arm64; tries what was fetched before it is kept.
        say: called with one line before something that takes time.

    Raises:
        UserError: it cannot be made; says what to place where.
    """
    folder = cache_folder("emulation") / "arm64"
    release, wheels = release_for(sys.version_info[:2]), wheels_like_here()
    request = {"release": release, "system": " ".join(_SYSTEM), "wheels": " ".join(wheels)}
    if placed_by_hand(folder) or is_current(folder, request):
        return Rootfs(folder)

    def fill(new: Path) -> None:
        root = Rootfs(new)
        say(f"fetching Debian's Python for arm64 ({release})")
        with private_apt(release, "arm64") as apt:
            root.system.mkdir()
            unpack(apt.with_dependencies(_SYSTEM), root.system)
        say(f"fetching {', '.join(wheels)} for arm64")
        _pip(release, wheels, root.site)
        _try(qemu, root, wheels)

    try:
        install(folder, request, fill)
    except UserError as error:
        raise UserError(
            "there is no arm64 system to run",
            why=f"making it failed: {error}".rstrip("."),
            todo=f"by hand: unpack arm64 packages of Python into {folder}/system, and the wheels "
            f"{', '.join(wheels)} for arm64 into {folder}/site",
        ) from error
    return Rootfs(folder)


def _try(qemu: Qemu, root: Rootfs, wheels: tuple[str, ...]) -> None:
    """Import every package once: it works, and the next start finds the bytecode."""
    names = [wheel.partition("==")[0] for wheel in wheels]
    imports = "; ".join(f"import {_MODULES.get(name, name)}" for name in names)
    done = run_tool(
        str(qemu.program),
        *("-cpu", "max", "-L", root.system, root.python, "-c", imports),
        environment={"PYTHONPATH": str(root.site)},
        timeout=_TRY_SECONDS,
    )
    if done.returncode:
        said = why_it_ended(done.returncode, done.stderr)
        raise UserError("what was fetched does not run in the emulator", why=said)


def _pip(release: str, wheels: tuple[str, ...], target: Path) -> None:
    done = run_tool(sys.executable, "-m", "pip", *pip_arguments(release, wheels, target))
    if done.returncode:
        raise UserError("pip found no wheels for arm64", why=pip_reason(done.stderr))
