"""The easy task: what a short review is about. Its words say so, their order does not matter.

For what is slow to train: a model of DistilBERT's full size, from random weights, tells topics
apart after 250 steps, where it still guesses at verdicts after 500.
"""

from __future__ import annotations

from dataclasses import replace

from export.sample import sentiment
from export.sample.grammar import Draft, Draw, bank


def topics() -> tuple[str, ...]:
    """In alphabetical order."""
    return tuple(sorted(bank("sentiment")["domains"]))


def draft(draw: Draw, topic: str) -> Draft:
    """One review of something of that kind, whatever it says about it."""
    verdict = draw.one(list[str](bank("sentiment")["labels"]))
    return replace(sentiment.draft(draw, verdict, topic), labels=(topic,))
