"""Finds out whether cells hold one label or several, and what stands between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# Separator → the share of parts that must prove themselves. Bars and semicolons are not part of
# names, so they need no proof; commas and blanks often are ("Food, drinks", "credit card").
_PROOF = {"|": 0.0, ";": 0.0, ",": 0.8, " ": 0.95}


def find_separator(cells: Iterable[str]) -> str | None:
    """``|``, ``;``, ``,`` or a blank, or None if every cell is one name.

    Labels come back in other company; halves of a name do not. A part of a cell is proven for the
    comma if it also stands in another, different cell, and for the blank if it also stands alone.
    """
    distinct = {cell.strip() for cell in cells} - {""}
    for separator, share in _PROOF.items():
        several = [cell for cell in distinct if separator in cell]
        if not several:
            continue
        homes = Counter(part for cell in distinct for part in set(split_cell(cell, separator)))
        parts = {part for cell in several for part in split_cell(cell, separator)}
        if separator == " ":
            proven = parts & distinct
        else:
            proven = {part for part in parts if homes[part] > 1}
        if len(proven) >= share * len(parts):
            return separator
    return None


def split_cell(cell: str, separator: str | None) -> list[str]:
    """The labels in a cell, trimmed, without empty ones; no separator makes it one label."""
    parts = [cell] if separator is None else cell.split(separator)
    return [part.strip() for part in parts if part.strip()]
