"""Fetches the pinned tools, once, into a folder of their own: ``build/android``.

pip and apt do the work, with this machine's own settings for mirrors, proxies and certificates.
Nothing is installed. Whoever looks finds a tool whole or not at all, and a second call needs no
network.
"""

from __future__ import annotations

import fcntl
import fnmatch
import importlib.util
import os
import platform
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from android_demo.toolchain.pins import DebianPin, WheelPin, pins
from runtime.errors import UserError
from runtime.provisioning.apt import missing_tools, private_apt, unpack
from runtime.provisioning.cache import cache_folder, install, is_current, placed_by_hand
from runtime.provisioning.pip import pip_reason
from runtime.provisioning.tools import run_tool

Say = Callable[[str], None]

ROOT = Path(__file__).resolve().parents[2]
_PIP_SECONDS = 900
# What pip and apt say when it is the network, and not the request, that is wrong.
_NETWORK = (
    "connection broken",
    "Could not connect",
    "Could not resolve",
    "Temporary failure",
    "Network is unreachable",
    "Connection timed out",
    "Connection refused",
    "Unable to connect",
    "Name or service not known",
)


class ToolUnavailableError(UserError):
    """A tool cannot be had on this machine now: no network, or the system has no apt or pip."""


def quiet(_: str) -> None:
    """Says nothing."""


def android_cache() -> Path:
    """``$MOBILE_EXPORT_CACHE/android``, or ``build/android`` of this checkout."""
    return cache_folder("android", ROOT / "build")


def wheel_folder(name: str, say: Say = quiet) -> Path:
    """The folder with a pinned wheel's files, fetched if they are not there.

    Args:
        name: in pins.toml.
        say: told what is fetched.

    Raises:
        ToolUnavailableError: the wheel cannot be fetched here and now.
        UserError: the registry's file is not the pinned one.
    """
    pin = pins().wheels[name]
    request = {"wheel": pin.requirement, "system": sys.platform, "machine": platform.machine()}
    request |= {"members": " ".join(pin.members), "sha256": " ".join(pin.sha256)}

    def fill(new: Path) -> None:
        say(f"fetching {pin.requirement} (once)")
        with tempfile.TemporaryDirectory(prefix="mobile-export-wheel-") as work:
            _unzip(_download(pin, Path(work)), pin, new)

    return filled(android_cache() / "wheels" / name, request, fill)


def debian_folder(name: str, say: Say = quiet) -> Path:
    """The folder with the files of a pinned set of Debian packages, fetched if not there.

    Args:
        name: of the set in pins.toml.
        say: told what is fetched.

    Returns:
        The root folder: a package's ``/usr/share/java/x.jar`` is at ``usr/share/java/x.jar``.

    Raises:
        ToolUnavailableError: the packages cannot be fetched here and now.
        UserError: the release has another version than the pinned one.
    """
    pin = pins().debian[name]
    request = {"release": pin.release, "machine": platform.machine()}
    request |= {f"package {package}": version for package, version in pin.packages.items()}
    request |= {"dependencies": str(pin.dependencies)}

    def fill(new: Path) -> None:
        say(f"fetching Debian's {', '.join(pin.packages)} (once)")
        _fetch_debian(pin, new)

    return filled(android_cache() / "debian" / name, request, fill)


def filled(folder: Path, request: dict[str, str], fill: Callable[[Path], None]) -> Path:
    """A folder that holds what is asked for; `runtime.provisioning.cache.install`, one at a time.

    Two programs that want the same folder do not both do the work; one that was filled by hand
    is used as it is.

    Raises:
        UserError: whatever `fill` raises; then no folder is left behind.
    """
    if placed_by_hand(folder) or is_current(folder, request):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{folder.name}.lock"):
        return install(folder, request, fill)


def installed_file(package: str, module: str, name: str) -> Path:
    """A file of an installed Python package whose version is pinned.

    Args:
        package: in pins.toml, under ``installed``.
        module: its import name; it is not imported.
        name: of the file, relative to the module's folder.

    Raises:
        UserError: the package is missing or has another version.
    """
    wanted = pins().installed[package]
    todo = f"pip install {package}=={wanted}"
    try:
        found = version(package)
    except PackageNotFoundError:
        raise UserError(f"{package} is not installed", todo=todo) from None
    if found != wanted:
        raise UserError(
            f"{package} {found} is installed",
            why=f"its C interface is called as {wanted} has it",
            todo=todo,
        )
    spec = importlib.util.find_spec(module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (path := Path(place) / name).is_file():
            return path
    raise UserError(f"{package} {found} has no file {name} on this system")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(pin: WheelPin, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ToolUnavailableError(
            f"{pin.requirement} cannot be fetched",
            why=f"{sys.executable} has no pip",
            todo=f"install it with: {sys.executable} -m ensurepip",
        )
    requirements = folder / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in pin.sha256)
    requirements.write_text(f"{pin.requirement} {hashes}\n", encoding="utf-8")
    # A constraint on what is installed says nothing about what is only unpacked.
    environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
    done = run_tool(
        sys.executable,
        *("-m", "pip", "--disable-pip-version-check", "--retries", "2", "--timeout", "20"),
        *("download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--progress-bar", "off", "--dest", folder, "--requirement", requirements),
        environment=environment,
        timeout=_PIP_SECONDS,
    )
    if done.returncode:
        raise _refusal(pin.requirement, "pip", done.stderr)
    return next(folder.glob("*.whl"))


def _unzip(wheel: Path, pin: WheelPin, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if not pin.members or any(fnmatch.fnmatch(member.filename, p) for p in pin.members):
                archive.extract(member, folder)
    for pattern in pin.executables:
        for path in folder.glob(pattern):
            path.chmod(0o755)


def _fetch_debian(pin: DebianPin, folder: Path) -> None:
    what = f"Debian's {', '.join(pin.packages)}"
    if tools := missing_tools():
        raise ToolUnavailableError(
            f"{what} cannot be fetched", why=f"{tools[0]} is missing; this is not a Debian system"
        )
    try:
        with private_apt(pin.release, _debian_architecture()) as apt:
            wanted = list(pin.packages)
            if pin.dependencies:
                found = apt.with_dependencies(wanted)
            else:
                found = [apt.alone(package) for package in wanted]
            _check_versions(found, pin)
            unpack(found, folder)
    except UserError as error:
        raise _refusal(what, "apt", str(error)) from error


def _check_versions(debs: list[Path], pin: DebianPin) -> None:
    # apt writes the colon of an epoch as %3a.
    parts = [deb.name.replace("%3a", ":").split("_") for deb in debs]
    versions = {name: version for name, version, *_ in parts}
    for name, wanted in pin.packages.items():
        if versions.get(name) != wanted:
            raise UserError(
                f"Debian {pin.release} has {name} {versions.get(name)}",
                why=f"pinned is {wanted}",
                todo="try that version and change android_demo/toolchain/pins.toml",
            )


def _debian_architecture() -> str:
    return run_tool("dpkg", "--print-architecture").stdout.strip()


def _refusal(what: str, program: str, said: str) -> UserError:
    if any(sign in said for sign in _NETWORK):
        return ToolUnavailableError(
            f"{what} cannot be fetched",
            why="there is no connection to the registry",
            todo="connect to a network and run this again; it is fetched once",
        )
    return UserError(f"{what} cannot be fetched", why=f"{program} says: {pip_reason(said)}")
