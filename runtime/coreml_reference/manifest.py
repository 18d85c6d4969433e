"""Reads a package's Manifest.json and finds its model file."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from runtime.coreml_reference.files import StoredFile, check_path, find_file, look
from runtime.coreml_reference.program import CoreMLError
from runtime.coreml_reference.wire import shown

_LARGEST = 1 << 20
_MOST_ITEMS = 1000
_AGAIN = "copy the package again or export it again"


def find_model(package: Path) -> StoredFile:
    """Check the manifest and every item it names, and return the model file.

    Raises:
        CoreMLError: no such package, another kind of file, a manifest that is damaged or of an
            unknown version, or an item that is missing or leaves the package.
    """
    _check_folder(package)
    stored = find_file(package, "Manifest.json", named_by="the format of .mlpackage")
    manifest = _parse(stored.read_all(_LARGEST))
    version = _text(manifest, "fileFormatVersion", "Manifest.json")
    if re.fullmatch(r"1\.\d{1,4}\.\d{1,4}", version, re.ASCII) is None:
        raise CoreMLError(
            f"Manifest.json has the file format version {shown(version)}",
            why="this reader knows version 1",
            todo="use a newer release of this tool",
        )
    items = manifest.get("itemInfoEntries")
    if not isinstance(items, dict) or not 0 < len(items) <= _MOST_ITEMS:
        raise _wrong("itemInfoEntries is missing, empty, too long or no object")
    root = _text(manifest, "rootModelIdentifier", "Manifest.json")
    if root not in items:
        raise _wrong(f"rootModelIdentifier {shown(root)} is none of its items")
    for identifier, item in items.items():
        where = f"the item {shown(identifier)} of Manifest.json"
        if not isinstance(item, dict):
            raise _wrong(f"the item {shown(identifier)} is no object")
        path = "Data/" + check_path(_text(item, "path", where), named_by=where)
        mode = look(package, path, named_by="Manifest.json").st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CoreMLError(f"{shown(path)} is neither a file nor a folder", todo=_AGAIN)
    return find_file(package, "Data/" + items[root]["path"], named_by="Manifest.json")


def _check_folder(package: Path) -> None:
    """Say what stands in the place of a package folder, if anything else does."""
    try:
        status = package.stat()
        if stat.S_ISREG(status.st_mode):
            with package.open("rb") as stream:
                start = stream.read(4)
            if start == b"PK\x03\x04":
                raise CoreMLError(
                    f"{package} is a zip archive, not a folder", todo="unzip it first"
                )
            raise CoreMLError(
                f"{package} is a single file",
                why="an ML program is saved as a folder whose name ends in .mlpackage",
                todo="give the .mlpackage folder",
            )
        compiled = stat.S_ISDIR(status.st_mode) and (package / "coremldata.bin").exists()
    except FileNotFoundError as error:
        raise CoreMLError(f"{package} does not exist", todo="check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CoreMLError(f"{shown(str(package))} cannot be read", why=reason) from error
    if not stat.S_ISDIR(status.st_mode):
        raise CoreMLError(f"{package} is no folder", todo="give the .mlpackage folder")
    if compiled:
        raise CoreMLError(
            f"{package} is a compiled model (.mlmodelc)",
            why="only Apple's own runtime reads that form",
            todo="give the .mlpackage that it was compiled from",
        )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(
            data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise CoreMLError("Manifest.json is not JSON", why=why[:120], todo=_AGAIN) from error
    if not isinstance(manifest, dict):
        raise _wrong("it is no JSON object")
    return manifest


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object names a key twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _text(values: dict[str, Any], key: str, where: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise CoreMLError(f"{where} lacks the string {key}", todo=_AGAIN)
    return value


def _wrong(why: str) -> CoreMLError:
    return CoreMLError("Manifest.json is damaged", why=why, todo=_AGAIN)
