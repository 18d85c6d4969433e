"""Comma and tab separated files with a header line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.data.formats._text import text_lines
from export.data.tables import Row, Table
from export.data.task import RowProblem
from runtime.errors import UserError

FORMAT = "delimited"
SUFFIXES = (".csv", ".tsv")

# The csv module stops at 131,072 characters, which a long document exceeds; no limit at all would
# let one unclosed quote swallow a file of any size.
_FIELD_LIMIT = 1 << 24

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True, slots=True)
class _Parsed:
    """Records with the line on which each starts, and what could not be parsed."""

    header: list[str]
    records: list[tuple[int, list[str]]]
    faults: list[tuple[int, str]]


def read(path: Path) -> Table:
    """Read a file whose first line names the columns.

    In tab separated files quotes may be quoting or text: the reading with fewer broken rows wins,
    then the one with more rows, since a stray quote makes one row of many. Where every column's
    name is quoted, quotes are quoting.

    Raises:
        UserError: empty, not UTF-8, or no header.
    """
    lines = text_lines(path)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = _delimiter(lines, usual)
    notes = []
    if delimiter != usual:
        notes.append(f"{path.name}: columns are separated by a {_NAMES[delimiter]}.")
    with _field_limit(_FIELD_LIMIT):
        parsed = _parse(lines, delimiter, quoted=True)
        if delimiter == "\t":
            plain = _parse(lines, delimiter, quoted=False)
            if not _is_quoted(plain.header) and (len(plain.faults), -len(plain.records)) < (
                len(parsed.faults),
                -len(parsed.records),
            ):
                parsed = plain
                notes.append(f"{path.name}: quotes are part of the text.")
    if not parsed.header:
        raise UserError(
            f"{path.name} has no readable header",
            why=parsed.faults[0][1] if parsed.faults else "",
            todo="let the first line name the columns, such as: text,label",
        )
    return Table(
        name=path.name,
        columns=tuple(name.strip() for name in parsed.header),
        rows=tuple(Row(f"{path.name}:{line}", tuple(cells)) for line, cells in parsed.records),
        problems=tuple(
            RowProblem("unreadable", f"{path.name}:{line}", detail)
            for line, detail in sorted(parsed.faults)
        ),
        notes=tuple(notes),
    )


def _is_quoted(header: list[str]) -> bool:
    """Whether every column's name stands in quotes, so that quotes are no text."""
    return all(len(name) > 1 and name[0] == name[-1] == '"' for name in header)


def _delimiter(lines: list[str], usual: str) -> str:
    """The usual one, unless the header has one field with it and more with another."""
    first = next(line for line in lines if line.strip())

    def fields(delimiter: str) -> int:
        return len(next(csv.reader([first], delimiter=delimiter)))

    if fields(usual) > 1:
        return usual
    return max((usual, ",", ";", "\t"), key=fields)


def _parse(lines: list[str], delimiter: str, *, quoted: bool) -> _Parsed:
    """Parse strictly; after a fault go on with the line after the one where the record began.

    Going on there, rather than where the parser gave up, keeps the rows that a quote which is
    never closed would otherwise swallow.
    """
    header: list[str] = []
    records: list[tuple[int, list[str]]] = []
    faults: list[tuple[int, str]] = []
    base = 0
    while base < len(lines):
        reader = csv.reader(
            (lines[index] for index in range(base, len(lines))),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            start = base + reader.line_num
            try:
                record = next(reader)
            except StopIteration:
                return _Parsed(header, records, faults)
            except csv.Error as error:
                faults.append((start + 1, _said(error)))
                if not header:
                    return _Parsed(header, records, faults)
                base = start + 1
                break
            if not record:
                continue
            if not header:
                header = record
            elif len(record) != len(header):
                detail = f"{len(record)} fields where the header has {len(header)}"
                end = base + reader.line_num
                if end > start + 1:
                    detail += f", up to line {end}"
                faults.append((start + 1, detail))
            else:
                records.append((start + 1, record))
    return _Parsed(header, records, faults)


def _said(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote that opens here is never closed"
    return str(error)


@contextmanager
def _field_limit(limit: int) -> Iterator[None]:
    """Raise the csv module's limit, which is global, for as long as it is needed."""
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)
