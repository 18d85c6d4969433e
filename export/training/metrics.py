"""The few figures that choose the best epoch; `export.training.evaluation` has all of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.training.evaluation import as_matrix
from export.training.figures import multi_label_figures, single_label_figures

_WANTED = ("accuracy", "macro_f1", "micro_f1", "exact_match")


def main_metric(*, multi_label: bool) -> str:
    """The metric that chooses the best epoch."""
    return "micro_f1" if multi_label else "accuracy"


def metrics_of_logits(
    logits: npt.NDArray[np.float32], targets: npt.NDArray[np.float32], *, multi_label: bool
) -> dict[str, float]:
    """Main figures of logits [texts, labels]; a probability of 0.5 gives a label of multi-label.

    Args:
        logits: float32; one that is no number counts as the smallest.
        targets: label indices [texts], or 0/1 [texts, labels] for multi-label.
        multi_label: which of the two.

    Returns:
        ``accuracy`` and ``macro_f1``; ``micro_f1``, ``macro_f1`` and ``exact_match`` for
        multi-label. A figure that is not defined is 0.
    """
    z = np.nan_to_num(np.asarray(logits, dtype=np.float64), nan=-1e30, posinf=1e30, neginf=-1e30)
    truth = as_matrix(targets, z.shape[1], multi_label=multi_label)
    if multi_label:
        figures, _ = multi_label_figures(z, z >= 0.0, truth)
    else:
        chosen = as_matrix(z.argmax(axis=1), z.shape[1], multi_label=False)
        figures, _ = single_label_figures(z, chosen, truth)
    names = _WANTED if multi_label else _WANTED[:2]
    return {name: figures[name] or 0.0 for name in names if name in figures}
