"""Do an artifact's sentence vectors agree with the reference's, and how sure is that?

Whoever has sentence vectors looks for the nearest one. So the decision on a text is its nearest
neighbour by cosine among the natural texts; a flip is another neighbour than the reference's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.golden import NATURAL, GoldenCase
from runtime.parity.agreement import Agreement, LabelFlips
from runtime.parity.metrics import Flips, Logits
from runtime.parity.statistics import flip_bound_lower, flip_bound_upper

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

METRIC = "effective_rank"
# Every gate on vectors must hold these; compare `runtime.parity.gates.REQUIRED`.
REQUIRED = (
    "max_rel",
    "cosine",
    "cosine_min",
    "sqnr_db",
    "flip_rate_bound",
    "large_margin_flips",
    "neighbour_regret",
)

# Vectors of which all pairs are nearer than this, on average, tell texts apart by their last bits.
_COLLAPSED = 0.9999
# Below it the vectors lie on a line, and a neighbour on it says little.
_LEAST_RANK = 1.01
_FEWEST_TEXTS = 3
# A margin below this is never a sure one. Where classes have drawn vectors together, half of all
# margins are smaller than what int8 rounding moves a cosine by.
_SURE = 0.01
# Texts whose similarities are held at a time.
_AT_A_TIME = 1024


def effective_rank(vectors: Logits) -> float:
    """In how many directions vectors of length 1 spread: (Σλ)² / Σλ² of their covariance.

    Args:
        vectors: float [texts, dim].

    Returns:
        1 (a line) to dim; 0 for vectors that are all the same, NaN where one is not finite.
    """
    u = _unit(vectors)
    centred = u - u.mean(axis=0)
    small = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    total, squares = float(np.trace(small)), float((small * small).sum())
    if math.isnan(total):
        return math.nan
    # What is left of equal vectors is rounding: about 1e-16 of 1, squared.
    return total * total / squares if total > len(u) * 1e-24 else 0.0


def mean_cosine(vectors: Logits) -> float:
    """Mean cosine of all pairs of unlike rows, at least two: 1 where all point one way."""
    u = _unit(vectors)
    n = len(u)
    whole = u.sum(axis=0)
    own = float((u * u).sum())
    return (float(whole @ whole) - own) / (n * (n - 1))


def doubts_about_vectors(reference: Logits) -> tuple[str, ...]:
    """Reasons why agreeing with these vectors would mean nothing; empty if there is none.

    Args:
        reference: float32 [natural texts of unlike ids, dim].
    """
    if len(reference) < _FEWEST_TEXTS:
        return (f"there are {len(reference)} natural texts, too few for a nearest one",)
    if not np.isfinite(reference).all():
        return ("the reference's own vectors are not finite",)
    if not np.abs(reference).max(axis=1).all():
        return ("the reference gives a vector of zeros, which has no direction",)
    doubts = []
    if (mean := mean_cosine(reference)) > _COLLAPSED:
        doubts.append(
            f"the reference's vectors are all alike: two of them have a cosine of {mean:.6f} on "
            "average"
        )
    elif (rank := effective_rank(reference)) < _LEAST_RANK:
        doubts.append(f"the reference's vectors lie on a line: their effective rank is {rank:.4f}")
    return tuple(doubts)


def unlike_natural(cases: Sequence[GoldenCase]) -> Rows:
    """Places of the natural cases, of equal ids the first alone, ascending int64."""
    seen: dict[tuple[int, ...], int] = {}
    for place, case in enumerate(cases):
        if case.set in NATURAL:
            seen.setdefault(case.input_ids, place)
    return np.array(sorted(seen.values()), dtype=np.int64)


def vector_agreement(reference: Logits, artifact: Logits, cases: Sequence[GoldenCase]) -> Agreement:
    """Compare directions and nearest neighbours.

    Args:
        reference: finite float32 [cases, dim].
        artifact: the same shape, may hold non-finite values.
        cases: texts with their sets and ids. Cases of the same ids count once, and none is its
            own neighbour.

    Returns:
        Figures as `runtime.parity.gates.FIGURES`, and ``metric``, the artifact's effective rank.
        A flip is a large one where the reference has the neighbour by more than half of all texts
        have theirs, and by more than a hundredth in cosine.
    """
    natural = unlike_natural(cases)
    group = {ids: i for i, ids in enumerate(dict.fromkeys(case.input_ids for case in cases))}
    groups = np.array([group[case.input_ids] for case in cases], dtype=np.int64)
    before = _neighbours(reference, natural, groups)
    after = _neighbours(artifact, natural, groups)
    broken = ~np.isfinite(artifact).all(axis=1)
    flipped = np.logical_or(before.nearest != after.nearest, broken)
    # How far apart the reference has the two neighbours, when it sees both.
    seen = _similarity(reference, before.nearest) - _similarity(reference, after.nearest)
    regret = np.where(broken, np.nan, seen)
    usual = float(np.median(before.margin[natural])) if len(natural) else 0.0
    large = flipped & ((before.margin > max(usual, _SURE)) | broken)
    texts, count = len(natural), int(flipped[natural].sum())
    bound = flip_bound_upper(count, texts)
    cosines = _cosines(reference, artifact)
    rank = effective_rank(reference[natural]) if texts else math.nan
    metric = effective_rank(artifact[natural]) if texts else math.nan
    figures = {
        "decisions": float(texts),
        "flips": float(count),
        "flip_rate": count / texts if texts else math.nan,
        "flip_rate_bound": bound,
        "flip_rate_bound_lower": flip_bound_lower(count, texts),
        "flip_rate_bound_floor": flip_bound_upper(0, texts),
        "large_margin_flips": float(large[natural].sum()),
        "other_flips": float(flipped.sum() - count),
        "neighbour_regret": float(regret[natural].max()) if texts else math.nan,
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "metric": metric,
        "metric_drop": rank - metric,
    }
    per_text = Flips(flipped[:, None], large[:, None], before.margin[:, None])
    return Agreement(figures, (LabelFlips("", count, texts, bound),), per_text)


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Of every case: its nearest natural text, and by how much nearer than the second."""

    nearest: Rows
    margin: Floats


def _neighbours(vectors: Logits, natural: Rows, groups: Rows) -> _Neighbours:
    u = _unit(vectors)
    n = len(u)
    nearest = np.zeros(n, dtype=np.int64)
    margin = np.full(n, np.inf)
    if len(natural) < 2:
        return _Neighbours(nearest, margin)
    for start in range(0, n, _AT_A_TIME):
        rows = slice(start, min(n, start + _AT_A_TIME))
        found = u[rows] @ u[natural].T
        # NaN is as far away as can be, so that a broken vector is nobody's neighbour.
        found[np.isnan(found)] = -2.0
        found[groups[rows][:, None] == groups[natural][None]] = -3.0
        best = found.argmax(axis=1)
        places = np.arange(len(found))
        nearest[rows] = natural[best]
        nearness = found[places, best]
        found[places, best] = -3.0
        margin[rows] = nearness - found.max(axis=1)
    return _Neighbours(nearest, margin)


def _similarity(vectors: Logits, other: Rows) -> Floats:
    u = _unit(vectors)
    return np.asarray((u * u[other]).sum(axis=1))


def _cosines(reference: Logits, artifact: Logits) -> Floats:
    """Of each text's two vectors; NaN where one of them has no direction."""
    a, b = reference.astype(np.float64), artifact.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        )


def _unit(vectors: Logits) -> Floats:
    """Rows of length 1 in float64; a row of zeros stays one, a broken one is NaN."""
    v = vectors.astype(np.float64)
    with np.errstate(invalid="ignore"):
        v = np.where(np.isfinite(v), v, np.nan)
    norms = np.linalg.norm(v, axis=1, keepdims=True)
    return np.asarray(v / np.where(norms == 0, 1.0, norms))
