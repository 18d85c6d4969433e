"""Which classes an APK's dex files define, and which ones their code refers to."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from android_demo.toolchain.debian_tools import AndroidTools

_DEX = re.compile(r"classes\d*\.dex")
_DEFINES = re.compile(r"^  Class descriptor  : 'L([^;]+);'")
# Numbers and the like stand before a class without anything between: (IJLjava/lang/String;)V
_DESCRIPTOR = re.compile(r"(?<![\w$/-])[ZBSCIJFD[]*L((?:[\w$-]+/)*[\w$-]+);")
# A text may look like a class; what a file was called is no class either.
_NOT_CODE = re.compile(r"\|[0-9a-f]+: const-string|^  source_file_idx ")


@dataclass(frozen=True, slots=True)
class DexReport:
    """Internal names, such as ``dev/mobileexport/core/Bundle``.

    Attributes:
        defined: every class that lies in a dex file, once for each time that it does.
        referenced: class → the classes that it names: as a superclass, an interface, in a
            signature or in code.
    """

    defined: tuple[str, ...]
    referenced: dict[str, frozenset[str]]


def read_dex(apk: Path, tools: AndroidTools, packages: tuple[str, ...]) -> DexReport:
    """Read all dex files of an APK.

    Args:
        apk: the file.
        tools: for dexdump.
        packages: prefixes of the classes whose references are wanted.

    Raises:
        UserError: dexdump cannot read one.
    """
    defined: list[str] = []
    referenced: dict[str, frozenset[str]] = {}
    with tempfile.TemporaryDirectory(prefix="mobile-export-dex-") as name:
        work = Path(name)
        with zipfile.ZipFile(apk) as archive:
            files = [entry for entry in archive.namelist() if _DEX.fullmatch(entry)]
            for entry in files:
                archive.extract(entry, work)
        for entry in files:
            listing = _dump(work / entry, tools, work)
            names = [match[1] for line in listing if (match := _DEFINES.match(line))]
            defined += names
            if any(name.startswith(packages) for name in names):
                code = _dump(work / entry, tools, work, "-d")
                referenced |= _references(code, packages)
    return DexReport(tuple(defined), referenced)


def _dump(dex: Path, tools: AndroidTools, work: Path, *flags: str) -> list[str]:
    # To a file: it writes texts of the program as they are, and not all of them are UTF-8.
    out = work / "dump.txt"
    tools.run("dexdump", *flags, "-o", out, dex)
    return out.read_text(encoding="utf-8", errors="replace").splitlines()


def _references(lines: Iterable[str], packages: tuple[str, ...]) -> dict[str, frozenset[str]]:
    return {
        name: frozenset(match[1] for line in block for match in _DESCRIPTOR.finditer(line))
        for name, block in _blocks(lines)
        if name.startswith(packages)
    }


def _blocks(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    name, block = "", list[str]()
    for line in lines:
        if match := _DEFINES.match(line):
            if name:
                yield name, block
            name, block = match[1], []
        elif not _NOT_CODE.search(line):
            block.append(line)
    if name:
        yield name, block
