"""Drafts → splits that share no text and not every combination of phrases."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator

from export.sample.grammar import Draft, Draw

SPLITS = ("train", "validation", "test")
# One in so many pairs of a frame and a phrase is kept out of training.
_HELD_OUT = 8


def is_held_out(frame: str, phrase: str) -> bool:
    """Whether a pair of a frame and a phrase belongs to validation and test alone."""
    return zlib.crc32(f"{frame}|{phrase}".encode()) % _HELD_OUT == 0


def wording(text: str) -> str:
    """A text without case, punctuation and emoji: two texts that agree here count as one."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def distribute(
    seed: str, sizes: dict[str, dict[str, int]], make: Callable[[Draw, str], Draft]
) -> Iterator[tuple[str, Draft]]:
    """Drafts with their split, until each split has its number of each kind.

    Every validation and test text has at least one combination that no training text has, so that
    a good score there means more than a good memory.

    Args:
        seed: of all draws.
        sizes: split → kind → number of texts.
        make: one draft of a kind.
    """
    seen: set[str] = set()
    for split in SPLITS:
        draw = Draw(f"{seed}/{split}")
        drafts = []
        for kind, wanted in sizes[split].items():
            found = 0
            while found < wanted:
                made = make(draw, kind)
                held_out = any(is_held_out(made.frame.text, phrase) for phrase in made.phrases)
                words = wording(made.text)
                if held_out == (split == "train") or words in seen:
                    continue
                seen.add(words)
                drafts.append(made)
                found += 1
        for made in draw.several(drafts, len(drafts)):
            yield split, made
