"""File work that must not lose or half-write anything."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted by its path with ``/`` between the parts."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def sha256_of_listing(entries: list[tuple[str, int, str]]) -> str:
    """Hex SHA-256 of a folder: of one line per file, ``SHA256 BYTES PATH``, sorted by path.

    Args:
        entries: (path relative to the folder, size in bytes, hex SHA-256) of each file.
    """
    lines = [f"{sha256} {size} {path}\n" for path, size, sha256 in sorted(entries)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def json_number(value: float) -> float | str:
    """A JSON value: JSON has no NaN and no infinity, so they become nan, inf and -inf."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def canonical_json(value: Any, *, indent: int | None = 1) -> str:
    r"""JSON whose bytes depend on the value alone: sorted keys, escaped ASCII, no NaN.

    Lone surrogates survive as ``\udXXX``.

    Raises:
        ValueError: a float is not finite.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return (
        json.dumps(
            value,
            sort_keys=True,
            ensure_ascii=True,
            allow_nan=False,
            indent=indent,
            separators=separators,
        )
        + "\n"
    )


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    payload = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes 0600 files; a bundle is meant to be shared.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
