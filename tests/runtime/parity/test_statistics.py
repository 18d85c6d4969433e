from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from runtime.parity.statistics import (
    accuracy_drop_bounds,
    f1_drop_bounds,
    flip_bound_lower,
    flip_bound_upper,
    mcnemar_p,
    texts_needed,
)

Z = 1.6448536269514722


@st.composite
def _counts(draw: st.DrawFn, least: int = 1) -> tuple[int, int]:
    texts = draw(st.integers(least, 3000))
    return draw(st.integers(0, texts)), texts


@st.composite
def _losses_and_gains(draw: st.DrawFn) -> tuple[int, int, int]:
    texts = draw(st.integers(1, 1000))
    losses = draw(st.integers(0, texts))
    return losses, draw(st.integers(0, texts - losses)), texts


# --- flips ---


@pytest.mark.parametrize(
    ("flips", "texts", "percent"), [(0, 872, 0.34), (3, 872, 0.89), (8, 872, 1.65), (0, 300, 0.99)]
)
def test_known_flip_bounds(flips: int, texts: int, percent: float) -> None:
    assert round(100 * flip_bound_upper(flips, texts), 2) == percent


@given(_counts(), st.sampled_from([0.8, 0.95, 0.99]))
def test_flip_bounds_are_scipys_exact_ones(counts: tuple[int, int], confidence: float) -> None:
    for bound, side in ((flip_bound_upper, "less"), (flip_bound_lower, "greater")):
        interval = binomtest(*counts, alternative=side).proportion_ci(confidence, "exact")
        expected = interval.high if side == "less" else interval.low
        assert bound(*counts, confidence) == pytest.approx(expected, abs=1e-12)


def test_no_texts_bound_nothing() -> None:
    assert flip_bound_upper(0, 0) == 1.0
    assert flip_bound_lower(0, 0) == 0.0


@given(_counts())
def test_more_flips_raise_the_bound_and_more_texts_lower_it(counts: tuple[int, int]) -> None:
    flips, texts = counts
    bound = flip_bound_upper(flips, texts)
    assert flip_bound_lower(flips, texts) <= flips / texts <= bound
    assert flip_bound_upper(flips + 1, texts + 1) > bound or bound == 1.0
    assert flip_bound_upper(flips, texts + 1) < bound


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.03, 0.4])
def test_the_upper_flip_bound_holds_in_95_of_100_sets(rate: float) -> None:
    """Summed over all counts that a set of 400 texts can have: no chance is left."""
    holds = [flip_bound_upper(flips, 400) >= rate for flips in range(401)]
    assert binom.pmf(np.arange(401), 400, rate)[holds].sum() >= 0.95


@pytest.mark.parametrize("bad", [(-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(bad: tuple[int, int]) -> None:
    for function in (flip_bound_upper, flip_bound_lower):
        with pytest.raises(ValueError, match="of"):
            function(*bad)
    with pytest.raises(ValueError, match="of"):
        texts_needed(*bad, 0.1)
    with pytest.raises(ValueError, match="among"):
        accuracy_drop_bounds(bad[0], 0, bad[1])


def test_negative_losses_or_gains_are_refused() -> None:
    for bad in ((-1, 3), (3, -1)):
        with pytest.raises(ValueError, match="of"):
            mcnemar_p(*bad)


@pytest.mark.parametrize("limit", [0.5, 0.1, 0.02, 0.01, 0.005, 0.001])
@pytest.mark.parametrize("texts", [0, 1, 100])
def test_texts_needed_without_flips(limit: float, texts: int) -> None:
    needed = texts_needed(0, texts, limit)
    assert needed == math.ceil(math.log(0.05) / math.log(1 - limit))
    assert flip_bound_upper(0, needed) <= limit < flip_bound_upper(0, needed - 1)


def test_texts_needed_with_flips() -> None:
    needed = texts_needed(2, 100, 0.03)
    # 2 of 100 is 0.02; a multiple of 50 texts has whole flips at this rate.
    assert needed is not None
    above = math.ceil(needed / 50) * 50
    assert flip_bound_upper(above // 50, above) <= 0.03
    assert flip_bound_upper(above // 50 - 1, above - 50) > 0.03


@given(_counts(), st.floats(0.0005, 0.999))
def test_texts_needed_agrees_with_the_bound(counts: tuple[int, int], limit: float) -> None:
    needed = texts_needed(*counts, limit)
    if counts[0] / counts[1] >= limit:
        assert needed is None
    else:
        assert needed is not None
        met = flip_bound_upper(*counts) <= limit
        assert (needed <= counts[1]) == met


def test_no_number_of_texts_is_enough_at_the_limit() -> None:
    assert texts_needed(5, 100, 0.05) is None
    assert texts_needed(0, 100, 0.0) is None
    assert texts_needed(0, 100, 1.0) == 1


# --- accuracy ---


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(losses: int, gains: int) -> None:
    changed = losses + gains
    expected = binomtest(losses, changed, 0.5, alternative="greater").pvalue if changed else 1.0
    assert mcnemar_p(losses, gains) == pytest.approx(expected)


def test_a_published_interval_of_tango() -> None:
    """Airway reactivity before and after transplantation: 7 against 1 of 21 children.

    Fagerland, Lydersen and Laake 2014 give Tango's two-sided 95% interval as 0.026 to 0.517. Ours
    are 90% and must lie inside; the brute force below inverts the same test at both levels.
    """
    lower, upper = accuracy_drop_bounds(7, 1, 21)
    assert 0.026 < lower < 6 / 21 < upper < 0.517
    assert _inverted(7, 1, 21, 1.959963984540054) == pytest.approx((0.026, 0.517), abs=1e-3)


def _inverted(losses: int, gains: int, texts: int, z: float) -> tuple[float, float]:
    """The drops that the score test does not reject, with the likelihood maximised on a grid."""
    drops = np.linspace(-0.9995, 0.9995, 2000)
    drops = drops[np.abs(drops) > 1e-9]
    share = np.linspace(0, 1, 1501)[:, None]  # between the least and the most share of gains
    least, most = np.maximum(0.0, -drops), np.minimum(1.0, (1 - drops) / 2)
    q = least + share * (most - least)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (
            np.where(losses, losses * np.log(np.maximum(q + drops, 0)), 0)
            + np.where(gains, gains * np.log(np.maximum(q, 0)), 0)
            + np.where(
                texts - losses - gains,
                (texts - losses - gains) * np.log(np.maximum(1 - 2 * q - drops, 0)),
                0,
            )
        )
    best = np.take_along_axis(q, np.nanargmax(likelihood, axis=0)[None], axis=0)[0]
    variance = texts * (2 * best + drops - drops**2)
    score = (losses - gains - texts * drops) / np.sqrt(variance)
    kept = drops[np.abs(score) <= z]
    return float(kept.min()), float(kept.max())


@pytest.mark.parametrize(
    "counts", [(0, 0, 100), (3, 0, 100), (0, 4, 50), (5, 2, 60), (12, 2, 44), (20, 20, 300)]
)
def test_the_bounds_invert_the_score_test(counts: tuple[int, int, int]) -> None:
    assert accuracy_drop_bounds(*counts) == pytest.approx(_inverted(*counts, Z), abs=2e-3)


@given(st.integers(1, 5000))
def test_without_a_change_the_interval_is_not_a_point(texts: int) -> None:
    width = Z**2 / (texts + Z**2)
    assert accuracy_drop_bounds(0, 0, texts) == pytest.approx((-width, width))


@given(_losses_and_gains())
def test_the_interval_holds_what_was_observed_and_mirrors(counts: tuple[int, int, int]) -> None:
    losses, gains, texts = counts
    lower, upper = accuracy_drop_bounds(*counts)
    observed = (losses - gains) / texts
    assert -1 <= lower <= observed <= upper <= 1
    assert upper > observed or observed == 1
    assert accuracy_drop_bounds(gains, losses, texts) == pytest.approx((-upper, -lower))
    if losses + gains < texts:
        assert accuracy_drop_bounds(losses + 1, gains, texts)[1] >= upper - 1e-9


def test_no_texts_leave_every_drop_open() -> None:
    assert accuracy_drop_bounds(0, 0, 0) == (-1.0, 1.0)
    assert accuracy_drop_bounds(5, 0, 5)[1] == 1.0


@pytest.mark.parametrize(
    ("lost", "gained", "least"),
    [
        (0.0055, 0.0, 0.93),  # the worst for the upper bound where something is lost
        (0.0065, 0.002, 0.90),  # the worst for the lower bound
        (0.01, 0.01, 0.93),
        (0.03, 0.01, 0.94),
        (0.06, 0.03, 0.94),
    ],
)
def test_how_often_the_bounds_on_accuracy_hold(lost: float, gained: float, least: float) -> None:
    """Summed over what a set of 500 texts can show. A score interval is not exact, but near."""
    holds = [0.0, 0.0]
    most = [int(binom.ppf(1 - 1e-6, 500, rate)) + 1 for rate in (lost, gained)]
    for losses, gains in itertools.product(*(range(count + 1) for count in most)):
        chance = binom.pmf(losses, 500, lost) * binom.pmf(gains, 500 - losses, gained / (1 - lost))
        lower, upper = accuracy_drop_bounds(losses, gains, 500)
        holds[0] += chance * (lower <= lost - gained)
        holds[1] += chance * (upper >= lost - gained)
    assert min(holds) > least
    assert max(holds) < 0.99


# --- F1 ---


def _one_label(losses: int, gains: int, texts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reference, artifact and truth, one label of three a text."""
    truth = np.eye(3, dtype=np.bool_)[np.arange(texts) % 3]
    reference, artifact = truth.copy(), truth.copy()
    artifact[:losses] = np.roll(truth[:losses], 1, axis=1)
    reference[losses : losses + gains] = np.roll(truth[losses : losses + gains], 1, axis=1)
    return reference, artifact, truth


@pytest.mark.parametrize("losses", [0, 1, 3, 8, 40])
def test_with_one_label_a_text_and_no_gain_it_is_clopper_pearson(losses: int) -> None:
    lower, upper, p = f1_drop_bounds(*_one_label(losses, 0, 872), resamples=40_000, seed=1)
    assert upper == pytest.approx(flip_bound_upper(losses, 872), rel=0.02)
    assert lower < losses / 872 < upper
    assert p == pytest.approx(mcnemar_p(losses, 0), abs=0.01)


@pytest.mark.parametrize(("losses", "gains"), [(0, 5), (5, 0), (6, 2), (12, 12), (30, 15)])
def test_its_p_is_mcnemars(losses: int, gains: int) -> None:
    *_, p = f1_drop_bounds(*_one_label(losses, gains, 500), resamples=40_000, seed=2)
    assert p == pytest.approx(mcnemar_p(losses, gains), abs=0.01)


def test_equal_answers_on_few_texts_prove_little() -> None:
    few = f1_drop_bounds(*_one_label(0, 0, 20), seed=3)
    many = f1_drop_bounds(*_one_label(0, 0, 2000), seed=3)
    assert few[1] > 0.1 > 0.002 > many[1] > 0.001
    assert few[0] < -0.1 < many[0] < 0
    assert few[2] == many[2] == 1.0


def test_a_set_without_any_label_proves_nothing() -> None:
    nothing = np.zeros((500, 4), dtype=np.bool_)
    lower, upper, p = f1_drop_bounds(nothing, nothing, nothing, seed=4)
    assert (lower, upper, p) == (-1.0, 1.0, 1.0)
    empty = nothing[:0]
    assert f1_drop_bounds(empty, empty, empty, seed=4) == (-1.0, 1.0, 1.0)


def test_equal_seeds_give_equal_bounds() -> None:
    arrays = _one_label(5, 3, 300)
    assert f1_drop_bounds(*arrays, seed=5) == f1_drop_bounds(*arrays, seed=5)
    assert f1_drop_bounds(*arrays, seed=5) != f1_drop_bounds(*arrays, seed=6)


def test_a_text_more_or_less_must_not_pass_unseen() -> None:
    reference, artifact, truth = _one_label(0, 0, 10)
    with pytest.raises(ValueError, match="unlike shapes"):
        f1_drop_bounds(reference, artifact[1:], truth, seed=1)


def _true_drop_and_sets(rng: np.random.Generator, sets: int, texts: int, changed: float) -> tuple:
    """Six labels, most texts without any; the artifact differs in some (text, label) pairs."""
    population = 400_000
    truth = rng.random((population, 6)) < 0.05
    reference = truth ^ (rng.random(truth.shape) < np.where(truth, 0.2, 0.01))
    artifact = reference ^ (rng.random(truth.shape) < np.where(reference, 4 * changed, changed))
    sums = [(x & truth).sum() / (x.sum() + truth.sum()) * 2 for x in (reference, artifact)]
    picks = rng.integers(0, population, size=(sets, texts))
    return sums[0] - sums[1], [(reference[i], artifact[i], truth[i]) for i in picks]


@pytest.mark.parametrize("changed", [0.0005, 0.004, 0.02])
def test_the_bounds_on_f1_hold_in_about_95_of_100_sets(changed: float) -> None:
    drop, sets = _true_drop_and_sets(np.random.default_rng(17), 400, 400, changed)
    bounds = [f1_drop_bounds(*arrays, resamples=1000, seed=i) for i, arrays in enumerate(sets)]
    assert np.mean([upper >= drop for _, upper, _ in bounds]) > 0.93
    assert np.mean([lower <= drop for lower, _, _ in bounds]) > 0.93
