"""Probabilities: how far an artifact's are from the reference's, and from the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.decisions import probabilities
from runtime.manifest import TaskSpec

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often claims of a given confidence were true.

    Attributes:
        edges: of the bins, float64 [bins + 1], from 0 to 1.
        counts: claims in each bin, int64 [bins].
        confidence: their mean confidence, float64 [bins]; NaN for an empty bin.
        accuracy: the share of them that were true, float64 [bins]; NaN for an empty bin.
    """

    edges: Floats
    counts: npt.NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def claims(logits: npt.ArrayLike, targets: Bools, task: TaskSpec) -> tuple[Floats, Bools]:
    """What the probabilities claim, and whether it was so.

    Args:
        logits: [texts, labels].
        targets: the truth, bool [texts, labels].
        task: single-label: each text claims its most probable label. Multi-label: each pair of a
            text and a label claims the label, with its probability.

    Returns:
        Confidence, float64 [claims], NaN where the logits are not finite; truth, bool [claims].
    """
    z = np.asarray(logits, dtype=np.float64)
    p = np.where(np.isfinite(z).all(axis=1, keepdims=True), probabilities(z, task), math.nan)
    if task.activation == "softmax":
        rows, chosen = np.arange(len(p)), z.argmax(axis=1)
        return p[rows, chosen], targets[rows, chosen]
    return p.ravel(), targets.ravel()


def reliability(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> Reliability:
    """Claims by confidence, in bins of equal width, each closed on its right.

    Args:
        confidence: probabilities, [claims]; one that is NaN makes every bin's figures NaN.
        correct: whether each claim was true, bool [claims].
        bins: how many.
    """
    p = np.asarray(confidence, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    if np.isnan(p).any():
        unknown = np.full(bins, math.nan)
        return Reliability(edges, np.zeros(bins, dtype=np.int64), unknown, unknown)
    # The first bin also takes 0.
    place = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges=edges,
            counts=counts,
            confidence=np.bincount(place, weights=p, minlength=bins) / counts,
            accuracy=np.bincount(place, weights=np.asarray(correct, float), minlength=bins)
            / counts,
        )


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15
) -> float:
    """Mean distance of confidence from accuracy, over bins of equal width.

    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", equation 3:
    Σ counts / claims · |accuracy - confidence|.

    Args:
        confidence: as from `claims`, [claims].
        correct: as from `claims`, bool [claims].
        bins: how many.

    Returns:
        0 to 1; NaN for no claims, or if one is NaN.
    """
    table = reliability(confidence, correct, bins)
    total = int(table.counts.sum())
    if not total:
        return math.nan
    used = table.counts > 0
    gap = np.abs(table.accuracy - table.confidence)[used]
    return float((table.counts[used] * gap).sum() / total)


def kl_divergence(reference: npt.ArrayLike, artifact: npt.ArrayLike, task: TaskSpec) -> Floats:
    """Kullback–Leibler divergence of the artifact's answer from the reference's, text by text.

    Softmax: Σ p · (ln p - ln q) over the labels. Sigmoid: the same of each label's yes and no,
    averaged over the labels, so that the number of labels does not change its scale. All in log
    space: no probability is rounded to 0 before its logarithm is taken.

    Args:
        reference: logits, [texts, labels].
        artifact: logits, [texts, labels].
        task: which activation.

    Returns:
        Nats, float64 [texts]; NaN where a logit of the text is not finite.
    """
    return _mean_divergence(reference, artifact, task, _kl)


def js_divergence(reference: npt.ArrayLike, artifact: npt.ArrayLike, task: TaskSpec) -> Floats:
    """Jensen–Shannon divergence: the mean of both sides' divergence from their mixture (Lin 1991).

    Args and returns as `kl_divergence`; at most ln 2.
    """
    return _mean_divergence(reference, artifact, task, _js)


def _mean_divergence(
    reference: npt.ArrayLike,
    artifact: npt.ArrayLike,
    task: TaskSpec,
    divergence: Callable[[Floats, Floats], Floats],
) -> Floats:
    sides = [np.asarray(side, dtype=np.float64) for side in (reference, artifact)]
    finite = np.asarray(np.isfinite(np.concatenate(sides, axis=1)).all(axis=1))
    p, q = (_log_probabilities(np.where(finite[:, None], side, 0.0), task) for side in sides)
    # Rounding can leave a little below 0.
    each = np.maximum(divergence(p, q), 0.0)
    each = each if task.activation == "softmax" else each.mean(axis=1)
    return np.where(finite, each, math.nan)


def _log_probabilities(logits: Floats, task: TaskSpec) -> Floats:
    """Softmax: ln p, [texts, labels]. Sigmoid: ln p of yes and of no, [texts, labels, 2]."""
    if task.activation == "softmax":
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
    return -np.logaddexp(0.0, np.stack([-logits, logits], axis=-1))


def _kl(log_p: Floats, log_q: Floats) -> Floats:
    """Over the last axis."""
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))


def _js(log_p: Floats, log_q: Floats) -> Floats:
    """Over the last axis."""
    mixture = np.logaddexp(log_p, log_q) - math.log(2)
    return np.asarray((_kl(log_p, mixture) + _kl(log_q, mixture)) / 2)
