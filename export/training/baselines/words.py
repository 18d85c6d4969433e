"""The LSTM's words: a vocabulary of the training split, and texts as ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# A word, or a single sign of another kind.
_WORD = re.compile(r"\w+|[^\w\s]")
PAD, UNKNOWN = 0, 1
_FIRST = 2


class Words:
    """Words in order of how often they occur; 0 pads, 1 is any other word."""

    def __init__(self, texts: Iterable[str], *, most: int, at_least: int = 2) -> None:
        counts = Counter(word for text in texts for word in _split(text))
        kept = [item for item in counts.items() if item[1] >= at_least]
        kept.sort(key=lambda item: (-item[1], item[0]))
        self._ids = {word: _FIRST + place for place, (word, _) in enumerate(kept[:most])}

    def __len__(self) -> int:
        """Ids, those of padding and of unknown words included."""
        return _FIRST + len(self._ids)

    @property
    def bytes(self) -> int:
        """As lines of UTF-8."""
        return sum(len(word.encode("utf-8", "surrogatepass")) + 1 for word in self._ids)

    def ids(self, text: str, longest: int) -> list[int]:
        """At least one id, at most `longest`."""
        found = [self._ids.get(word, UNKNOWN) for word in _split(text)[:longest]]
        return found or [UNKNOWN]


def _split(text: str) -> list[str]:
    return _WORD.findall(text.lower())
