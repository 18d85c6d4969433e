"""Protobuf's wire format, as far as ONNX files need it: fields are found and written, no more."""

from __future__ import annotations

import mmap
from collections.abc import Iterator


def fields(data: mmap.mmap | bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, first byte, one past the last byte); for a number, the number twice.

    Raises:
        ValueError: not protobuf, or cut short.
    """
    for number, first, last, _ in whole_fields(data, start, end):
        yield number, first, last


def whole_fields(
    data: mmap.mmap | bytes, start: int, end: int
) -> Iterator[tuple[int, int, int, slice]]:
    """As `fields`, and where the field is with its key.

    Raises:
        ValueError: as `fields`.
    """
    position = start
    while position < end:
        begin = position
        tag, position = _read_varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _read_varint(data, position, end)
            yield number, value, value, slice(begin, position)
            continue
        if wire_type == 2:
            size, position = _read_varint(data, position, end)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if number == 0 or position + size > end:
            raise ValueError("a field runs over its message")
        yield number, position, position + size, slice(begin, position + size)
        position += size


def _read_varint(data: mmap.mmap | bytes, position: int, end: int) -> tuple[int, int]:
    """A variable-length number and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise ValueError("a number runs over its message")


def number_field(number: int, value: int) -> bytes:
    """A field that holds a whole number, not negative."""
    return _varint(number << 3) + _varint(value)


def field(number: int, content: bytes) -> bytes:
    """A field that holds text, bytes or a message."""
    return key(number, len(content)) + content


def key(number: int, size: int) -> bytes:
    """What stands before the content of a field of `size` bytes."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
