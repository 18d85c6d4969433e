"""The multi-label task: what a message to customer support wants handled."""

from __future__ import annotations

import re
from functools import cache

from export.sample.grammar import Draft, Draw, Frame, bank, fill, frames, shares, vary

_KINDS = {"P": "problems", "N": "names", "K": "settled", "X": "names"}
_NUMBERED = re.compile(r"([PNKX])(\d)")


def label_count(frame: Frame) -> int:
    """How many labels a frame's text carries."""
    return len({slot[1:] for slot in frame.slots if slot[0] in "PN"})


@cache
def _frames_with(count: int) -> dict[str, list[Frame]]:
    by_phenomenon: dict[str, list[Frame]] = {}
    for frame in frames("support"):
        if label_count(frame) == count:
            by_phenomenon.setdefault(frame.phenomenon, []).append(frame)
    return by_phenomenon


def draft(draw: Draw, count: int) -> Draft:
    """One message with the wanted number of labels."""
    data = bank("support")
    by_phenomenon = _frames_with(count)
    weights = {name: shares("support")[name] for name in by_phenomenon}
    frame = draw.one(by_phenomenon[draw.weighted(weights)])
    topics = draw.several(data["labels"], len(data["labels"]))
    wanted, others = topics[:count], topics[count:]
    used: list[str] = []

    def phrase(slot: str) -> str:
        numbered = _NUMBERED.fullmatch(slot)
        if numbered is None:
            choices: list[str] = data["other" if slot == "T" else slot]
        else:
            kind, number = numbered[1], int(numbered[2])
            topic = (wanted if kind in "PN" else others)[number - 1]
            choices = data["topics"][topic][_KINDS[kind]]
        chosen = draw.one([choice for choice in choices if choice not in used])
        if slot != "who":
            used.append(chosen)
        return chosen

    text = vary(draw, fill(frame, phrase))
    labels = tuple(label for label in data["labels"] if label in wanted)
    return Draft(text, labels, frame, tuple(used))
