"""Looks through an ONNX file for weights kept in other files, without the onnx package.

onnxruntime follows such references to wherever they lead. A bundle's hashes cover one file, so an
artifact that refers to another is refused before the runtime sees it. Nothing is copied: the file
is mapped, and weights are skipped by their length.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from runtime.errors import UserError
from runtime.sessions.onnx_wire import fields

# Message → field number → message of that field, for the fields of onnx.proto that lead to tensors.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DEEPEST = 32


def refuse_external_data(path: Path) -> None:
    """Check that every weight is inside the file.

    Raises:
        UserError: missing, empty, not ONNX or cut short, or with weights in other files.
    """
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            external = _has_external(data, 0, len(data), "model", 0)
    except OSError as error:
        raise UserError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path} is not an ONNX file, or is damaged", todo="export or copy it again"
        ) from error
    if external:
        raise UserError(
            f"{path} keeps weights in other files",
            why="a bundle's artifact is one file",
            todo="export it again",
        )


def _has_external(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError("messages are nested too deep")
    for field, first, last in fields(data, start, end):
        if message == "tensor" and field == _EXTERNAL_DATA:
            return True
        if message == "tensor" and field == _DATA_LOCATION and first == last and last != 0:
            return True
        inner = _FIELDS[message].get(field)
        if inner is not None and _has_external(data, first, last, inner, depth + 1):
            return True
    return False
