"""Each of our artifacts beside the peers of its own format and kind of precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.bench.measured import Measured
from runtime.bench.schedule import Cell
from runtime.bench.statistics import Ratio, ratio_of


@dataclass(frozen=True, slots=True)
class Duel:
    """One of ours and one peer at one size.

    Attributes:
        own, rival: their names.
        threads, cell: where they met.
        ratio: our time over the rival's; below 1 is faster.
        processor_ratio: the same of processor time; None where the clock was too coarse.
        flips, rival_flips: over natural texts; NaN where one was not judged.
    """

    own: str
    rival: str
    threads: int
    cell: Cell
    ratio: Ratio
    processor_ratio: Ratio | None
    flips: float
    rival_flips: float

    def line(self) -> str:
        """In one sentence."""
        r = self.ratio
        flips = "flips were not compared"
        if not math.isnan(self.flips + self.rival_flips):
            flips = f"flips {self.flips:.0f} against {self.rival_flips:.0f}"
        return (
            f"{self.own} takes {r.value:.2f} of {self.rival}'s time (95%: {r.low:.2f} to "
            f"{r.high:.2f}) at {self.cell.length} ids; {flips}"
        )


def duels_of(
    measured: Sequence[Measured], figures: Mapping[str, Mapping[str, float]], *, seed: int
) -> tuple[Duel, ...]:
    """Every pair that has rounds in common, in the order of what was measured.

    Args:
        measured: of all numbers of threads.
        figures: of parity, by name.
        seed: of the bootstrap.
    """
    found = []
    for own in measured:
        for rival in measured:
            if not _meet(own, rival):
                continue
            names = own.contestant.name, rival.contestant.name
            flips = [figures.get(name, {}).get("flips", math.nan) for name in names]
            for cell in sorted(set(own.rounds) & set(rival.rounds)):
                count = min(len(own.rounds[cell]), len(rival.rounds[cell]))
                ratio = ratio_of(own.rounds[cell][:count], rival.rounds[cell][:count], seed=seed)
                cost = cost_ratio(
                    own.processor[cell][:count], rival.processor[cell][:count], seed=seed
                )
                found.append(Duel(*names, own.threads, cell, ratio, cost, *flips))
    return tuple(found)


def cost_ratio(own: Sequence[float], base: Sequence[float], *, seed: int) -> Ratio | None:
    """Of processor times round by round; None where there is none, or a clock saw no run."""
    if not own or min(*own, *base) <= 0:
        return None
    return ratio_of([[cost] for cost in own], [[cost] for cost in base], seed=seed)


def _meet(own: Measured, rival: Measured) -> bool:
    ours, theirs = own.contestant, rival.contestant
    return (
        (ours.group, theirs.group) == ("ours", "peer")
        and own.threads == rival.threads
        and ours.format == theirs.format
        and ours.precision.startswith("float") == theirs.precision.startswith("float")
    )
