"""Two pieces of markup that the sections of the page share."""

from __future__ import annotations

from runtime.parity.report.markup import Html, element, join


def section(title: str, *children: str | None) -> Html:
    """A heading with a card below it."""
    return join(element("h2", title), element("div", *children, class_="card"))


def table(columns: tuple[str, ...], rows: list[Html], *, first_n: int, class_: str = "") -> Html:
    """A table in a box that scrolls; columns from `first_n` on hold figures."""
    heads = [
        element("th", name, class_="n" if at >= first_n else None, scope="col")
        for at, name in enumerate(columns)
    ]
    made = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_=class_ or None,
    )
    return element("div", made, class_="scroll")
