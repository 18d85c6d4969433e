"""The samples that come with this package."""

from __future__ import annotations

from export import sample
from export.data.tables import RawSource, Row, Table
from export.data.task import SPLITS
from runtime.errors import UserError

PREFIX = "sample:"


def read(task: str) -> RawSource:
    """Read one embedded sample.

    Args:
        task: what stands after ``sample:``.

    Raises:
        UserError: there is no such sample.
    """
    if task not in sample.TASKS:
        known = ", ".join(PREFIX + name for name in sample.TASKS)
        raise UserError(f"there is no sample {task!r}", todo=f"use one of: {known}")
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for number, item in enumerate(sample.texts(task), 1):
        rows[item.split].append(Row(f"{PREFIX}{task}:{number}", (item.text, list(item.labels))))
    name = PREFIX + task
    return RawSource(
        name=name,
        splits={
            split: Table(name, ("text", "labels"), tuple(found))
            for split, found in rows.items()
            if found
        },
        labels=tuple(sample.labels(task)),
        kind="multi_label" if sample.is_multi_label(task) else "single_label",
    )
