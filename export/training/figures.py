"""The figures of an evaluation, each by scikit-learn.

Single-label: ``accuracy``; ``precision``, ``recall`` and ``f1``, each with the prefixes ``macro_``
and ``weighted_`` (``micro_`` equals the accuracy and is given for completeness); ``log_loss`` in
nats a text.

Multi-label: ``micro_``, ``macro_`` and ``weighted_`` precision, recall and F1; ``samples_f1``, the
mean F1 of a text; ``exact_match``, the share of texts whose labels are all right;
``hamming_score``, 1 - Hamming loss, the share of (text, label) decisions that are right;
``jaccard_samples``, the mean of |true ∩ given| / |true ∪ given|, which Godbole and Sarawagi (2004)
call accuracy and others the Hamming score; ``log_loss`` in nats a decision. A text with no label
that is given none counts as right, 1.

Averages over labels leave out labels that no text has and that are never given; a label that occurs
and is never given counts with precision 0.

`export.training.evaluation` adds ``roc_auc`` and ``average_precision``, means over the labels, one
against all others, and ``ece``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Figures = dict[str, float | None]

_AVERAGES = ("micro", "macro", "weighted")


def single_label_figures(
    logits: Floats, chosen: Bools, truth: Bools
) -> tuple[Figures, dict[str, str]]:
    """Figures of a single-label task, and why some are None.

    Args:
        logits: float64 [texts, labels].
        chosen: bool [texts, labels], one a text.
        truth: bool [texts, labels], one a text.
    """
    from scipy.special import log_softmax

    given, true = chosen.argmax(axis=1), truth.argmax(axis=1)
    figures: Figures = {"accuracy": float((given == true).mean())}
    active = np.flatnonzero(truth.any(axis=0) | chosen.any(axis=0))
    figures |= _averages(true, given, active)
    figures["log_loss"] = 0.0 - float(log_softmax(logits, axis=1)[truth].mean())
    return figures, {}


def multi_label_figures(
    logits: Floats, chosen: Bools, truth: Bools
) -> tuple[Figures, dict[str, str]]:
    """Figures of a multi-label task, and why some are None.

    Args:
        logits: float64 [texts, labels].
        chosen: bool [texts, labels].
        truth: bool [texts, labels].
    """
    from sklearn.metrics import f1_score, jaccard_score

    undefined: dict[str, str] = {}
    figures: Figures = {}
    active = np.flatnonzero(truth.any(axis=0) | chosen.any(axis=0))
    true, given = _at_least_two(truth), _at_least_two(chosen)
    if len(active):
        figures |= _averages(true, given, active)
    else:
        names = [f"{a}_{m}" for a in _AVERAGES for m in ("precision", "recall", "f1")]
        figures |= dict.fromkeys(names)
        undefined |= dict.fromkeys(names, "no text has a label, and none is given")
    samples: dict[str, Any] = {"average": "samples", "zero_division": 1.0}
    figures["samples_f1"] = float(f1_score(true, given, **samples))
    figures["jaccard_samples"] = float(jaccard_score(true, given, **samples))
    figures["hamming_score"] = float((chosen == truth).mean())
    figures["exact_match"] = float((chosen == truth).all(axis=1).mean())
    # ln(1 + e^-z) where the label is true, ln(1 + e^z) where it is not.
    figures["log_loss"] = float(np.logaddexp(0.0, np.where(truth, -logits, logits)).mean())
    return figures, undefined


def label_scores(p: Floats, chosen: Bools, truth: Bools) -> list[dict[str, Any]]:
    """Every label against all others; the fields of `LabelScores` but its name and threshold.

    Args:
        p: probabilities, float64 [texts, labels].
        chosen: bool [texts, labels].
        truth: bool [texts, labels].
    """
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_fscore_support,
        roc_auc_score,
    )

    labels = truth.shape[1]
    precision, recall, f1, _ = precision_recall_fscore_support(
        _at_least_two(truth), _at_least_two(chosen), labels=range(labels), zero_division=np.nan
    )
    rows = []
    for index in range(labels):
        true, support = truth[:, index], int(truth[:, index].sum())
        both = 0 < support < len(true)
        rows.append(
            {
                "support": support,
                "given": int(chosen[:, index].sum()),
                "precision": _number(precision[index]),
                "recall": _number(recall[index]),
                "f1": _number(f1[index]),
                "roc_auc": float(roc_auc_score(true, p[:, index])) if both else None,
                "average_precision": (
                    float(average_precision_score(true, p[:, index])) if support else None
                ),
            }
        )
    return rows


def _averages(true: npt.NDArray[Any], given: npt.NDArray[Any], active: Any) -> Figures:
    from sklearn.metrics import precision_recall_fscore_support

    figures: Figures = {}
    for average in _AVERAGES:
        scores = precision_recall_fscore_support(
            true, given, labels=active, average=average, zero_division=0.0
        )
        for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
            figures[f"{average}_{name}"] = float(value)
    return figures


def _at_least_two(matrix: Bools) -> Bools:
    """With a label that no text has beside a single one.

    scikit-learn reads one column as a task of two classes; a further label that is never true and
    never given changes no figure of a text.
    """
    if matrix.shape[1] > 1:
        return matrix
    return np.pad(matrix, ((0, 0), (0, 1)))


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
