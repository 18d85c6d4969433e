"""What a search is to find."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError
from runtime.parity.statistics import flip_bound_upper, texts_needed

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]*)")


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The bounds of a search; at least one of them is there.

    Attributes:
        budget: most bytes of the artifact; None for any size.
        max_flips: highest 95% upper bound on the share of texts whose decision differs from
            PyTorch's, 0 to 1; None leaves it to the recipe's gate.
        folder: what was found out is kept below it, for the next search and for a run that is
            broken off.
    """

    budget: int | None = None
    max_flips: float | None = None
    folder: Path = Path("build/search")

    @property
    def wanted(self) -> str:
        """In words."""
        parts = []
        if self.budget is not None:
            parts.append(f"at most {size_words(self.budget)}")
        if self.max_flips is not None:
            parts.append(f"at most {100 * self.max_flips:.4g}% flips by the bound")
        return " and ".join(parts)


def search_settings(budget: str, max_flips: str) -> SearchSettings | None:
    """The options --budget and --max-flips; None where neither is given.

    Raises:
        UserError: one of them is no size or no share.
    """
    if not budget and not max_flips:
        return None
    return SearchSettings(
        budget=size_of(budget) if budget else None,
        max_flips=share_of(max_flips) if max_flips else None,
    )


def size_of(text: str) -> int:
    """``48MB`` (10^6 bytes) or ``45.8 MiB`` (2^20) → bytes.

    Raises:
        UserError: no number, no unit or an unknown one, or nothing at all.
    """
    found = _NUMBER.fullmatch(text.strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise UserError(
            f"the budget {text!r} is no size",
            why="it is a number above 0 with a unit: B, kB, MB, GB, KiB, MiB or GiB",
            todo="for example --budget 48MB",
        )
    return size


def size_words(size: int) -> str:
    """Bytes → ``47.93 MB``: near a budget the second digit counts."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def share_of(text: str) -> float:
    """``0.5%`` or ``0.5`` → 0.005.

    Raises:
        UserError: it is no number, or not between 0 and 100.
    """
    found = _NUMBER.fullmatch(text.strip())
    percent = float(found[1]) if found and found[2] in ("", "%") else 0.0
    if not 0 < percent < 100:
        raise UserError(
            f"{text!r} is no share of flips",
            why="it is a percentage above 0 and below 100; that nothing ever flips is more than "
            "any number of texts can show",
            todo="for example --max-flips 0.5%",
        )
    return percent / 100


def check_search(targets: Sequence[str], *, vectors: bool) -> None:
    """Whether a search can be for these.

    Args:
        targets: their names.
        vectors: whether the artifacts are to make sentence vectors.

    Raises:
        UserError: it cannot.
    """
    if len(targets) > 1:
        raise UserError(
            f"a search is for one target, not for {', '.join(targets)}",
            why="each has files and figures of its own",
            todo="search for one after the other, such as TARGET=onnx and then TARGET=tflite",
        )
    if vectors:
        raise UserError(
            "there is no search for sentence vectors",
            why="its bounds are on the flips of labels, which vectors have none of",
            todo="name the recipes with RECIPE=, or export a classifier",
        )


def check_texts(max_flips: float | None, texts: int) -> None:
    """Whether so many texts can show that so few flip.

    Args:
        max_flips: see `SearchSettings`.
        texts: natural texts of the reference set.

    Raises:
        UserError: even without a single flip the bound would be higher.
    """
    if max_flips is None or (least := flip_bound_upper(0, texts)) <= max_flips:
        return
    raise UserError(
        f"{texts} texts cannot show that at most {100 * max_flips:.4g}% of all decisions flip",
        why=f"without a single flip among them the 95% bound is {least:.2%}; it takes "
        f"{texts_needed(0, 0, max_flips)} texts",
        todo="give more texts, labelled ones in DATA= or others with TEXTS=FILE, or a higher "
        "MAX_FLIPS=",
    )
