"""Makes a text that shows a difference as small as it can be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

# Tells of each text whether it still shows the difference. Whole batches, because starting a
# program costs more than asking it a thousand questions.
Differ = Callable[[Sequence[str]], Sequence[bool]]

_SIMPLEST = "a"
_BATCH = 200


def minimise(text: str, differs: Differ) -> str:
    """Remove and simplify characters for as long as the text still differs.

    The result can neither lose a single character nor have one replaced by ``a`` without the
    difference going away.

    Args:
        text: shows the difference.
        differs: asked about candidates, a round at a time.

    Returns:
        The smallest text found; `text` itself if it does not differ.
    """
    if not differs([text])[0]:
        return text
    while True:
        candidates = itertools.chain(_shorter(text), _simpler(text))
        found = _first(candidates, differs)
        if found is None:
            return text
        text = found


def _first(candidates: Iterator[str], differs: Differ) -> str | None:
    while batch := list(itertools.islice(candidates, _BATCH)):
        verdicts = differs(batch)
        for candidate, verdict in zip(batch, verdicts, strict=True):
            if verdict:
                return candidate
    return None


def _shorter(text: str) -> Iterator[str]:
    """The text without a part: large parts first, single characters last."""
    for start, end in _parts(len(text)):
        yield text[:start] + text[end:]


def _simpler(text: str) -> Iterator[str]:
    """The text with a part replaced by plain characters; never the text itself."""
    for start, end in _parts(len(text)):
        plain = _SIMPLEST * (end - start)
        if text[start:end] != plain:
            yield text[:start] + plain + text[end:]


def _parts(length: int) -> Iterator[tuple[int, int]]:
    size = length
    while size:
        for start in range(0, length, size):
            yield start, min(start + size, length)
        size //= 2
