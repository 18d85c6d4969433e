"""Checks that an APK's native libraries fit devices with memory pages of 16 KB.

Android 15 and later have such devices, for arm64-v8a and x86_64. A library that is stored in the
APK is mapped from there, so it must begin at a multiple of 16 KB, and its own segments must be
aligned to as much. ``zipalign -c -P 16`` sees the first and not the second.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import UserError

PAGE = 16 * 1024
_ABIS = (["arm64-v8a"], ["x86_64"])
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_LOAD = 1
# In a local header: the lengths of the name and of the extra field; then the header's own length.
_LENGTHS, _HEADER = 26, 30


def page_problems(apk: Path) -> list[str]:
    """What keeps an APK's libraries from devices with 16 KB pages.

    Args:
        apk: an APK, or any zip file with ``lib/ABI/*.so``.

    Returns:
        One sentence each, the library first; empty if all is well.

    Raises:
        UserError: it is not a zip file, or one of its libraries is no library.
    """
    found = []
    try:
        with zipfile.ZipFile(apk) as archive, apk.open("rb") as stream:
            for member in archive.infolist():
                parts = member.filename.split("/")
                if parts[0] != "lib" or parts[1:2] not in _ABIS or parts[-1][-3:] != ".so":
                    continue
                if member.compress_type == zipfile.ZIP_STORED:
                    stream.seek(member.header_offset + _LENGTHS)
                    name, extra = struct.unpack("<HH", stream.read(4))
                    start = member.header_offset + _HEADER + name + extra
                    if start % PAGE:
                        found.append(f"{member.filename} begins at {start}, not at a page of 16 KB")
                else:
                    found.append(f"{member.filename} is compressed and cannot be mapped")
                with archive.open(member) as library:
                    found += [
                        f"{member.filename} has a segment aligned to {align} bytes, not to 16 KB"
                        for align in sorted(set(_alignments(library.read(), member.filename)))
                        if align < PAGE
                    ]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{apk} is not an APK", why=str(error)) from error
    return found


def _alignments(library: bytes, name: str) -> Iterator[int]:
    """``p_align`` of every segment of a 64-bit ELF file that is loaded."""
    if not library.startswith(_ELF64_LITTLE):
        raise UserError(f"{name} is not a 64-bit library", why="it does not begin as an ELF file")
    try:
        (offset,) = struct.unpack_from("<Q", library, 0x20)
        size, count = struct.unpack_from("<HH", library, 0x36)
        for number in range(count):
            (kind,) = struct.unpack_from("<I", library, offset + number * size)
            if kind == _LOAD:
                (align,) = struct.unpack_from("<Q", library, offset + number * size + 0x30)
                yield align
    except (struct.error, OverflowError) as error:
        raise UserError(f"{name} is cut short", why=str(error)) from error
