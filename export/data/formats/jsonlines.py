"""One JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.data.formats._text import text_lines
from export.data.tables import Row, Table
from export.data.task import RowProblem
from runtime.errors import UserError

FORMAT = "jsonlines"
SUFFIXES = (".jsonl", ".ndjson", ".jsonlines", ".json")


def read(path: Path) -> Table:
    """Read objects; the columns are all keys, in the order in which they first appear.

    Raises:
        UserError: empty, not UTF-8, or one JSON array instead of lines.
    """
    lines = text_lines(path)
    if next(line for line in lines if line.strip()).lstrip().startswith("["):
        raise UserError(
            f"{path.name} holds a JSON array",
            todo="write one object per line, such as: " + '{"text": "...", "label": "..."}',
        )
    found: list[tuple[str, dict[str, Any]]] = []
    problems: list[RowProblem] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            value = json.loads(line)
        # RecursionError: brackets nested a thousand deep.
        except (ValueError, RecursionError) as error:
            problems.append(RowProblem("unreadable", where, _said(error)))
            continue
        if not isinstance(value, dict):
            problems.append(RowProblem("unreadable", where, "not a JSON object"))
            continue
        columns.update(dict.fromkeys(value))
        found.append((where, value))
    return Table(
        name=path.name,
        columns=tuple(columns),
        rows=tuple(
            Row(where, tuple(value.get(name) for name in columns)) for where, value in found
        ),
        problems=tuple(problems),
    )


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    # Python's own words, the first few: nested too deep, or a number of thousands of digits.
    return f"not JSON: {error}"[:80]
