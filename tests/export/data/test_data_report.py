"""The lines that are printed about broken rows."""

from __future__ import annotations

from export.data.report import problem_lines
from export.data.task import Example, RowProblem, TextDataset


def data(*problems: RowProblem) -> TextDataset:
    rows = (Example("a", (0,)), Example("b", (1,)))
    splits: dict[str, tuple[Example, ...]] = {"train": rows, "validation": rows, "test": rows}
    return TextDataset("name", "single_label", ("x", "y"), splits, problems, ())


def test_nothing_to_say() -> None:
    assert problem_lines(data()) == []
    assert data().problem_counts() == {}


def test_all_of_a_few() -> None:
    found = data(RowProblem("no_text", "train.csv:17", "the text is blank"))
    assert problem_lines(found) == [
        "1 rows to look at: 1 no_text",
        "train.csv:17 no_text the text is blank",
    ]


def test_many_are_cut_and_a_rare_kind_is_not_hidden() -> None:
    many = [RowProblem("duplicate", f"train.csv:{i}", "same") for i in range(2, 24)]
    found = data(*many, RowProblem("unreadable", "train.csv:99", "odd"))
    lines = problem_lines(found, limit=4)
    assert found.problem_counts() == {"duplicate": 22, "unreadable": 1}
    assert lines == [
        "23 rows to look at: 22 duplicate, 1 unreadable",
        "train.csv:99 unreadable odd",
        "train.csv:2 duplicate same",
        "train.csv:3 duplicate same",
        "train.csv:4 duplicate same",
        "... and 19 more",
    ]
    assert len(problem_lines(found, limit=1)) == 3
    assert problem_lines(found, limit=0)[-1] == "... and 23 more"
    assert len(problem_lines(found, limit=23)) == 24
