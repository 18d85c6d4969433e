"""What a user says about the data."""

from __future__ import annotations

from dataclasses import dataclass

from export.data.task import Kind


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where the rows are and, where that is not plain from the file, what its columns mean.

    Attributes:
        source: ``sample:sentiment``, ``sample:support``, ``sample:topic``, a folder with
            train/validation/test files, one file (csv, tsv, jsonl, parquet), or
            ``hub:ORG/NAME[:CONFIG]``.
        text_column: the column with the text; None means find it.
        label_columns: one column with names, or several 0/1 columns; empty means find them.
        label_separator: what stands between two labels in one cell; None means find out.
        labels: label names in the order of the model's outputs; empty means sorted by name.
        label_names: pairs of a code in the rows and the name that it stands for; everything after
            reading, `labels` too, sees the names only. See `export.data.label_names`.
        kind: None means find out.
        seed: decides which rows go to a split that has to be made.
        revision: commit, tag or branch of a hub data set.
    """

    source: str = "sample:sentiment"
    text_column: str | None = None
    label_columns: tuple[str, ...] = ()
    label_separator: str | None = None
    labels: tuple[str, ...] = ()
    label_names: tuple[tuple[str, str], ...] = ()
    kind: Kind | None = None
    seed: int = 13
    revision: str | None = None
