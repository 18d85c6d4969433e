"""What a search tried and what it chose, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from export.search.settings import SearchSettings, size_words
from export.search.walk import Tried, is_right
from runtime.console import out
from runtime.errors import UserError


def print_search(tried: Sequence[Tried], best: Tried | None, settings: SearchSettings) -> None:
    """A table of the candidates, smallest first, and the choice."""
    table = Table()
    table.add_column("candidate")
    for name in ("size", "SQNR", "flips", "95% bound", "gate"):
        table.add_column(name, justify="right")
    for item in sorted(tried, key=lambda item: item.trial.size):
        trial = item.trial
        mark = " ←" if item is best else ""
        table.add_row(f"{trial.label}{mark}", *_figures(item))
    out.print(table)
    if best is not None:
        kind = "most faithful" if settings.max_flips is None else "smallest"
        out.print(
            f"the {kind} with {settings.wanted}: {best.trial.label}, {size_words(best.trial.size)}",
            markup=False,
            soft_wrap=True,
        )


def nothing_found(tried: Sequence[Tried], settings: SearchSettings) -> UserError:
    """Why there is no bundle, and what comes nearest."""
    made = [item for item in tried if item.trial.size]
    if not made:
        reasons = [item.trial.problem for item in tried if item.trial.problem]
        return UserError("no candidate could be made", why=reasons[0] if reasons else "")
    near = []
    right = [item for item in made if is_right(item.trial, settings)]
    if right:
        item = min(right, key=lambda item: item.trial.size)
        near.append(f"the smallest that passes otherwise is {_named(item)}")
    if settings.budget is not None:
        within = [i for i in made if i.trial.size <= settings.budget and i.trial.verdict]
        if within:
            item = max(within, key=lambda item: item.trial.figure("sqnr_db"))
            near.append(f"the most faithful within the budget is {_named(item)}, {_short(item)}")
        elif not right:
            item = min(made, key=lambda item: item.trial.size)
            near.append(f"the smallest that was made is {_named(item)}, {_short(item)}")
    elif not right:
        item = min(made, key=lambda item: (-len(item.trial.figures), _bound(item)))
        near.append(f"the nearest is {_named(item)}, {_short(item)}")
    return UserError(
        f"none of {len(made)} candidates passes with {settings.wanted}",
        why="; ".join(near),
        todo="a higher BUDGET= or MAX_FLIPS=, a smaller model (PRUNE_VOCAB=, DROP_LAYERS=, make "
        "distill), or another TARGET=",
    )


def _figures(item: Tried) -> tuple[str, ...]:
    trial = item.trial
    if trial.problem:
        return "–", "–", "–", "–", "cannot be made"
    size = size_words(trial.size)
    if not trial.verdict:
        return size, "–", "–", "–", "too large"
    verdict = trial.verdict.upper()
    if trial.failed:
        verdict += f": {', '.join(trial.failed[:2])}" + (" …" if len(trial.failed) > 2 else "")
    return (
        size,
        f"{trial.figure('sqnr_db'):.1f} dB",
        f"{trial.figure('flips'):.0f} of {trial.figure('decisions'):.0f}",
        f"{trial.figure('flip_rate_bound'):.2%}",
        verdict,
    )


def _named(item: Tried) -> str:
    return f"{item.trial.label} with {size_words(item.trial.size)}"


def _short(item: Tried) -> str:
    trial = item.trial
    if not trial.verdict:
        return "which was not judged"
    words = f"{trial.figure('flip_rate_bound'):.2%} flips by the bound"
    if trial.failed:
        words += f", which fails {', '.join(trial.failed[:3])}"
    return f"{words}; {trial.doubts[0]}" if trial.doubts else words


def _bound(item: Tried) -> float:
    bound = item.trial.figure("flip_rate_bound")
    return 1.0 if math.isnan(bound) else bound
