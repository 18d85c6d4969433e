"""The list of peers: data that comes with `export`, read without importing anything of it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.bench.contestants import ROOT
from runtime.errors import BundleError, UserError
from runtime.provisioning.environments import EnvironmentSpec
from runtime.strict_json import read_dataclass

PEERS_SCHEMA = 1
# Two packages of one distribution lie side by side; only the path is used.
DEFAULT_LIST = ROOT / "export" / "peers" / "peers.toml"
ALL, NONE = "all", "none"


@dataclass(frozen=True, slots=True)
class ConversionSpec:
    """A script that writes a peer's files.

    Attributes:
        environment: name of its interpreter's.
        script: beside the list.
        needs: other conversions whose folders it reads.
        needs_golden: whether it reads the bundle's golden texts.
    """

    environment: str
    script: str
    needs: tuple[str, ...]
    needs_golden: bool


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """One row of the table.

    Attributes:
        name: for the table and for --peers.
        environment: name of the interpreter's that runs it.
        backend: one of ours by its name, or a script beside the list.
        format: of its file.
        precision: ``float32`` or ``int8``.
        conversion: that writes its files; empty for one that runs the checkpoint itself.
        files: whose bytes are its size; the first is what the backend opens.
        options: told to the backend.
        note: shown beside its figures.
    """

    name: str
    environment: str
    backend: str
    format: str
    precision: str
    conversion: str
    files: tuple[str, ...]
    options: dict[str, bool]
    note: str


@dataclass(frozen=True, slots=True)
class PeerList:
    """The whole file."""

    schema_version: int
    environments: dict[str, EnvironmentSpec]
    conversions: dict[str, ConversionSpec]
    peers: tuple[PeerSpec, ...]


def read_peers(path: Path = DEFAULT_LIST) -> PeerList:
    """Read a list of peers.

    Raises:
        UserError: missing, not TOML, another schema version, or names that lead nowhere.
    """
    try:
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read",
            why="it comes with the package export; this installation has only what runs bundles",
            todo="use --peers none, or run from a clone",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML", why=str(error)) from error
    if value.get("schema_version") != PEERS_SCHEMA:
        raise UserError(
            f"{path} has the schema version {value.get('schema_version')!r}",
            why=f"this release reads {PEERS_SCHEMA}",
        )
    found = read_dataclass(PeerList, value, path.name)
    _check(found, path.name)
    return found


def chosen(peers: Sequence[PeerSpec], wanted: str) -> tuple[PeerSpec, ...]:
    """Peers by ``all``, ``none`` or their names with commas.

    A name also stands for every peer whose name begins with it, such as ``optimum`` for
    ``optimum-int8``.

    Raises:
        UserError: a name that is not known.
    """
    if wanted == NONE:
        return ()
    if wanted == ALL:
        return tuple(peers)
    found: dict[str, PeerSpec] = {}
    for name in filter(None, (part.strip() for part in wanted.split(","))):
        matching = [p for p in peers if p.name == name or p.name.startswith(f"{name}-")]
        if not matching:
            known = ", ".join(peer.name for peer in peers)
            raise UserError(f"no peer is called {name!r}", todo=f"--peers takes {known}")
        found |= {peer.name: peer for peer in matching}
    return tuple(peer for peer in peers if peer.name in found)


def _check(found: PeerList, where: str) -> None:
    names = [peer.name for peer in found.peers]
    if len(set(names)) != len(names):
        raise BundleError(f"{where} names a peer twice")
    for peer in found.peers:
        if peer.environment not in found.environments:
            raise BundleError(f"{where}: {peer.name} runs in the unknown {peer.environment!r}")
        if peer.conversion and peer.conversion not in found.conversions:
            raise BundleError(f"{where}: {peer.name} is made by the unknown {peer.conversion!r}")
    for name, conversion in found.conversions.items():
        if conversion.environment not in found.environments:
            raise BundleError(f"{where}: {name} runs in the unknown {conversion.environment!r}")
        # Only what stands above, so that no two need each other.
        above = list(found.conversions)[: list(found.conversions).index(name)]
        if missing := [need for need in conversion.needs if need not in above]:
            raise BundleError(f"{where}: {name} needs {missing[0]!r}, which is not above it")
