"""Task metrics on the training side, by scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def single_label_metrics(
    chosen: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]
) -> dict[str, float]:
    """``accuracy`` and ``macro_f1`` of label indices [texts]."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(targets, chosen)),
        "macro_f1": float(f1_score(targets, chosen, average="macro", zero_division=0)),
    }


def multi_label_metrics(
    chosen: npt.NDArray[np.bool_], targets: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """``micro_f1``, ``macro_f1`` and ``exact_match`` of decisions, bool [texts, labels]."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "micro_f1": float(f1_score(targets, chosen, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(targets, chosen, average="macro", zero_division=0)),
        "exact_match": float(accuracy_score(targets, chosen)),
    }


def main_metric(*, multi_label: bool) -> str:
    """The metric that chooses the best epoch."""
    return "micro_f1" if multi_label else "accuracy"


def metrics_of_logits(
    logits: npt.NDArray[np.float32], targets: npt.NDArray[np.float32], *, multi_label: bool
) -> dict[str, float]:
    """Metrics of logits [texts, labels]; a multi-label probability of 0.5 gives the label.

    Args:
        logits: float32.
        targets: label indices [texts], or 0/1 [texts, labels] for multi-label.
        multi_label: which of the two.
    """
    if multi_label:
        return multi_label_metrics(logits >= 0.0, targets.astype(np.bool_))
    return single_label_metrics(logits.argmax(axis=-1), targets.astype(np.int64))
