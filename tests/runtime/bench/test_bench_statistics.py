"""Medians, ratios and noise on timings that are planted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.bench.statistics import Ratio, noise_of, ratio_of, timing_of

SEED = 7


def _rounds(
    rng: np.random.Generator, ms: float, count: int = 40, drift: np.ndarray | None = None
) -> list[list[float]]:
    factors = np.ones(count) if drift is None else drift
    return [list(ms * f * rng.uniform(0.98, 1.02, 5)) for f in factors]


def test_median_and_spread_of_known_runs() -> None:
    found = timing_of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]])
    assert found.median == 6.0
    assert (found.p10, found.p90) == (2.0, 10.0)
    assert found.runs == 11


def test_a_planted_ratio_is_found_inside_a_narrow_interval() -> None:
    rng = np.random.default_rng(1)
    found = ratio_of(_rounds(rng, 7.8), _rounds(rng, 10.0), seed=SEED)
    assert found.low < 0.78 < found.high
    assert found.high - found.low < 0.02
    assert found.differs


def test_a_machine_that_slows_down_moves_times_but_not_ratios() -> None:
    """Interleaving is what makes this so: both saw the same machine in every round."""
    rng = np.random.default_rng(2)
    drift = np.linspace(1.0, 3.0, 40)
    own, base = _rounds(rng, 8.0, drift=drift), _rounds(rng, 10.0, drift=drift)
    assert timing_of(own).median > 14.0
    found = ratio_of(own, base, seed=SEED)
    assert found.low < 0.8 < found.high
    # One after the other, the first half against the second, the slower machine would win.
    assert timing_of(base[:20]).median < timing_of(own[20:]).median


def test_one_round_of_a_hundredfold_hiccup_does_not_move_the_ratio() -> None:
    rng = np.random.default_rng(3)
    own, base = _rounds(rng, 9.0), _rounds(rng, 10.0)
    own[4] = [900.0] * 5
    assert abs(ratio_of(own, base, seed=SEED).value - 0.9) < 0.02


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 runs of 20 noisy rounds: a 95% interval that held in half of them would be seen."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        noise = rng.lognormal(0.0, 0.1, (2, 20))
        own, base = ([[x] for x in row] for row in (noise[0] * 0.9, noise[1]))
        found = ratio_of(own, base, seed=SEED)
        held += found.low <= 0.9 <= found.high
    assert held >= 180


def test_equal_seeds_give_equal_intervals() -> None:
    rng = np.random.default_rng(5)
    own, base = _rounds(rng, 9.0), _rounds(rng, 10.0)
    assert ratio_of(own, base, seed=1) == ratio_of(own, base, seed=1)
    assert ratio_of(own, base, seed=1) != ratio_of(own, base, seed=2)


@pytest.mark.parametrize(("own", "base"), [([], []), ([[1.0]], [[1.0], [1.0]])])
def test_rounds_that_do_not_belong_together_are_refused(
    own: list[list[float]], base: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match="rounds against"):
        ratio_of(own, base, seed=SEED)


def test_noise_is_the_far_end_of_the_worst_interval() -> None:
    same = Ratio(1.0, 0.99, 1.02, 9)
    assert noise_of([same]) == pytest.approx(0.02)
    assert noise_of([same, Ratio(0.97, 0.9, 1.0, 9)]) == pytest.approx(0.1)
    assert math.isnan(noise_of([]))


def test_a_baseline_beside_itself_shows_the_noise_that_was_planted() -> None:
    rng = np.random.default_rng(6)
    quiet = ratio_of(_rounds(rng, 10.0), _rounds(rng, 10.0), seed=SEED)
    assert not quiet.differs or noise_of([quiet]) < 0.01
    skewed = ratio_of(_rounds(rng, 11.0), _rounds(rng, 10.0), seed=SEED)
    assert skewed.differs
    assert 0.09 < noise_of([skewed]) < 0.13
