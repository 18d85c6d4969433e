"""The confusion matrix as a picture that stays readable with many classes."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.parity.report.axes import px, svg
from runtime.parity.report.markup import Html, element, shown_text

_LONGEST_NAME = 24
_NUMBERS_UP_TO = 20
_CONFUSIONS = 15


def confusion_picture(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """Rows are the truth, columns what was given; the darker, the larger the row's share.

    Only cells that are not 0 are drawn, each with a tooltip.

    Args:
        labels: in the order of the rows and columns.
        counts: [true][given] → texts.
    """
    names = [_cut(label) for label in labels]
    many = len(labels) > _NUMBERS_UP_TO
    cell = 12.0 if many else 34.0
    margin = 7.2 * max(map(len, names)) + 12
    side = margin + cell * len(labels) + 4
    parts: list[Html] = []
    for index, name in enumerate(names):
        at = margin + cell * (index + 0.5)
        parts.append(element("text", name, x=px(margin - 5), y=px(at + 4), class_="tick end"))
        turned = f"translate({px(at + 4)} {px(margin - 5)}) rotate(-90)"
        parts.append(element("text", name, transform=turned, class_="tick"))
    for row, line in enumerate(counts):
        total = sum(line)
        band = element(
            "rect", x=px(margin), y=px(margin + cell * row), width=px(cell * len(labels)),
            height=px(cell), class_="strip-row" if row % 2 else "strip-row odd",
        )  # fmt: skip
        parts.append(band)
        for column, count in enumerate(line):
            if count:
                words = f"{labels[row]} → {labels[column]}: {count} of {total}"
                parts += _cell(
                    (margin + cell * column, margin + cell * row), cell, count / total, words,
                    right=row == column, text=None if many else str(count),
                )  # fmt: skip
    texts = sum(map(sum, counts))
    right = sum(line[i] for i, line in enumerate(counts))
    picture = svg(
        "confusion",
        "Confusion matrix",
        f"{len(labels)} labels, {right} of {texts} texts on the diagonal. Rows: truth.",
        *parts,
        width=side,
        height=side,
    )
    return element(
        "div",
        element("div", picture, style=f"min-width: {px(min(side, 1100))}px; max-width: {side}px"),
        class_="scroll confusion",
        tabindex="0",
    )


def confusions_table(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Html | None:
    """The commonest mistakes; None where there is none."""
    mistakes = [
        (count, row, column)
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if count and row != column
    ]
    if not mistakes:
        return None
    mistakes.sort(key=lambda item: (-item[0], item[1], item[2]))
    rows = [
        element(
            "tr",
            element("td", shown_text(labels[row])),
            element("td", shown_text(labels[column])),
            element("td", f"{count} of {sum(counts[row])}", class_="n"),
        )
        for count, row, column in mistakes[:_CONFUSIONS]
    ]
    head = element("tr", *(element("th", name) for name in ("truth", "given", "texts")))
    return element(
        "div",
        element("table", element("thead", head), element("tbody", *rows)),
        class_="scroll",
    )


def _cell(
    at: tuple[float, float], size: float, share: float, words: str, *, right: bool, text: str | None
) -> list[Html]:
    x, y = at
    parts = [
        element(
            "rect",
            element("title", words),
            x=px(x + 0.5),
            y=px(y + 0.5),
            width=px(size - 1),
            height=px(size - 1),
            class_="cell right" if right else "cell wrong",
            # A single mistake has to be seen, too.
            fill_opacity=f"{0.15 + 0.85 * share:.2f}",
        )
    ]
    if text is not None:
        tone = "count light" if share > 0.5 else "count"
        parts.append(
            element("text", text, x=px(x + size / 2), y=px(y + size / 2 + 4), class_=f"{tone} mid")
        )
    return parts


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
