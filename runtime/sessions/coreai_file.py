"""Checks a Core AI asset before Apple's runtime sees it.

The runtime (coreai-core 1.0.0b3) ends the whole process on a damaged program instead of raising an
error, so whatever can be checked is checked here, with the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import files_below, sha256_of

PROGRAM = "main.mlirb"
METADATA = "metadata.json"
# The program's SHA-256 as 32 raw bytes; coreai writes it, but does not look at it.
PROGRAM_HASH = "main.hash"
SUFFIX = ".aimodel"

_MLIR_BYTECODE = b"ML\xefR"
_ASSET_VERSION = "2.0"
_MAX_METADATA_BYTES = 1 << 20


def check_asset(path: Path) -> dict[str, Any]:
    """Refuse a folder that is not an undamaged Core AI asset.

    The hash lies in the same folder: it finds damage, not a forgery. Against that the bundle's
    manifest has hashes of every file.

    Args:
        path: a folder named ``*.aimodel`` with a program, its hash and the metadata.

    Returns:
        The metadata, as JSON values.

    Raises:
        UserError: a file is missing, changed, cut, a link or not of this format.
    """
    if not path.is_dir() or path.suffix != SUFFIX:
        raise UserError(f"{path} is not a Core AI asset", why=f"it is no folder named *{SUFFIX}")
    wanted = {PROGRAM, PROGRAM_HASH, METADATA}
    found = {file.relative_to(path).as_posix(): file for file in files_below(path)}
    if set(found) != wanted:
        odd = sorted(set(found) ^ wanted)[0]
        raise _damaged(path, f"{odd} is {'missing' if odd in wanted else 'not part of one'}")
    if any(file.is_symlink() for file in found.values()):
        raise _damaged(path, "it holds a symbolic link")
    metadata = _metadata(path)
    with (path / PROGRAM).open("rb") as stream:
        if stream.read(len(_MLIR_BYTECODE)) != _MLIR_BYTECODE:
            raise _damaged(path, f"{PROGRAM} is not MLIR bytecode")
    expected = path / PROGRAM_HASH
    if expected.stat().st_size != hashlib.sha256().digest_size:
        raise _damaged(path, f"{PROGRAM_HASH} is not a SHA-256")
    if expected.read_bytes().hex() != sha256_of(path / PROGRAM):
        raise _damaged(path, f"{PROGRAM} was changed or cut: its SHA-256 is not {PROGRAM_HASH}'s")
    return metadata


def _metadata(path: Path) -> dict[str, Any]:
    file = path / METADATA
    if file.stat().st_size > _MAX_METADATA_BYTES:
        raise _damaged(path, f"{METADATA} is larger than {_MAX_METADATA_BYTES} bytes")
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{METADATA} is not JSON") from error
    version = value.get("assetVersion") if isinstance(value, dict) else None
    if version != _ASSET_VERSION:
        raise _damaged(path, f"{METADATA} has the asset version {version!r}, not {_ASSET_VERSION}")
    return dict(value)


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged", why=why, todo="export it again, or copy it again")
