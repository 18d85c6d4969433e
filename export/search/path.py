"""The order in which weights become coarser: least error per saved byte first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """A weight at one rung of its ladder.

    Attributes:
        size: bytes in the file, about.
        noise: squared error of the logits over their own squares, with this weight alone so.
    """

    size: float
    noise: float


@dataclass(frozen=True, slots=True)
class Step:
    """One weight, made coarser.

    Attributes:
        weight: its name.
        rung: where on its ladder it is afterwards.
        saved: bytes.
        price: noise per saved byte.
    """

    weight: str
    rung: int
    saved: float
    price: float


Ladders = Mapping[str, Sequence[Option]]


def steps_of(ladders: Ladders) -> tuple[Step, ...]:
    """From every weight at its finest rung to every weight at its coarsest.

    Small errors of different weights hardly depend on each other, so their squares add up, and the
    best order is by price (the greedy solution of the knapsack problem's relaxation). A rung that
    costs more per byte than going straight to a coarser one is left out: it is never best.

    Args:
        ladders: weight → its options, from fine to coarse, each smaller than the one before.
    """
    found = []
    for name, options in ladders.items():
        here = 0
        while here < len(options) - 1:
            prices = {
                there: (options[there].noise - options[here].noise)
                / (options[here].size - options[there].size)
                for there in range(here + 1, len(options))
            }
            # The coarser of equals: it saves more at the same price.
            there = min(prices, key=lambda rung: (prices[rung], -rung))
            saved = options[here].size - options[there].size
            found.append(Step(name, there, saved, prices[there]))
            here = there
    return tuple(sorted(found, key=lambda step: (step.price, step.weight, step.rung)))


def after(ladders: Ladders, steps: Sequence[Step], count: int) -> dict[str, int]:
    """Weight → its rung after the first `count` steps."""
    rungs = dict.fromkeys(ladders, 0)
    rungs.update((step.weight, step.rung) for step in steps[:count])
    return rungs


def filled(ladders: Ladders, rungs: Mapping[str, int], room: float) -> dict[str, int]:
    """Finer rungs for some weights, as far as `room` bytes allow, the greatest noise first.

    A step is as large as its weight, so the last one may leave room that smaller weights can use.
    """
    found = dict(rungs)
    while True:
        gains = {}
        for name, here in found.items():
            options = ladders[name]
            for there in range(here):
                more = options[there].size - options[here].size
                less = options[here].noise - options[there].noise
                if 0 < more <= room and less > 0:
                    gains[name, there] = less / more
        if not gains:
            return found
        name, there = max(gains, key=lambda key: (gains[key], key))
        room -= ladders[name][there].size - ladders[name][found[name]].size
        found[name] = there


def size_at(ladders: Ladders, rungs: Mapping[str, int]) -> float:
    """Bytes of all these weights."""
    return sum(ladders[name][rung].size for name, rung in rungs.items())


def noise_at(ladders: Ladders, rungs: Mapping[str, int]) -> float:
    """Noise of all these weights together."""
    return sum(ladders[name][rung].noise for name, rung in rungs.items())
