"""Medians, spreads and ratios of timings that were taken in rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rounds = Sequence[Sequence[float]]
CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """What a cell's runs took, in milliseconds.

    Attributes:
        median, p10, p90: over all runs.
        runs: how many.
    """

    median: float
    p10: float
    p90: float
    runs: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contestant's time over the baseline's.

    Attributes:
        value: median over rounds of the ratio of the two medians of a round.
        low, high: ends of the 95% bootstrap interval.
        rounds: how many both were in.
    """

    value: float
    low: float
    high: float
    rounds: int

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.low > 1 or self.high < 1


def timing_of(rounds: Rounds) -> Timing:
    """Pool all runs of all rounds.

    Raises:
        ValueError: there is none.
    """
    runs = np.concatenate([np.asarray(r, dtype=np.float64) for r in rounds])
    p10, median, p90 = np.quantile(runs, [0.1, 0.5, 0.9])
    return Timing(float(median), float(p10), float(p90), len(runs))


def ratio_of(own: Rounds, baseline: Rounds, *, seed: int) -> Ratio:
    """How many times the baseline's time, with an interval.

    The unit of chance is the round: runs of one burst follow one another and share whatever the
    machine was doing. So each round gives one ratio, of what were neighbours in time, and rounds
    are resampled (Efron and Tibshirani 1993, the percentile interval).

    Args:
        own: runs of each round, in milliseconds.
        baseline: the same rounds of the baseline.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: no round, or not as many of both.
    """
    if len(own) != len(baseline) or not own:
        raise ValueError(f"{len(own)} rounds against {len(baseline)}")
    logs = np.log(_medians(own)) - np.log(_medians(baseline))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(logs), size=(_RESAMPLES, len(logs)))
    middles = np.median(logs[drawn], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.exp(np.quantile(middles, [tail, 1 - tail]))
    return Ratio(float(np.exp(np.median(logs))), float(low), float(high), len(logs))


def noise_of(ratios: Sequence[Ratio]) -> float:
    """The largest difference that a contestant shows from itself: an end of its intervals.

    Args:
        ratios: of the baseline's second process to its first, one for each cell.

    Returns:
        As a share: 0.02 says that differences below 2% mean nothing in this run. NaN for no ratio.
    """
    ends = [max(abs(r.low - 1), abs(r.high - 1)) for r in ratios]
    return max(ends, default=float("nan"))


def _medians(rounds: Rounds) -> npt.NDArray[np.float64]:
    return np.array([float(np.median(r)) for r in rounds])
