"""Which cases run in an emulator, and how they are spread over its processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runtime.errors import UserError
from runtime.golden import NATURAL, Golden
from runtime.parity.evidence import Evidence
from runtime.parity.gates import FIGURES


def choose_rows(golden: Golden, limit: int) -> tuple[int, ...]:
    """Evenly spread natural texts, and every other case: those are where processors differ.

    The same bundle always gives the same rows.

    Args:
        golden: the cases.
        limit: how many of the natural texts.

    Returns:
        Indices of cases, ascending.

    Raises:
        UserError: the limit is not above 0.
    """
    if limit < 1:
        raise UserError(f"the limit is {limit}", todo="give at least 1 text")
    natural = [i for i, case in enumerate(golden.cases) if case.set in NATURAL]
    if len(natural) > limit:
        places = np.linspace(0, len(natural) - 1, limit).round().astype(int)
        kept = {natural[place] for place in places}
    else:
        kept = set(natural)
    others = set(range(len(golden.cases))) - set(natural)
    return tuple(sorted(kept | others))


def split_rows(golden: Golden, rows: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Rows → parts that take about as long as each other; no part is empty.

    Args:
        golden: for the lengths of the texts.
        rows: to spread.
        parts: at most so many.
    """
    if not rows:
        raise UserError("there is no case to run")
    long_first = sorted(rows, key=lambda row: (-len(golden.cases[row].input_ids), row))
    count = max(1, min(parts, len(rows)))
    return [tuple(sorted(long_first[part::count])) for part in range(count)]


def merge(parts: Sequence[Evidence]) -> Evidence:
    """What the processes found, as if one had found it all.

    Of each figure the worst is kept; not a number is worse than any number.

    Args:
        parts: of one artifact on one machine, with no case in common.

    Raises:
        UserError: they are of unlike artifacts, machines or runtimes.
    """
    first = parts[0]
    for part in parts[1:]:
        for what in ("artifact", "sha256", "machine", "environment"):
            if getattr(part, what) != getattr(first, what):
                raise UserError(
                    f"two processes report unlike things of {first.artifact}",
                    why=f"{what}: {getattr(first, what)} and {getattr(part, what)}",
                )
    rows = np.concatenate([part.rows for part in parts])
    if len(set(rows.tolist())) != len(rows):
        raise UserError(f"two processes report the same case of {first.artifact}")
    order = np.argsort(rows)
    measured: dict[str, float] = {}
    lengths: Counter[int] = Counter()
    for part in parts:
        lengths.update(part.lengths)
        for name, value in part.measured.items():
            measured[name] = _worse(name, measured.get(name, value), value)
    return replace(
        first,
        rows=tuple(int(row) for row in rows[order]),
        logits=np.concatenate([part.logits for part in parts])[order],
        measured=measured,
        lengths=dict(sorted(lengths.items())),
        wrong_ids=tuple(name for part in parts for name in part.wrong_ids),
        wrong_labels=tuple(name for part in parts for name in part.wrong_labels),
    )


def _worse(name: str, one: float, other: float) -> float:
    # numpy's, not Python's: they keep what is not a number.
    low = name in FIGURES and FIGURES[name].bound == "min"
    return float((np.minimum if low else np.maximum)(one, other))
