"""Rows before anything is known about them: what every format and every source is read into."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from export.data.task import Kind, RowProblem

# `eval` counts as test: if it is a validation set after all, nothing leaks into a final figure.
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Cells as the format gave them (text, number, list, None), in the order of the columns."""

    where: str
    cells: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One file, or all rows of one split.

    Attributes:
        name: file name for messages.
        columns: unique names.
        rows: every row that could be read.
        problems: every row that could not.
        notes: how the file was read, if that took a decision.
        class_names: column → names that its integers stand for.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[RowProblem, ...] = ()
    notes: tuple[str, ...] = ()
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawSource:
    """All that a source has to say.

    Attributes:
        name: see `TextDataset.name`.
        splits: ``train`` and, where the source has them, ``validation`` and ``test``.
        notes: what was left aside or decided.
        labels: the order that the source declares, may be empty.
        kind: what the source declares, may be None.
    """

    name: str
    splits: dict[str, Table]
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    kind: Kind | None = None


def split_called(name: object) -> str | None:
    """``train``, ``validation`` or ``test`` for one of their usual names in any case, else None."""
    return _SPLIT_NAMES.get(str(name).strip().lower())


def listed(names: tuple[str, ...] | list[str], limit: int = 20) -> str:
    """Names for a message: quoted where they could mislead, and not hundreds of them."""
    told = [n if n.isprintable() and n and n == n.strip() else repr(n) for n in names[:limit]]
    if len(names) > limit:
        told.append(f"and {len(names) - limit} more")
    return ", ".join(told)


def shown(value: object, limit: int = 60) -> str:
    """A cell for a message: printable ASCII, one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."
