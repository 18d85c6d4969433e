"""From the tables of a source to a data set that is fit to train on, or one clear error."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from export.data.columns import Schema, understand
from export.data.duplicates import without_leaks
from export.data.label_names import are_codes, check_label_names, name_of, with_names
from export.data.report import shown_problem
from export.data.rows import NamedRow, named_rows
from export.data.settings import DataSettings
from export.data.splits import SHARE, carve
from export.data.tables import RawSource, listed, shown
from export.data.task import SPLITS, Example, RowProblem, TextDataset
from runtime.errors import UserError


def assemble(source: RawSource, settings: DataSettings) -> TextDataset:
    """Understand, check, split and index the rows of a source.

    Raises:
        UserError: the columns or the labels make no task, a split is empty, or more than half of
            its rows are broken.
    """
    schema = understand(source.splits["train"], settings, source.kind)
    # A source that declares its kind left nothing to understand.
    notes = [*source.notes, *([] if source.kind else [schema.sentence()])]
    rows: dict[str, list[NamedRow]] = {}
    problems: list[RowProblem] = []
    read: dict[str, int] = {}
    for split in (name for name in SPLITS if name in source.splits):
        table = source.splits[split]
        notes.extend(table.notes)
        rows[split], found = named_rows(table, schema)
        read[split] = len(rows[split]) + len(found)
        problems.extend(found)

    declared = _declared(source, schema, settings)
    if settings.label_names:
        rows = _renamed(rows, settings, () if settings.labels else declared)
        if not settings.labels:
            declared = tuple(name_of(code, settings.label_names) for code in declared)
    _check_names(declared)
    labels = declared or _sorted_names({name for row in rows["train"] for name in row.names})
    _check_names(labels)
    for split, named in list(rows.items()):
        rows[split], unknown = _known(named, labels, split, declared=bool(declared))
        problems.extend(unknown)
        _check_share(source.splits[split].name, read[split], len(rows[split]), problems)

    clean, repeated = without_leaks(rows)
    problems.extend(repeated)
    notes.extend(_left_out(rows, clean))
    rows = clean
    for split, found_rows in rows.items():
        if not found_rows:
            raise UserError(f"no row is left in {split}", why=_told(problems))
    _check_classes(rows["train"], schema)

    made = tuple(split for split in ("validation", "test") if split not in rows)
    if made:
        rows = {**rows, **carve(rows["train"], made, settings.seed)}
        notes.append(
            f"{' and '.join(made).capitalize()}: {SHARE:.0%} of the training rows each, "
            f"stratified by label, seed {settings.seed}."
        )
    notes.extend(_gaps(rows, labels))
    if are_codes(labels):
        some = ",".join(f"{label}=..." for label in labels[:3]) + (",..." if labels[3:] else "")
        notes.append(
            f"The labels are codes ({listed(labels, 5)}): --label-names {some} makes the model "
            "speak words."
        )
    index = {name: number for number, name in enumerate(labels)}
    return TextDataset(
        name=source.name,
        kind=schema.kind,
        labels=labels,
        splits={
            split: tuple(
                Example(row.text, tuple(sorted(index[name] for name in row.names)))
                for row in rows[split]
            )
            for split in SPLITS
        },
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _declared(source: RawSource, schema: Schema, settings: DataSettings) -> tuple[str, ...]:
    """The label order that somebody has written down: the user, the source, its class names."""
    if settings.labels or source.labels:
        return settings.labels or source.labels
    if schema.encoding == "indicator":
        return schema.labels
    return source.splits["train"].class_names.get(schema.labels[0], ())


def _renamed(
    rows: dict[str, list[NamedRow]], settings: DataSettings, declared: tuple[str, ...]
) -> dict[str, list[NamedRow]]:
    """Rows with the user's label names in place of the codes."""
    codes = {name for row in rows["train"] for name in row.names} | set(declared)
    check_label_names(settings.label_names, codes, partly=bool(settings.labels))
    return {split: with_names(found, settings.label_names) for split, found in rows.items()}


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _check_names(labels: tuple[str, ...]) -> None:
    """Names end up as lines of labels.txt, so they must be lines."""
    for name in labels:
        odd = any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in name)
        if odd or not name.strip() or name != name.strip():
            raise UserError(
                f"{name!r} cannot be the name of a label",
                why="it is blank, has blanks around it, or holds a line break or control character",
            )
    twice = [name for name, count in Counter(labels).items() if count > 1]
    if twice:
        raise UserError("a label is listed twice", why=listed(twice))


def _known(
    rows: list[NamedRow], labels: tuple[str, ...], split: str, *, declared: bool
) -> tuple[list[NamedRow], list[RowProblem]]:
    known = set(labels)
    kept: list[NamedRow] = []
    problems = []
    origin = "not among the labels" if declared or split == "train" else "train does not have it"
    for row in rows:
        strange = [name for name in row.names if name not in known]
        if strange:
            detail = f"{shown(strange[0])}: {origin}"
            problems.append(RowProblem("unknown_label", row.where, detail))
        else:
            kept.append(row)
    return kept, problems


def _check_share(name: str, read: int, kept: int, problems: list[RowProblem]) -> None:
    if (read - kept) * 2 > read:
        raise UserError(
            f"{read - kept} of {read} rows of {name} are broken",
            why=_told([p for p in problems if p.where.rpartition(":")[0] == name] or problems),
            todo="correct them, or name the columns, the separator or the labels",
        )


def _told(problems: list[RowProblem], limit: int = 3) -> str:
    counts = Counter(problem.kind for problem in problems)
    first = "; ".join(shown_problem(problem) for problem in problems[:limit])
    totals = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return f"{totals}: {first}" if problems else "the source has none"


def _check_classes(train: list[NamedRow], schema: Schema) -> None:
    used = {name for row in train for name in row.names}
    if schema.kind == "single_label" and len(used) == 1:
        raise UserError(
            f"one class only: every training row is {shown(next(iter(used)))}",
            why=schema.sentence(),
            todo="a classifier needs at least two; name the right label column",
        )
    if not used:
        raise UserError("no training row has a label", why=schema.sentence())


def _left_out(before: dict[str, list[NamedRow]], after: dict[str, list[NamedRow]]) -> list[str]:
    """A sentence if some splits had texts that another split has as well."""
    lost = {split: len(before[split]) - len(after[split]) for split in before}
    told = [f"{count} {split} rows" for split, count in lost.items() if count]
    return [f"Left out, as another split has the text: {', '.join(told)}."] if told else []


def _gaps(rows: dict[str, list[NamedRow]], labels: tuple[str, ...]) -> list[str]:
    """A sentence for each split that lacks labels."""
    notes = []
    for split in SPLITS:
        used = {name for row in rows[split] for name in row.names}
        absent = [name for name in labels if name not in used]
        if absent:
            some = listed(absent[:5]) + (", ..." if len(absent) > 5 else "")
            notes.append(f"No {split} row for {len(absent)} of {len(labels)} labels: {some}.")
    return notes
