"""What a text classification task is, once its rows have been read and judged."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from runtime.files import canonical_json

Kind = Literal["single_label", "multi_label"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text.

    Attributes:
        text: as it stands in the source, never blank.
        labels: ascending indices into `TextDataset.labels`; exactly one for a single-label task,
            any number, none included, for a multi-label one.
    """

    text: str
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One row that is broken or doubtful.

    Attributes:
        kind: ``no_text``, ``no_label``, ``unknown_label``, ``several_labels``, ``unreadable``,
            ``unknown_split``, ``duplicate_across_splits`` (all of these leave the row out) or
            ``duplicate`` (the row stays).
        where: file name and the line on which the row starts, ``train.csv:17``; where there are no
            lines (parquet, hub, sample), the number of the row, from 1.
        detail: a few words for a person.
    """

    kind: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class TextDataset:
    """A task with its rows.

    Attributes:
        name: what a model card may call it; never a path.
        kind: ``single_label`` or ``multi_label``.
        labels: names, in the order of the model's outputs.
        splits: ``train``, ``validation`` and ``test`` → rows; none of them is empty.
        problems: rows to tell the user about.
        notes: plain sentences: how the columns were understood, how splits were made.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]
    problems: tuple[RowProblem, ...]
    notes: tuple[str, ...]

    @property
    def is_multi_label(self) -> bool:
        """Whether a row may carry any number of labels."""
        return self.kind == "multi_label"

    def problem_counts(self) -> dict[str, int]:
        """Problem kind → number of rows, most frequent first."""
        counts = Counter(problem.kind for problem in self.problems)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def sha256(self) -> str:
        """Hex SHA-256 over the kind, the labels and every row in order; paths play no part."""
        digest = hashlib.sha256(canonical_json([self.kind, self.labels], indent=None).encode())
        for split in SPLITS:
            rows = self.splits.get(split, ())
            digest.update(canonical_json([split, len(rows)], indent=None).encode())
            for row in rows:
                digest.update(canonical_json([row.text, row.labels], indent=None).encode())
        return digest.hexdigest()
