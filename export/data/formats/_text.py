"""UTF-8 text files as lines."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

from runtime.errors import UserError


def text_lines(path: Path) -> list[str]:
    r"""The lines of a file with their ends (\n, \r\n or \r), without a byte order mark.

    Raises:
        UserError: the file is empty or not UTF-8.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    mark = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    if not data[mark:].strip():
        raise UserError(f"{path.name} is empty")
    try:
        text = data[mark:].decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start + mark
        line = data.count(b"\n", 0, at) + 1
        why = f"byte 0x{data[at]:02x} at offset {at}, line {line}"
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            why += ", and it starts as UTF-16 does"
        raise UserError(
            f"{path.name} is not UTF-8", why=why, todo="save the file again as UTF-8"
        ) from error
    return io.StringIO(text, newline="").readlines()
