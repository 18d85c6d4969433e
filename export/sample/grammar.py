"""Shared parts of both grammars: reproducible draws, banks on disk, slots and surface variation."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

_T = TypeVar("_T")
_SLOT = re.compile(r"\{(\w+)\}")


class Draw:
    """Random choices that stay the same in every Python version.

    Only `Random.random` is promised to be stable, so everything is built on it.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducibility is the point

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random.random() < probability

    def one(self, items: Sequence[_T]) -> _T:
        """One item, all equally likely."""
        return items[int(self._random.random() * len(items))]

    def weighted(self, shares: Mapping[_T, float]) -> _T:
        """One key, as likely as its share of the sum."""
        left = self._random.random() * sum(shares.values())
        for key, share in shares.items():
            left -= share
            if left < 0:
                return key
        return key

    def several(self, items: Sequence[_T], count: int) -> list[_T]:
        """Different items in random order."""
        pool = list(items)
        return [pool.pop(int(self._random.random() * len(pool))) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Frame:
    """A sentence pattern.

    Attributes:
        text: with slots in braces.
        phenomenon: what makes the text easy or hard.
        label: the label or group of labels it serves; empty where its slots decide.
    """

    text: str
    phenomenon: str
    label: str = ""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of its slots, in order."""
        return tuple(_SLOT.findall(self.text))


@dataclass(frozen=True, slots=True)
class Draft:
    """A generated text before it is given to a split.

    Attributes:
        text: final wording.
        labels: in the task's order.
        frame: its pattern.
        phrases: what filled the slots; with the frame, the combinations that splits keep apart.
    """

    text: str
    labels: tuple[str, ...]
    frame: Frame
    phrases: tuple[str, ...]


@cache
def bank(name: str) -> dict[str, Any]:
    """A phrase bank of this package, by file name without ``.toml``."""
    return tomllib.loads((resources.files(__package__) / f"{name}.toml").read_text("utf-8"))


@cache
def shares(task: str) -> dict[str, Any]:
    """How frequent its phenomena are."""
    found: dict[str, Any] = bank(f"{task}_frames")["shares"]
    return found


@cache
def frames(task: str) -> tuple[Frame, ...]:
    """All patterns of a task."""
    return tuple(
        Frame(text, group["phenomenon"], group.get("label", ""))
        for group in bank(f"{task}_frames")["frames"]
        for text in group["texts"]
    )


def fill(frame: Frame, phrase_of: Callable[[str], str]) -> str:
    """The frame with every slot replaced by what ``phrase_of`` gives for its name."""
    return _SLOT.sub(lambda match: phrase_of(match[1]), frame.text)


def vary(draw: Draw, text: str, *, context: Sequence[str] = ()) -> str:
    """Dress a bare text: opener, context, contractions, typing habits, proper sentence case."""
    surface = bank("surface")
    for full, short in surface["contractions"].items():
        if draw.chance(0.5):
            # "It isn't." is English, "so it's." is not.
            end = "" if full.endswith("not") else "(?= )"
            text = re.sub(rf"\b{full}\b{end}", short, text, flags=re.IGNORECASE)
    text = re.sub(r"\ba (?=[aeio]|u(?!s))", "an ", text)
    if draw.chance(0.12):
        first = text if re.match(r"I\b", text) else text[:1].lower() + text[1:]
        text = f"{draw.one(surface['openers'])} {first}"
    if context and draw.chance(0.12):
        text = f"{draw.one(context)} {text}"
    if draw.chance(0.08):
        text = f"{text} {draw.one(surface['closers'])}"
    return _typed(draw, _sentence_case(text), surface)


def _sentence_case(text: str) -> str:
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda match: match[0].upper(), text)


def _typed(draw: Draw, text: str, surface: dict[str, Any]) -> str:
    """Habits of people who type on phones."""
    if draw.chance(0.05):
        right, wrong = draw.one(list(surface["typos"].items()))
        text = re.sub(rf"\b{right}\b", wrong, text, count=1)
    if draw.chance(0.12):
        text = text.lower()
    elif draw.chance(0.02):
        text = text.upper()
    if draw.chance(0.1):
        text = text.removesuffix(".")
    elif draw.chance(0.08):
        text = re.sub(r"\.$", "!", text)
    if draw.chance(0.05):
        text = f"{text} {draw.one(surface['emoji'])}"
    return text
