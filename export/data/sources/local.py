"""A folder with a file per split, or one file with all rows."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from export.data.formats import cannot_read, mode_of, read_table, suffixes
from export.data.settings import DataSettings
from export.data.tables import RawSource, Row, Table, listed, shown, split_called
from export.data.task import RowProblem
from runtime.errors import UserError

# How the hub names the files of a data set: train-00000-of-00002.parquet.
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})")


def read(path: Path, settings: DataSettings) -> RawSource:
    """Read a folder or a file.

    Raises:
        UserError: it cannot be read, has no training rows, or has two files for one split.
        MissingExtraError: a format needs a package that is not installed.
    """
    name = path.resolve().name if path.name in {"", ".", ".."} else path.name
    if stat.S_ISDIR(mode_of(path)):
        return _read_folder(path, name)
    return _read_file(path, settings)


def _read_folder(folder: Path, name: str) -> RawSource:
    files: dict[str, list[Path]] = {}
    strangers = []
    for path in _entries(folder):
        if path.suffix.lower() not in suffixes():
            continue
        shard = _SHARD.fullmatch(path.stem)
        split = split_called(shard["split"] if shard else path.stem)
        if split:
            files.setdefault(split, []).append(path)
        else:
            strangers.append(path.name)
    if "train" not in files:
        there = strangers + [path.name for paths in files.values() for path in paths]
        raise UserError(
            f"{folder} has no training rows",
            why=f"data files there: {listed(there)}"
            if there
            else f"no file there ends in {', '.join(suffixes())}",
            todo="name the file train.csv (or .tsv, .jsonl, .parquet), or give one file as source",
        )
    notes = [f"Files left aside: {listed(strangers)}."] if strangers else []
    return RawSource(
        name=name,
        splits={split: _joined(split, paths) for split, paths in files.items()},
        notes=tuple(notes),
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise cannot_read(folder, error) from error


def _joined(split: str, paths: list[Path]) -> Table:
    """The rows of one split, whose several files must be all the shards of one set."""
    if len(paths) == 1 and not _SHARD.fullmatch(paths[0].stem):
        return read_table(paths[0])
    shards = [_SHARD.fullmatch(path.stem) for path in paths]
    numbers = [(int(shard["number"]), int(shard["total"])) for shard in shards if shard]
    if numbers != [(number, len(paths)) for number in range(len(paths))]:
        raise UserError(
            f"the files for {split} do not go together",
            why=listed([path.name for path in paths]),
            todo=f"leave one file for {split}, or every shard of one set",
        )
    tables = [read_table(path) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        if table.columns != first.columns or table.class_names != first.class_names:
            raise UserError(f"{table.name} and {first.name} have different columns")
    return Table(
        name=first.name,
        columns=first.columns,
        rows=tuple(row for table in tables for row in table.rows),
        problems=tuple(problem for table in tables for problem in table.problems),
        notes=tuple(note for table in tables for note in table.notes),
        class_names=first.class_names,
    )


def _read_file(path: Path, settings: DataSettings) -> RawSource:
    table = read_table(path)
    column = _split_column(table, settings)
    if column is None:
        return RawSource(name=path.name, splits={"train": table})
    index = table.columns.index(column)
    rows: dict[str, list[Row]] = {"train": []}
    problems = list(table.problems)
    for row in table.rows:
        split = split_called(row.cells[index])
        if split:
            rows.setdefault(split, []).append(row)
        else:
            problems.append(RowProblem("unknown_split", row.where, shown(row.cells[index])))
    return RawSource(
        name=path.name,
        splits={
            split: Table(
                name=table.name,
                columns=table.columns,
                rows=tuple(found),
                # The file is one: what was unreadable in it is told once.
                problems=tuple(problems) if split == "train" else (),
                notes=table.notes if split == "train" else (),
                class_names=table.class_names,
            )
            for split, found in rows.items()
        },
        notes=(f"Splits are taken from the column {column}.",),
    )


def _split_column(table: Table, settings: DataSettings) -> str | None:
    """A column called `split` that names training rows and has no other purpose."""
    taken = {settings.text_column, *settings.label_columns}
    for index, name in enumerate(table.columns):
        if name.lower() == "split" and name not in taken:
            values = {split_called(row.cells[index]) for row in table.rows}
            return name if "train" in values else None
    return None
