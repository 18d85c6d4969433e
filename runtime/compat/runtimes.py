"""The list of old runtimes: data, read strictly."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BundleError, UserError
from runtime.strict_json import read_dataclass

RUNTIMES_SCHEMA = 1
DEFAULT_LIST = Path(__file__).with_name("runtimes.toml")


@dataclass(frozen=True, slots=True)
class PackageSpec:
    """One package of the list.

    Attributes:
        format: what it runs.
        claim: the key of a manifest's `minimum_runtime` that its versions answer.
        requirements: what else it needs, exact versions.
        versions: version → Pythons that it can be had for, the preferred one first.
        on_request: whether it runs only when it is named.
    """

    format: str
    claim: str
    requirements: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]
    on_request: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeList:
    """The whole file: package → what is known of it."""

    schema_version: int
    runtimes: dict[str, PackageSpec]


@dataclass(frozen=True, slots=True)
class OldRuntime:
    """One version of a runtime.

    Attributes:
        pythons: releases that it can be had for, the preferred one first; none for the runtime that
            is installed beside this program.
        requirements: for pip, itself among them.
    """

    package: str
    version: str
    format: str
    claim: str
    pythons: tuple[str, ...]
    requirements: tuple[str, ...]

    @property
    def name(self) -> str:
        """Such as ``onnxruntime 1.17.0``."""
        return f"{self.package} {self.version}"


def read_runtimes(path: Path = DEFAULT_LIST) -> RuntimeList:
    """Read a list of runtimes.

    Raises:
        UserError: missing, not TOML, another schema version, or a version that is not numbers.
    """
    try:
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read", why=str(error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML", why=str(error)) from error
    if value.get("schema_version") != RUNTIMES_SCHEMA:
        raise UserError(
            f"{path} has the schema version {value.get('schema_version')!r}",
            why=f"this release reads {RUNTIMES_SCHEMA}",
        )
    found = read_dataclass(RuntimeList, value, path.name)
    for package, spec in found.runtimes.items():
        for version, pythons in spec.versions.items():
            version_key(version)
            if not pythons:
                raise BundleError(f"{path.name}: {package} {version} names no Python")
        if pinless := [need for need in spec.requirements if "==" not in need]:
            raise BundleError(f"{path.name}: {package} needs {pinless[0]!r} in no exact version")
    return found


def chosen(listed: RuntimeList, formats: Iterable[str], only: str | None) -> tuple[OldRuntime, ...]:
    """The runtimes to run, in the list's order, each package's versions ascending.

    Args:
        listed: all of them.
        formats: of the artifacts; runtimes of others are left out.
        only: packages, or ``PACKAGE==VERSION``, with commas; None takes all that need not be named.

    Raises:
        UserError: a name that the list does not have, or nothing left for these formats.
    """
    everything = [
        OldRuntime(
            package, version, spec.format, spec.claim, spec.versions[version],
            (f"{package}=={version}", *spec.requirements),
        )
        for package, spec in listed.runtimes.items()
        for version in sorted(spec.versions, key=version_key)
    ]  # fmt: skip
    if only is None:
        wanted = [one for one in everything if not listed.runtimes[one.package].on_request]
    else:
        names = {name for part in only.split(",") if (name := part.strip())}
        known = {one.package for one in everything}
        known |= {f"{one.package}=={one.version}" for one in everything}
        if odd := sorted(names - known):
            raise UserError(
                f"no runtime is called {odd[0]!r}",
                todo=f"--only takes {', '.join(listed.runtimes)}, or PACKAGE==VERSION of the list",
            )
        wanted = [
            one for one in everything if {one.package, f"{one.package}=={one.version}"} & names
        ]
    formats = set(formats)
    found = tuple(one for one in wanted if one.format in formats)
    if not found:
        raise UserError(
            f"no runtime of the list runs {' or '.join(sorted(formats))}"
            + (f" and is called {only}" if only else ""),
            why=f"{', '.join(f'{name} runs {s.format}' for name, s in listed.runtimes.items())}",
        )
    return found


def version_key(version: str) -> tuple[int, ...]:
    """``1.17.0`` → (1, 17, 0), which sorts as releases do.

    Raises:
        UserError: it is not numbers with dots.
    """
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"{version!r} is not a release's number, such as 1.17.0")
    return tuple(int(part) for part in parts)


def lowest_claimed(minimum: Mapping[str, str], runtime: OldRuntime) -> str | None:
    """What a manifest promises for a runtime's package; None if it promises nothing."""
    return minimum.get(runtime.claim)
