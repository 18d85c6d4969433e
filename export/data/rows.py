"""Turns cells into a text and label names, or says why that cannot be."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from typing import Any

from export.data.columns import Schema, on_off
from export.data.separators import split_cell
from export.data.tables import Row, Table, listed, shown
from export.data.task import RowProblem
from runtime.errors import UserError


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row whose labels are still names, in the order of the cell and each once."""

    text: str
    names: tuple[str, ...]
    where: str


class _BrokenRow(Exception):  # noqa: N818 - a verdict, caught in this file
    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def named_rows(table: Table, schema: Schema) -> tuple[list[NamedRow], list[RowProblem]]:
    """Read every row of a table.

    Raises:
        UserError: the table lacks a column of the schema.
    """
    missing = [name for name in (schema.text, *schema.labels) if name not in table.columns]
    if missing:
        raise UserError(
            f"{table.name} has no column {listed(missing)}, which the training rows have",
            why=f"its columns: {listed(table.columns)}",
        )
    text_at = table.columns.index(schema.text)
    labels_at = [table.columns.index(name) for name in schema.labels]
    classes = table.class_names.get(schema.labels[0], ())
    found: list[NamedRow] = []
    problems = list(table.problems)
    for row in table.rows:
        try:
            text = _text(row.cells[text_at])
            names = _names(row, labels_at, schema, classes)
        except _BrokenRow as broken:
            problems.append(RowProblem(broken.kind, row.where, broken.detail))
        else:
            found.append(NamedRow(text, names, row.where))
    return found, problems


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        raise _BrokenRow("no_text", f"{shown(cell)} is not text")
    if not cell.strip():
        raise _BrokenRow("no_text", "the text is blank")
    if "\0" in cell:
        raise _BrokenRow("unreadable", "the text holds a NUL")
    if not _is_unicode(cell):
        raise _BrokenRow("unreadable", "the text holds half a surrogate pair")
    return cell


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names(
    row: Row, labels_at: list[int], schema: Schema, classes: tuple[str, ...]
) -> tuple[str, ...]:
    if schema.encoding == "indicator":
        names = _indicated([row.cells[at] for at in labels_at], schema.labels)
    else:
        names = _in_cell(row.cells[labels_at[0]], schema, classes)
    if schema.kind == "single_label":
        if not names:
            raise _BrokenRow("no_label", "the row has no label")
        if len(names) > 1:
            raise _BrokenRow("several_labels", shown(list(names)))
    return names


def _indicated(cells: list[Any], columns: tuple[str, ...]) -> tuple[str, ...]:
    names = []
    for cell, column in zip(cells, columns, strict=True):
        on = on_off(cell)
        # Published test sets mark rows that nobody has labelled with -1.
        if on is None and (_is_absent(cell) or str(cell).strip() in {"", "-1", "-1.0"}):
            raise _BrokenRow("no_label", f"{column} is {shown(cell)}")
        if on is None:
            raise _BrokenRow("unknown_label", f"{column} is {shown(cell)}, not 0 or 1")
        if on:
            names.append(column)
    return tuple(names)


def _in_cell(cell: Any, schema: Schema, classes: tuple[str, ...]) -> tuple[str, ...]:
    if _is_absent(cell):
        raise _BrokenRow("no_label", "the row has no label")
    if schema.encoding == "list":
        items = _list(cell)
    elif isinstance(cell, str):
        items = split_cell(cell, schema.separator)
    else:
        items = cell if isinstance(cell, list) else [cell]
    names = [_name(item, classes) for item in items]
    return tuple(dict.fromkeys(name for name in names if name))


def _list(cell: Any) -> list[Any]:
    """A list, or a list written as JSON or as Python does; one bare value is a list of one."""
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        return [cell]
    if not cell.strip():
        return []
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(cell.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    raise _BrokenRow("unreadable", f"{shown(cell)} is not a list")


def _is_absent(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _name(value: Any, classes: tuple[str, ...]) -> str:
    """One label's name; whole numbers name themselves unless there are class names for them."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not classes:
            return str(value)
        if value == -1:
            raise _BrokenRow("no_label", "the label is -1")
        if not 0 <= value < len(classes):
            raise _BrokenRow("unknown_label", f"{value} of {len(classes)} classes")
        return classes[value]
    if isinstance(value, str):
        return value.strip()
    if value is None:
        raise _BrokenRow("no_label", "a label is missing")
    raise _BrokenRow("unreadable", f"{shown(value)} is not a label")
