"""Finds texts that occur more than once."""

from __future__ import annotations

import unicodedata

from export.data.rows import NamedRow
from export.data.task import RowProblem

# Who keeps a text that several splits have: training rows stay, and a test row goes before a
# validation row, so that figures on a published test set stay comparable.
_KEEPERS = ("train", "test", "validation")


def text_key(text: str) -> str:
    """What makes two texts the same: not case, white space or the Unicode form (NFKC).

    Twice NFKC, because folding the case of what only looks like a letter (full width, ligatures)
    may leave a form that is not normal.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def without_leaks(
    splits: dict[str, list[NamedRow]],
) -> tuple[dict[str, list[NamedRow]], list[RowProblem]]:
    """Leave out of validation and test what another split has; report repeats within a split."""
    owners: dict[str, tuple[str, NamedRow]] = {}
    clean: dict[str, list[NamedRow]] = {}
    problems: list[RowProblem] = []
    for split in sorted(splits, key=_KEEPERS.index):
        clean[split] = []
        for row in splits[split]:
            owner, first = owners.setdefault(text_key(row.text), (split, row))
            if owner != split:
                detail = f"also in {owner}, {first.where}"
                problems.append(RowProblem("duplicate_across_splits", row.where, detail))
                continue
            clean[split].append(row)
            if first is not row:
                detail = f"same text as {first.where}"
                if set(first.names) != set(row.names):
                    detail += ", conflicting labels"
                problems.append(RowProblem("duplicate", row.where, detail))
    return {split: clean[split] for split in splits}, problems
