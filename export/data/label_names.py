"""Names for labels that are codes in the file: ``b=business``, ``0=negative``, ``LABEL_1=rain``."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from export.data.rows import NamedRow
from export.data.tables import listed, shown
from runtime.errors import UserError

# A whole number, one letter, or what transformers and people write for "the n-th".
_CODE = re.compile(r"[+-]?[0-9]{1,18}|[A-Za-z]|(?:label|class|category|cat|c|l)[ _-]?[0-9]+", re.I)
_LONGEST_FILE = 1_000_000

LabelNames = tuple[tuple[str, str], ...]


def are_codes(labels: Sequence[str]) -> bool:
    """Whether every label is a number or a letter, which tells a reader of the bundle nothing."""
    return bool(labels) and all(_CODE.fullmatch(label) for label in labels)


def read_label_names(value: str) -> LabelNames:
    """What a user writes for ``--label-names``.

    Args:
        value: ``b=business,t=science`` or the path of a file: a JSON object, or one ``code=name``
            a line (for names with commas). Empty means none.

    Returns:
        Pairs of code and name, in the order written.

    Raises:
        UserError: neither pairs nor such a file, or a code stands twice.
    """
    value = value.strip()
    if not value:
        return ()
    # os.path, because it also takes what is too long to be the name of a file.
    if "=" not in value or os.path.isfile(value):  # noqa: PTH113
        pairs = _from_file(Path(value))
    else:
        pairs = _from_lines(value.split(","), "--label-names")
    twice = [code for code, count in Counter(code for code, _ in pairs).items() if count > 1]
    if twice:
        raise UserError("a label's code is named twice", why=listed(twice))
    return tuple(pairs)


def _from_file(path: Path) -> list[tuple[str, str]]:
    if not os.path.isfile(path):  # noqa: PTH113
        raise UserError(
            f"{shown(str(path))} is neither a file nor a list of names",
            todo="write --label-names 0=negative,1=positive, or name a file with a line for each",
        )
    if path.stat().st_size > _LONGEST_FILE:
        raise UserError(f"{path} is too long for a list of label names")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", why=str(error)) from error
    if not text.lstrip().startswith("{"):
        return _from_lines(text.splitlines(), str(path))
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON", why=str(error)) from error
    if not all(isinstance(name, str) for _, name in pairs):
        raise UserError(f"{path} must hold one name for each code")
    return [(code.strip(), name.strip()) for code, name in pairs]


def _from_lines(lines: Iterable[str], where: str) -> list[tuple[str, str]]:
    pairs = []
    for line in lines:
        if not line.strip():
            continue
        code, equals, name = line.partition("=")
        if not equals or not code.strip() or not name.strip():
            raise UserError(
                f"{shown(line)} in {where} is not code=name",
                todo="put a name with a comma into a file, one code=name a line",
            )
        pairs.append((code.strip(), name.strip()))
    return pairs


def name_of(label: str, names: LabelNames) -> str:
    """The name that a label gets; itself if it has none."""
    return dict(names).get(label, label)


def check_label_names(names: LabelNames, codes: Iterable[str], *, partly: bool) -> None:
    """Refuse names that do not fit the rows.

    Args:
        names: pairs of code and name.
        codes: every label of the training rows, as it stands there, and every declared one.
        partly: labels without a name may be there, because the user listed those that count.

    Raises:
        UserError: a code that no row has, a label without a name, or one name for two labels.
    """
    found = set(codes)
    known = dict(names)
    absent = [code for code in known if code not in found]
    if absent:
        raise UserError(
            f"no training row has the label {listed(absent)}",
            why=f"the labels there: {listed(sorted(found))}",
            todo="correct --label-names",
        )
    nameless = sorted(found - set(known))
    if nameless and not partly:
        raise UserError(
            f"--label-names has no name for {listed(nameless)}",
            todo="name every label, or list with --labels the names that count",
        )
    counts = Counter(known.get(code, code) for code in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"two labels would be called {listed(sorted(twice))}",
            why="their rows could not be told apart",
            todo="give each code a name of its own",
        )


def with_names(rows: list[NamedRow], names: LabelNames) -> list[NamedRow]:
    """Rows whose labels bear their names."""
    known = dict(names)
    return [replace(row, names=tuple(known.get(code, code) for code in row.names)) for row in rows]
