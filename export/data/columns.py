"""Finds out which column is the text and what the others say about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from export.data.separators import find_separator
from export.data.settings import DataSettings
from export.data.tables import Table, listed
from export.data.task import Kind
from runtime.errors import UserError

_TEXT_NAMES = ("text", "sentence", "content", "comment_text", "utterance", "review")
_LABEL_NAMES = (("label", "labels"), ("category", "class", "intent", "target", "sentiment"))
_OTHER_NAMES = {"", "id", "idx", "index", "split", "__index_level_0__"}
_ON_OFF = {"0", "1", "true", "false"}
# A broken cell or two must not make an indicator column look like something else.
_MOSTLY = 0.9

Encoding = Literal["name", "list", "separated", "indicator"]


@dataclass(frozen=True, slots=True)
class Schema:
    """What the columns mean.

    Attributes:
        text: the column with the text.
        labels: one column, or with encoding ``indicator`` one column per label.
        kind: the task.
        encoding: ``name`` (a cell is one label), ``list`` (a list, or one written as text),
            ``separated`` (names with a separator between them) or ``indicator`` (0 or 1).
        separator: for ``separated``; None means that a cell is one label.
    """

    text: str
    labels: tuple[str, ...]
    kind: Kind
    encoding: Encoding
    separator: str | None = None

    def sentence(self) -> str:
        """How the columns were understood, for a person."""
        how = {
            "name": "each cell is one label",
            "list": "each cell is a list of labels",
            "separated": "each cell is one label"
            if self.separator is None
            else f"labels in a cell are separated by {self.separator!r}",
            "indicator": "0 or 1 for each label",
        }[self.encoding]
        kind = self.kind.replace("_", "-")
        return (
            f"Text is in {self.text or repr('')}, labels in {listed(self.labels)}: {how}, {kind}."
        )


def understand(table: Table, settings: DataSettings, kind: Kind | None = None) -> Schema:
    """Read the columns of the training rows.

    Args:
        table: training rows.
        settings: what the user says goes before what is found.
        kind: what the source declares, used when the settings say nothing.

    Raises:
        UserError: a named column is not there, or a column cannot be found without help.
    """
    for name in (settings.text_column, *settings.label_columns):
        if name is not None and name not in table.columns:
            raise UserError(
                f"{table.name} has no column {name!r}",
                why=f"its columns: {listed(table.columns)}",
            )
    if len(set(settings.label_columns)) != len(settings.label_columns):
        raise UserError("a label column is named twice", why=listed(settings.label_columns))
    if settings.text_column in settings.label_columns:
        raise UserError(f"{settings.text_column!r} is named as the text and as a label column")
    labels = settings.label_columns or _usual_labels(table, settings.text_column)
    text = settings.text_column or _find_text(table, labels)
    labels = labels or _remaining_labels(table, text)
    kind = settings.kind or kind
    if len(labels) > 1:
        if settings.label_separator is not None:
            raise UserError(
                "a label separator has no meaning where each label has its own column",
                why=f"label columns: {listed(labels)}",
            )
        return Schema(text, labels, kind or "multi_label", "indicator")
    return _one_column(table, text, labels[0], settings, kind)


def _usual_labels(table: Table, text: str | None) -> tuple[str, ...]:
    for names in _LABEL_NAMES:
        found = tuple(c for c in table.columns if c.lower() in names and c != text)
        if len(found) > 1:
            raise _help_needed(table, "several columns could be the label", "label_columns")
        if found:
            return found
    return ()


def _find_text(table: Table, labels: tuple[str, ...]) -> str:
    candidates = [c for c in table.columns if c not in labels]
    for name in _TEXT_NAMES:
        for column in candidates:
            if column.lower() == name:
                return column
    wordy = [c for c in candidates if not _is_other(c) and _is_wordy(table, c)]
    if len(wordy) != 1:
        why = "several columns could be the text" if wordy else "no column looks like text"
        raise _help_needed(table, why, "text_column")
    return wordy[0]


def _remaining_labels(table: Table, text: str) -> tuple[str, ...]:
    rest = tuple(c for c in table.columns if c != text and not _is_other(c))
    if not rest or not all(_is_indicator(table, column) for column in rest):
        raise _help_needed(table, "no column is plainly the label", "label_columns")
    return rest


def _one_column(
    table: Table, text: str, column: str, settings: DataSettings, kind: Kind | None
) -> Schema:
    values = [value for value in _values(table, column) if value is not None]
    cells = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    lists = [value for value in values if isinstance(value, list)]
    if _are_vectors(lists):
        raise UserError(
            f"column {column} holds vectors of 0 and 1",
            todo="give lists of names or of indices, or one column for each label",
        )
    separator = settings.label_separator
    if separator is not None:
        if not separator:
            raise UserError("the label separator is empty")
        return Schema(text, (column,), kind or "multi_label", "separated", separator)
    may_be_several = kind == "multi_label" or (kind is None and column.lower() == "labels")
    written = bool(cells) and all(c.startswith("[") and c.endswith("]") for c in cells)
    if lists or (written and may_be_several):
        return Schema(text, (column,), kind or "multi_label", "list")
    if may_be_several:
        separator = find_separator(cells)
        if separator is not None or kind == "multi_label":
            return Schema(text, (column,), "multi_label", "separated", separator)
    return Schema(text, (column,), "single_label", "name")


def _values(table: Table, column: str) -> Iterator[Any]:
    index = table.columns.index(column)
    return (row.cells[index] for row in table.rows)


def _is_other(column: str) -> bool:
    """An index or the name of a split; pandas calls a nameless column ``Unnamed: 0``."""
    return column.lower() in _OTHER_NAMES or column.startswith("Unnamed: ")


def _is_wordy(table: Table, column: str) -> bool:
    """Whether most cells are text that is no number."""
    present = [value for value in _values(table, column) if value not in (None, "")]
    wordy = sum(isinstance(value, str) and not _is_number(value) for value in present)
    return wordy * 2 > len(present)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_indicator(table: Table, column: str) -> bool:
    present = [value for value in _values(table, column) if value not in (None, "")]
    fitting = sum(on_off(value) is not None for value in present)
    return bool(present) and fitting >= _MOSTLY * len(present)


def on_off(value: Any) -> bool | None:
    """What an indicator cell says: 0, 1, true, false or a float equal to one; else None."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    word = str(value).strip().lower()
    if word in {"0.0", "1.0"}:
        word = word[0]
    return word in {"1", "true"} if word in _ON_OFF else None


def _are_vectors(lists: list[list[Any]]) -> bool:
    """Whether the lists are of one length, of 0 and 1 only, and repeat one as indices would not."""
    return (
        len({len(value) for value in lists}) == 1
        and all(item in (0, 1) for value in lists for item in value)
        and any(len(set(value)) < len(value) for value in lists)
    )


def _help_needed(table: Table, why: str, setting: str) -> UserError:
    return UserError(
        f"the columns of {table.name} are not plain: {why}",
        why=f"its columns: {listed(table.columns)}",
        todo=f"name the right ones with {setting}",
    )
