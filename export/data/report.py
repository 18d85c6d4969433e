"""Says in lines of text what a data set holds and what is wrong with its rows."""

from __future__ import annotations

from export.data.description import balance_lines, length_line
from export.data.task import RowProblem, TextDataset
from runtime.console import note


def shown_problem(problem: RowProblem) -> str:
    """One row's problem on one line: ``train.csv:17 no_text the text is blank``."""
    return f"{problem.where} {problem.kind} {problem.detail}".rstrip()


def problem_lines(dataset: TextDataset, limit: int = 10) -> list[str]:
    """A summary line, up to `limit` problems, and how many more there are; empty if none.

    Kinds take turns, so that a thousand duplicates do not hide the one line that is unreadable.
    """
    if not dataset.problems:
        return []
    counts = dataset.problem_counts()
    rows = len(dataset.problems)
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    by_kind = {kind: [p for p in dataset.problems if p.kind == kind] for kind in reversed(counts)}
    told: list[RowProblem] = []
    turn = 0
    while len(told) < min(limit, rows):
        told.extend(found[turn] for found in by_kind.values() if turn < len(found))
        turn += 1
    shown = sorted(told[:limit], key=lambda problem: list(by_kind).index(problem.kind))
    lines = [f"{rows} rows to look at: {summary}", *(shown_problem(problem) for problem in shown)]
    if rows > len(shown):
        lines.append(f"... and {rows - len(shown)} more")
    return lines


def describe_data(dataset: TextDataset) -> None:
    """Say on stderr how the data was understood, what it holds and which rows were left out.

    Up to 25 lines for few labels and 35 for many: the largest and the smallest classes are shown.
    """
    sizes = ", ".join(f"{len(rows)} {split}" for split, rows in dataset.splits.items())
    kind = dataset.kind.replace("_", "-")
    note(f"  {dataset.name}: {kind}, {len(dataset.labels)} labels, {sizes}")
    for line in (
        *dataset.notes,
        *balance_lines(dataset),
        length_line(dataset),
        *problem_lines(dataset, limit=4),
    ):
        note(f"  {line}")
