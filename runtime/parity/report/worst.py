"""The ten texts that came out worst, with both answers."""

from __future__ import annotations

import numpy as np

from runtime.decisions import decisions, probabilities
from runtime.golden import BOUNDARY
from runtime.manifest import TaskSpec
from runtime.parity.report.comparison import Comparison, Floats
from runtime.parity.report.formats import short
from runtime.parity.report.markup import Html, element, join, shown_text
from runtime.parity.report.tables import scrolled, table

SHOWN = 10
_LABELS_OF_A_TEXT = 4


def worst_rows(found: Comparison, count: int = SHOWN) -> list[int]:
    """Rows of a comparison, worst first.

    Logits that are not finite come first, then flips by how sure the reference was, then the
    largest errors. Flips of boundary texts count as errors only: they are made to be undecided.
    """
    broken = np.isnan(found.errors).any(axis=1)
    natural = np.array([case.set != BOUNDARY for case in found.cases], dtype=np.bool_)
    flipped = np.where(found.flips, found.margins, 0.0).max(axis=1, initial=0.0)
    surest = np.where(natural, flipped, 0.0)
    largest = np.where(broken, 0.0, np.nan_to_num(found.errors).max(axis=1, initial=0.0))
    # The last key sorts first; ties stay in the order of the golden file.
    order = np.lexsort((-largest, -surest, ~broken))
    return [int(row) for row in order[:count]]


def worst_table(found: Comparison, task: TaskSpec) -> Html | None:
    """The worst texts; None where no text ran."""
    rows = worst_rows(found)
    if not rows:
        return None
    both = (found.reference[rows], found.logits[rows])
    shares = [probabilities(logits, task) for logits in both]
    chosen = [decisions(logits, task) for logits in both]
    lines = []
    for place, row in enumerate(rows):
        case = found.cases[row]
        finite = bool(np.isfinite(found.logits[row]).all())
        answers = [
            _answer(shares[side][place], chosen[side][place], task, known=side == 0 or finite)
            for side in (0, 1)
        ]
        flipped = bool(found.flips[row].any())
        error = float(found.errors[row].max())
        lines.append(
            element(
                "tr",
                element(
                    "td",
                    shown_text(case.text),
                    element("small", f"{case.name} · {len(case.input_ids)} ids", class_="origin"),
                ),
                element("td", answers[0]),
                element("td", answers[1], class_="changed" if flipped else None),
                element("td", short(error) if finite else "not a number", class_="n"),
            )
        )
    head = ("Text", "PyTorch says", "The artifact says", "Largest error")
    return join(
        element("h4", f"The worst {len(rows)} texts" if len(rows) > 1 else "The text"),
        scrolled("The worst texts", table(head, lines, "worst")),
    )


def _answer(
    shares: Floats,
    chosen: np.ndarray[tuple[int], np.dtype[np.bool_]],
    task: TaskSpec,
    *,
    known: bool,
) -> Html:
    """The labels that a text gets, the most probable first, with their probabilities."""
    if not known:
        return element("span", "not a number", class_="fail-text")
    order = [int(i) for i in np.argsort(-shares, kind="stable") if chosen[i]]
    if not order:
        top = int(shares.argmax())
        return join(
            element("i", "no label", class_="muted"),
            element("small", "highest: ", element("bdi", task.labels[top]), f" {shares[top]:.3f}"),
        )
    lines = [
        element("div", element("bdi", task.labels[i]), " ", element("small", f"{shares[i]:.3f}"))
        for i in order[:_LABELS_OF_A_TEXT]
    ]
    left = len(order) - len(lines)
    return join(*lines, element("small", f"and {left} more") if left else None)
