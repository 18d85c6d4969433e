"""Where this machine gets its Debian packages from, read from its own apt configuration.

Both formats of sources.list(5): a line per source, and deb822 paragraphs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ETC_APT = Path("/etc/apt")
# A mirror to use instead, for systems whose own packages are not Debian's.
OVERRIDE = "MOBILE_EXPORT_DEBIAN"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_RELEASES = ("bullseye", "bookworm", "trixie", "forky", "sid")
_NAMES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One archive.

    Attributes:
        uri: of the archive, without a slash at its end.
        suites: such as ``bookworm`` or ``bookworm-updates``.
        components: such as ``main``.
        signed_by: a keyring's path, or a key itself; empty where apt's own keys count.
    """

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def read_sources(etc: Path = ETC_APT) -> tuple[AptSource, ...]:
    """Every enabled source of binary packages, in apt's order."""
    parts = etc / "sources.list.d"
    files = [etc / "sources.list"]
    if parts.is_dir():
        files += sorted(p for p in parts.iterdir() if p.suffix in (".list", ".sources"))
    found: list[AptSource] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += parse_deb822(text) if file.suffix == ".sources" else parse_lines(text)
    return tuple(found)


def parse_lines(text: str) -> list[AptSource]:
    """Sources of the format with a line per source; what cannot be read is left out."""
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.split("#", 1)[0].strip())
        if match is None:
            continue
        options = dict(
            option.split("=", 1) for option in (match["options"] or "").split() if "=" in option
        )
        suite, *components = match["rest"].split()
        found.append(
            AptSource(
                match["uri"].rstrip("/"),
                (suite,),
                tuple(components),
                options.get("signed-by", ""),
            )
        )
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """Sources of the format with a paragraph per source; disabled ones are left out."""
    found = []
    for fields in _paragraphs(text):
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").strip().lower() in ("no", "false", "0"):
            continue
        found += [
            AptSource(
                uri.rstrip("/"),
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", "").strip(),
            )
            for uri in fields.get("uris", "").split()
        ]
    return found


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0].isspace():
            if name:
                fields[name] += f"\n{line}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()


def debian_archives(sources: tuple[AptSource, ...]) -> tuple[AptSource, ...]:
    """Those that may be Debian's own main archive, one entry per address.

    Archives of others often name a Debian release too, with a key of their own; security and
    update archives do not hold every package.
    """
    if mirror := os.environ.get(OVERRIDE):
        return (AptSource(mirror.rstrip("/"), (), ("main",), str(KEYRING)),)
    found: dict[str, AptSource] = {}
    for source in sources:
        named = any(suite in _RELEASES or suite in _NAMES for suite in source.suites)
        if not named or "main" not in source.components:
            continue
        if source.uri.startswith("cdrom:"):
            continue
        key = source.signed_by or (str(KEYRING) if KEYRING.is_file() else "")
        if key.startswith("/") and "debian-archive" not in Path(key).name:
            continue
        found.setdefault(source.uri, AptSource(source.uri, source.suites, ("main",), key))
    return tuple(found.values())
