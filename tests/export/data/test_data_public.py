"""Public data sets as they were published, where the workplace has them beside the repository."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from export.data import DataSettings, TextDataset, load_dataset

DATA = Path(__file__).parents[4] / "shared" / "data"


def load(name: str) -> TextDataset:
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not beside the repository")
    return load_dataset(DataSettings(source=str(DATA / name)))


def records(name: str, split: str) -> int:
    with (DATA / name / f"{split}.csv").open(encoding="utf-8", newline="") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def left_out(found: TextDataset, split: str) -> int:
    return sum(
        problem.where.startswith(f"{split}.csv:") and problem.kind != "duplicate"
        for problem in found.problems
    )


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("uci_news", "single_label", 4),
        ("toxic_comments", "multi_label", 6),
        ("goemotions", "multi_label", 28),
    ],
)
def test_published_splits_are_kept(name: str, kind: str, labels: int) -> None:
    found = load(name)
    assert (found.kind, len(found.labels)) == (kind, labels)
    assert set(found.problem_counts()) <= {"duplicate", "duplicate_across_splits"}
    for split, rows in found.splits.items():
        assert len(rows) + left_out(found, split) == records(name, split)
    assert left_out(found, "train") == 0


def test_toxic_comments_keep_their_column_order_and_line_breaks() -> None:
    found = load("toxic_comments")
    assert found.labels == (
        "toxic",
        "severe_toxic",
        "obscene",
        "threat",
        "insult",
        "identity_hate",
    )
    assert any("\n" in row.text for row in found.splits["train"])


def test_goemotions_rows_have_several_labels() -> None:
    found = load("goemotions")
    assert max(len(row.labels) for row in found.splits["train"]) > 2
    assert "neutral" in found.labels


def test_banking77_gets_a_validation_split_with_every_label() -> None:
    found = load("banking77")
    assert len(found.labels) == 77
    assert len(found.splits["train"]) + len(found.splits["validation"]) == 10_003
    in_validation = {label for row in found.splits["validation"] for label in row.labels}
    assert len(in_validation) == 77
    assert len({label for row in found.splits["train"] for label in row.labels}) == 77
