"""Bounds on what a set of texts leaves open: flips, accuracy, F1.

Every bound is one-sided at 95%: it is wrong for about one of twenty sets of texts. None shrinks to
a point where no text differs: agreeing on a few texts proves little.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, betaincinv

CONFIDENCE = 0.95
# One-sided 95% of the normal distribution.
_Z = 1.6448536269514722
_BISECTIONS = 100

Chosen = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.float64]


def flip_bound_upper(flips: int, texts: int, confidence: float = CONFIDENCE) -> float:
    """Highest flip rate that the texts do not rule out.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of
    the binomial": the `confidence` quantile of Beta(flips + 1, texts - flips). It is exact: at any
    true rate, at least this share of all sets gives a bound that is not below that rate. For no
    flips it is 1 - (1 - confidence)^(1 / texts), about 3 / texts.

    Returns:
        0 to 1; 1 for no texts.

    Raises:
        ValueError: flips is not from 0 to texts.
    """
    _check_count(flips, texts)
    return 1.0 if flips == texts else float(betaincinv(flips + 1, texts - flips, confidence))


def flip_bound_lower(flips: int, texts: int, confidence: float = CONFIDENCE) -> float:
    """Lowest flip rate that the texts do not rule out; see `flip_bound_upper`.

    Above a limit it proves that the limit is broken.

    Returns:
        The 1 - `confidence` quantile of Beta(flips, texts - flips + 1); 0 for no flips.

    Raises:
        ValueError: flips is not from 0 to texts.
    """
    _check_count(flips, texts)
    return 0.0 if flips == 0 else float(betaincinv(flips, texts - flips + 1, 1 - confidence))


def texts_needed(flips: int, texts: int, limit: float) -> int | None:
    """How many texts, these among them, it takes until the upper bound on flips meets a limit.

    The flip rate is taken to stay as it was observed, so flips are a real number in between, which
    the Beta distribution of `flip_bound_upper` allows. For no flips this is
    ⌈ln(1 - 0.95) / ln(1 - limit)⌉.

    Args:
        flips: observed so far.
        texts: looked at so far; 0 counts as no flips.
        limit: on the flip rate.

    Returns:
        The smallest number of texts; None if the observed rate is not below the limit, so that no
        number is enough.

    Raises:
        ValueError: flips is not from 0 to texts.
    """
    _check_count(flips, texts)
    rate = flips / texts if texts else 0.0
    if not rate < limit:
        return None
    if limit >= 1:
        return 1

    def enough(count: int) -> bool:
        return bool(betaincinv(rate * count + 1, (1 - rate) * count, CONFIDENCE) <= limit)

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2  # not enough, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def mcnemar_p(losses: int, gains: int) -> float:
    """Chance of so many losses among the texts that changed, if losing were as likely as gaining.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions", in
    its exact form: one-sided binomial with a half.

    Args:
        losses: texts that the reference gets right and the artifact wrong.
        gains: texts that the artifact gets right and the reference wrong.

    Returns:
        0 to 1; 1 for no losses.

    Raises:
        ValueError: a negative count.
    """
    _check_count(losses, losses + gains)
    return 1.0 if losses == 0 else float(bdtrc(losses - 1, losses + gains, 0.5))


def accuracy_drop_bounds(losses: int, gains: int, texts: int) -> tuple[float, float]:
    """Bounds on the true accuracy of the reference minus that of the artifact, on the same texts.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17: the differences that a score test at 5% does
    not reject. At no loss and no gain they are ∓z² / (texts + z²), z = 1.645: not a point.

    Unlike Clopper–Pearson's they are approximate: for 500 texts, and rates of up to 8% losses and
    3% gains, a bound holds in 91% of all sets at worst (few losses), and in 95% typically.

    Args:
        losses: texts that the reference gets right and the artifact wrong.
        gains: texts that the artifact gets right and the reference wrong.
        texts: all of them.

    Returns:
        (lower, upper), each one-sided 95%, from -1 to 1; (-1, 1) for no texts.

    Raises:
        ValueError: negative counts, or more losses and gains than texts.
    """
    if min(losses, gains) < 0 or losses + gains > texts:
        raise ValueError(f"{losses} losses and {gains} gains among {texts} texts")
    return -_tango_upper(gains, losses, texts), _tango_upper(losses, gains, texts)


def _tango_upper(losses: int, gains: int, texts: int) -> float:
    """The drop above the observed one at which the score is -z; the score falls with the drop."""
    if texts in (0, losses):
        return 1.0
    low, high = (losses - gains) / texts, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _tango_score(middle, losses, gains, texts) > -_Z else (low, middle)
        )
    return high


def _tango_score(drop: float, losses: int, gains: int, texts: int) -> float:
    """Tango's (1998) statistic of the hypothesis that the true drop is `drop`.

    The share of gains is estimated under the hypothesis, as the larger root of a quadratic.
    """
    a = 2.0 * texts
    b = -losses - gains + (2 * texts - losses + gains) * drop
    c = -gains * drop * (1 - drop)
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = texts * (2 * share + drop * (1 - drop))
    difference = losses - gains - texts * drop
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def f1_drop_bounds(
    reference_chosen: Chosen,
    artifact_chosen: Chosen,
    targets: Chosen,
    *,
    resamples: int = 2000,
    seed: int,
) -> tuple[float, float, float]:
    """Bounds on the true micro-F1 of the reference minus that of the artifact, on the same texts.

    Paired bootstrap over texts (Efron and Tibshirani 1993), in Rubin's smooth form (1981, "The
    Bayesian bootstrap"): each text gets an exponential weight instead of a whole number of copies.

    A plain bootstrap knows only differences that it has seen; without any, its bounds would meet at
    0 for two texts as for two thousand. So each bound is taken with one more text that is bad for
    it: for the upper bound one whose only label the reference hits and the artifact replaces by a
    wrong one, for the lower bound the reverse. This is how Clopper–Pearson's Beta(flips + 1,
    texts - flips) comes about, too. Where each text has one label (F1 is accuracy then) and nothing
    was gained, the upper bound is Clopper–Pearson's for the losses, and p is `mcnemar_p` always, up
    to the noise of resampling.

    Args:
        reference_chosen: labels that the reference gives, bool [texts, labels].
        artifact_chosen: the same shape.
        targets: the truth, the same shape.
        resamples: draws for each bound.
        seed: equal seeds give equal results.

    Returns:
        (lower, upper, p): each bound one-sided 95%, from -1 to 1; p is the share of draws for the
        lower bound in which the artifact is not worse. (-1, 1, 1) for no texts.

    Raises:
        ValueError: unlike shapes.
    """
    if not reference_chosen.shape == artifact_chosen.shape == targets.shape:
        raise ValueError("reference_chosen, artifact_chosen and targets have unlike shapes")
    if len(targets) == 0:
        return -1.0, 1.0, 1.0
    truth = targets.sum(axis=1)
    columns = [
        column
        for chosen in (reference_chosen, artifact_chosen)
        for column in ((chosen & targets).sum(axis=1), chosen.sum(axis=1) + truth)
    ]
    # Texts with equal counts are one: the sum of their weights has a gamma distribution.
    kinds, copies = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    loss, gain = np.array([[1, 2, 0, 2]]), np.array([[0, 2, 1, 2]])
    low = _drawn_drops(np.concatenate([kinds, gain]), np.append(copies, 1), resamples, rng)
    high = _drawn_drops(np.concatenate([kinds, loss]), np.append(copies, 1), resamples, rng)
    return (
        float(np.quantile(low, 1 - CONFIDENCE)),
        float(np.quantile(high, CONFIDENCE)),
        float((low <= 0).mean()),
    )


def _drawn_drops(
    kinds: npt.NDArray[np.int64],
    copies: npt.NDArray[np.int64],
    resamples: int,
    rng: np.random.Generator,
) -> Counts:
    """Micro-F1 of the reference minus the artifact's, under weights drawn at random.

    Args:
        kinds: hits and (given + true labels) of the reference, then of the artifact, [kinds, 4].
        copies: texts of each kind, [kinds].
        resamples: draws.
        rng: gives the weights.

    Returns:
        float64 [resamples].
    """
    sums = rng.standard_gamma(copies.astype(np.float64), size=(resamples, len(copies))) @ kinds
    return np.asarray(_f1(sums[:, 0], sums[:, 1]) - _f1(sums[:, 2], sums[:, 3]))


def _f1(hits: Counts, labels: Counts) -> Counts:
    # The added text has labels, so that no sum is 0.
    return np.asarray(2 * hits / labels)


def _check_count(part: int, whole: int) -> None:
    if not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole}")
