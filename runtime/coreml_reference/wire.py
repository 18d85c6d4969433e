"""Reads protobuf's wire format by the table in schema.py, strictly and lazily.

A message is scanned when it is asked for and keeps only positions in the file, so what a hostile
file can make the reader hold is a small multiple of its size. Encoding as documented at
https://protobuf.dev/programming-guides/encoding/. Beyond what protobuf itself refuses, these are
errors: a singular field or a member of a oneof given twice (a writer never does so, and readers
differ in which one they take), a number outside its declared width, and groups.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from runtime.coreml_reference.program import CoreMLError
from runtime.coreml_reference.schema import SCHEMAS, Field, Schema

# Messages of a real program nest 14 deep, lists of lists some more; protobuf's own limit is 100.
_DEEPEST = 48
# Fifty times the fields of a large model (40 an operation). Bounds the time and the memory that a
# file of tiny fields can take.
_MOST_FIELDS = 2_000_000
_RANGES = {
    "int32": (-(1 << 31), (1 << 31) - 1),
    "enum": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
}


def damaged(why: str) -> CoreMLError:
    """The error for a model.mlmodel that is no well-formed message."""
    return CoreMLError(
        "model.mlmodel is damaged", why=why, todo="copy the package again or export it again"
    )


def shown(text: str) -> str:
    """A name from a file, quoted, short and printable, for one line of an error message."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


class Source:
    """The bytes of the file, and how many more fields may be read from it."""

    __slots__ = ("data", "fields_left")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fields_left = _MOST_FIELDS


class Message:
    """One message, its own fields scanned and checked; what is inside them is read when asked for.

    Raises (on creation and by every method that reads further in):
        CoreMLError: malformed, unknown field of the program, too deep or too many fields.
    """

    __slots__ = ("_depth", "_end", "_found", "_source", "_start", "schema")

    def __init__(self, source: Source, schema: str, start: int, end: int, depth: int = 0) -> None:
        self.schema = SCHEMAS[schema]
        self._source, self._start, self._end, self._depth = source, start, end, depth
        if depth > _DEEPEST:
            raise damaged(f"messages are nested deeper than {_DEEPEST} at byte {start}")
        self._found: dict[str, Any] = {}
        self._scan()

    def number(self, name: str) -> int:
        """A number, bool or enum; 0 where it is absent."""
        value: int = self._found.get(name, 0)
        return value

    def text(self, name: str) -> str:
        """A string; empty where it is absent."""
        value: str = self._found.get(name, "")
        return value

    def raw(self, name: str) -> bytes | bytearray:
        """The bytes of a bytes field, or of all numbers of a repeated one; empty where absent."""
        found = self._found.get(name, b"")
        return self._source.data[found[0] : found[1]] if isinstance(found, tuple) else found

    @property
    def size(self) -> int:
        """Bytes that the message takes."""
        return self._end - self._start

    def content(self) -> bytes:
        """The message's own bytes."""
        return self._source.data[self._start : self._end]

    def which(self, oneof: str) -> str:
        """Name of the group's field that is present; empty for none."""
        for field in self.schema.fields.values():
            if field.oneof == oneof and field.name in self._found:
                return field.name
        return ""

    def child(self, name: str) -> Message | None:
        """A singular message, None where it is absent."""
        found = self._found.get(name)
        if found is None:
            return None
        message = self.schema.names[name].message
        return Message(self._source, message, found[0], found[1], self._depth + 1)

    def need(self, name: str) -> Message:
        """A singular message that must be there."""
        child = self.child(name)
        if child is None:
            raise damaged(f"{self.schema.name} at byte {self._start} lacks its {name}")
        return child

    def count(self, name: str) -> int:
        """How many elements a repeated message or string has."""
        return len(self._found.get(name, ())) // 2

    def children(self, name: str) -> Iterator[Message]:
        """The messages of a repeated field, one at a time."""
        message = self.schema.names[name].message
        for start, end in self._spans(name):
            yield Message(self._source, message, start, end, self._depth + 1)

    def texts(self, name: str) -> Iterator[str]:
        """The strings of a repeated field, one at a time."""
        for start, end in self._spans(name):
            yield _text(self._source.data, start, end, name)

    def entries(self, name: str) -> Iterator[tuple[str, Message]]:
        """Key and entry of a map; the entry's value is its field ``value``."""
        seen: set[str] = set()
        for entry in self.children(name):
            key = entry.text("key")
            if key in seen:
                raise damaged(f"{self.schema.name}.{name} has the key {shown(key)} twice")
            seen.add(key)
            yield key, entry

    def check(self) -> None:
        """Read everything inside, for parts that are not used but must be well-formed."""
        for field in self.schema.fields.values():
            if field.message and field.repeated:
                for child in self.children(field.name):
                    child.check()
            elif field.message and field.name in self._found:
                self.need(field.name).check()
            elif field.kind == "string" and field.repeated:
                for _ in self.texts(field.name):
                    pass

    def _spans(self, name: str) -> Iterator[tuple[int, int]]:
        found = self._found.get(name, ())
        for index in range(0, len(found), 2):
            yield found[index], found[index + 1]

    def _scan(self) -> None:
        source, schema, end = self._source, self.schema, self._end
        data, position = source.data, self._start
        oneofs: dict[str, str] = {}
        while position < end:
            source.fields_left -= 1
            if source.fields_left < 0:
                raise damaged(f"it has more than {_MOST_FIELDS} fields")
            at = position
            tag, position = varint(data, position, end)
            first, position = _extent(data, position, end, tag & 7, at)
            field = schema.fields.get(tag >> 3)
            if not 0 < tag >> 3 < 1 << 29:
                raise damaged(f"field number {tag >> 3} at byte {at}")
            if field is None:
                _refuse_unknown(schema, tag >> 3, at)
            else:
                self._keep(field, tag & 7, first, position, oneofs)

    def _keep(self, field: Field, wire: int, first: int, end: int, oneofs: dict[str, str]) -> None:
        """Check one occurrence of a field and remember its value or where it is."""
        found, name = self._found, field.name
        if field.packed and wire in (2, field.wire_type):
            run = found.get(name)
            if run is None:
                found[name] = (first, end)
            else:
                if isinstance(run, tuple):
                    found[name] = run = bytearray(self._source.data[run[0] : run[1]])
                run += memoryview(self._source.data)[first:end]
            return
        if wire != field.wire_type:
            raise self._wrong(name, first, f"has wire type {wire} instead of {field.wire_type}")
        if field.repeated:
            found.setdefault(name, array("Q")).extend((first, end))
            return
        if name in found:
            raise self._wrong(name, first, "is given twice")
        if field.oneof and oneofs.setdefault(field.oneof, name) != name:
            other = oneofs[field.oneof]
            raise self._wrong(name, first, f"is given besides {other}; only one may be")
        if field.kind == "string":
            found[name] = _text(self._source.data, first, end, name)
        elif wire == 0:
            found[name] = self._number(field, first, end)
        else:
            found[name] = (first, end)

    def _number(self, field: Field, first: int, end: int) -> int:
        number, _ = varint(self._source.data, first, end)
        if field.kind == "bool" and number > 1:
            raise self._wrong(field.name, first, f"is {number} and must be 0 or 1")
        if field.kind in _RANGES:
            number -= (number >> 63) << 64
            low, high = _RANGES[field.kind]
            if not low <= number <= high:
                raise self._wrong(field.name, first, f"is {number}, which is no {field.kind}")
        return number

    def _wrong(self, name: str, at: int, how: str) -> CoreMLError:
        return damaged(f"{self.schema.name}.{name} at byte {at} {how}")


def parse(data: bytes, schema: str) -> Message:
    """Scan the outermost message of a file.

    Raises:
        CoreMLError: it is not well-formed.
    """
    return Message(Source(data), schema, 0, len(data))


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number of at most 64 bits in groups of seven, lowest first, and the position after it."""
    if position < end and data[position] < 128:
        return data[position], position + 1
    number, at = 0, position
    for shift in range(0, 70, 7):
        if position >= end:
            raise damaged(f"the number at byte {at} runs over its message")
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            if number >> 64:
                break
            return number, position
    raise damaged(f"the number at byte {at} is longer than 64 bits")


def _extent(data: bytes, position: int, end: int, wire_type: int, at: int) -> tuple[int, int]:
    """First byte of a field's value and one past its last."""
    if wire_type == 0:
        return position, varint(data, position, end)[1]
    if wire_type == 2:
        size, position = varint(data, position, end)
    elif wire_type in (1, 5):
        size = 8 if wire_type == 1 else 4
    else:
        raise damaged(f"the field at byte {at} has the unknown wire type {wire_type}")
    if size > end - position:
        raise damaged(f"the field at byte {at} runs over its message by {size - end + position} B")
    return position, position + size


def _text(data: bytes, start: int, end: int, name: str) -> str:
    try:
        return str(memoryview(data)[start:end], "utf-8")
    except UnicodeDecodeError as error:
        raise damaged(f"the string {name} at byte {start} is not UTF-8") from error


def _refuse_unknown(schema: Schema, number: int, at: int) -> None:
    if schema.strict:
        raise CoreMLError(
            f"model.mlmodel has the unknown field {number} in {schema.name} (byte {at})",
            why="a field that is not known may change what the program means",
            todo="use a newer release of this tool, or export for an older deployment target",
        )
