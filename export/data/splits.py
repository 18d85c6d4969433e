"""Makes the splits that a source lacks: stratified, and the same whatever the order of its rows."""

from __future__ import annotations

import hashlib
from collections import Counter

from export.data.duplicates import text_key
from export.data.rows import NamedRow
from runtime.errors import UserError

SHARE = 0.1


def carve(rows: list[NamedRow], wanted: tuple[str, ...], seed: int) -> dict[str, list[NamedRow]]:
    """Take `SHARE` of the rows for each wanted split out of the training rows.

    Rows of one text stay together, so that no split that is made here leaks into another. Every
    label keeps at least one training row. The rest is laid out by label set, rarest label first,
    and picked at even steps, which gives each label its share within a row or two for single-label
    and multi-label tasks alike.

    Args:
        rows: training rows.
        wanted: names of the splits to make.
        seed: with the texts, all that the outcome depends on.

    Returns:
        ``train`` and every wanted split, each in an order that depends on texts and seed alone.

    Raises:
        UserError: too few rows.
    """
    groups: dict[str, list[NamedRow]] = {}
    for row in rows:
        groups.setdefault(text_key(row.text), []).append(row)
    ranks = {key: hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest() for key in groups}
    ordered = [
        sorted(groups[key], key=lambda row: (row.text, row.names))
        for key in sorted(groups, key=ranks.__getitem__)
    ]
    label_sets = [_label_set(group) for group in ordered]
    counts = Counter(name for names in label_sets for name in names)

    kept: set[int] = set()
    seen: set[str] = set()
    for index, names in enumerate(label_sets):
        if names - seen:
            kept.add(index)
            seen |= names
    strata = [
        (sorted((counts[name], name) for name in label_sets[index]), index)
        for index in range(len(ordered))
        if index not in kept
    ]
    free = [index for _, index in sorted(strata)]

    size = max(1, round(len(ordered) * SHARE))
    if len(free) < size * len(wanted):
        raise UserError(
            f"{len(ordered)} different texts are too few to make {' and '.join(wanted)} from",
            why=f"{len(kept)} must stay for training so that it has every label",
            todo="add rows, or give the splits as files of their own",
        )
    taken: dict[int, str] = {}
    for split in wanted:
        picked = _evenly(free, size)
        taken.update(dict.fromkeys(picked, split))
        free = [index for index in free if index not in taken]
    made: dict[str, list[NamedRow]] = {"train": [], **{split: [] for split in wanted}}
    for index, group in enumerate(ordered):
        made[taken.get(index, "train")].extend(group)
    return made


def _label_set(group: list[NamedRow]) -> set[str]:
    return {name for row in group for name in row.names}


def _evenly(items: list[int], count: int) -> list[int]:
    return [items[(2 * step + 1) * len(items) // (2 * count)] for step in range(count)]
