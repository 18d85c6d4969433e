"""The emulator: found on the machine, or fetched from Debian's packages.

Versions before 10 are refused: 7.2 shows programs the host's ``/proc/cpuinfo``, which crashes both
runtimes, and its ``-cpu max`` computes wrong int8 results.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError
from runtime.provisioning.apt import private_apt, unpack
from runtime.provisioning.cache import cache_folder, install, is_current, placed_by_hand
from runtime.provisioning.tools import run_tool

LOWEST = (10, 0)

# Debian's first release with a version that will do. Its builds are static: they run on others too.
_RELEASE = "trixie"
_PACKAGE = "qemu-user"
_PROGRAMS = ("qemu-aarch64", "qemu-x86_64")
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Qemu:
    """An emulator that is recent enough.

    Attributes:
        version: such as ``10.0.13``.
    """

    program: Path
    version: str

    @property
    def name(self) -> str:
        """For reports: ``qemu-aarch64 10.0.13``."""
        return f"{self.program.name.removesuffix('-static')} {self.version}"


def find_qemu(program: str) -> Qemu | None:
    """The emulator in the cache or on PATH; None if there is none that is recent enough.

    Args:
        program: such as ``qemu-aarch64``; on PATH ``qemu-aarch64-static`` counts too.
    """
    installed = [shutil.which(name) for name in (program, f"{program}-static")]
    for path in (
        cache_folder("emulation") / "qemu" / program,
        *(Path(name) for name in installed if name),
    ):
        if path.is_file() and (version := version_of(path)) and recent_enough(version):
            return Qemu(path, version)
    return None


def version_of(path: Path) -> str:
    """What an emulator says of itself; empty if it does not run."""
    try:
        done = run_tool(str(path), "--version", timeout=60)
    except UserError:
        return ""
    return parse_version(done.stdout)


def parse_version(text: str) -> str:
    """``qemu-aarch64 version 10.0.13 (Debian …)`` → ``10.0.13``; empty if it says none."""
    match = _VERSION.search(text)
    return match[1] if match else ""


def recent_enough(version: str) -> bool:
    """Whether a version has none of the known faults."""
    return tuple(int(part) for part in version.split(".")[:2]) >= LOWEST


def get_qemu(program: str, say: Callable[[str], None] = lambda _: None) -> Qemu:
    """The emulator; fetched once if there is none.

    Args:
        program: as in `find_qemu`.
        say: called with one line before something that takes time.

    Raises:
        UserError: it cannot be had; says what to place where.
    """
    if (found := find_qemu(program)) is not None:
        return found
    folder = cache_folder("emulation") / "qemu"
    request = {"package": _PACKAGE, "release": _RELEASE, "programs": " ".join(_PROGRAMS)}
    if is_current(folder, request) or placed_by_hand(folder):
        raise UserError(
            f"{folder / program} does not run, or is older than {LOWEST[0]}.{LOWEST[1]}",
            todo=f"remove {folder} and run this again",
        )
    say(f"fetching {_PACKAGE} ({_RELEASE}, 71 MB)")
    try:
        install(folder, request, _fill)
    except UserError as error:
        raise UserError(
            f"there is no {program} of version {LOWEST[0]}.{LOWEST[1]} or later",
            why=f"fetching it failed: {error}".rstrip("."),
            todo=f"install qemu-user, or place {program} in {folder}",
        ) from error
    if (found := find_qemu(program)) is None:
        raise UserError(f"{folder / program} does not run on this machine")
    return found


def _fill(folder: Path) -> None:
    whole = folder / "package"
    with private_apt(_RELEASE, _host_architecture()) as apt:
        unpack([apt.alone(_PACKAGE)], whole)
    for program in _PROGRAMS:
        if not (whole / "usr" / "bin" / program).is_file():
            raise UserError(f"the package {_PACKAGE} has no {program}")
        (whole / "usr" / "bin" / program).rename(folder / program)
    shutil.rmtree(whole)  # some forty other processors, 400 MB


def _host_architecture() -> str:
    return run_tool("dpkg", "--print-architecture").stdout.strip()
