"""Is the reference worth agreeing with?

Two models that answer the same constant agree perfectly. So parity says something only if the
reference itself has learned its task: better than the best constant answer, and using its labels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime.decisions import decisions
from runtime.manifest import TaskSpec
from runtime.parity.metrics import task_metric

# A label that holds at least this share of the validation texts must be used. Below it a good
# model may well never give the label (28-label goemotions at a threshold of 0.5 is such a case).
_COMMON_LABEL = 0.05
# One-sided 95% of the normal distribution.
_Z95 = 1.645


def constant_answer_metric(targets: npt.NDArray[np.bool_], task: TaskSpec) -> float:
    """The task metric of the best answer that ignores the text.

    Single-label: always the commonest label. Multi-label: always the k commonest, k the best.
    """
    counts = np.sort(targets.sum(axis=0))[::-1].astype(np.float64)
    if task.kind == "single_label":
        return float(counts[0] / len(targets))
    k = np.arange(1, len(counts) + 1)
    return float((2 * np.cumsum(counts) / (k * len(targets) + counts.sum())).max())


def doubts_about_reference(
    reference: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_], task: TaskSpec
) -> tuple[str, ...]:
    """Reasons why agreeing with this reference would mean nothing; empty if there is none.

    Args:
        reference: float32 [validation texts, labels].
        targets: bool [validation texts, labels].
        task: kind, labels and thresholds.
    """
    if len(reference) == 0:
        return ("there is no validation text with a true label",)
    if not np.isfinite(reference).all():
        return ("the reference's own logits are not finite",)
    chosen = decisions(reference, task)
    doubts = []
    metric, constant = task_metric(chosen, targets, task), constant_answer_metric(targets, task)
    # Accuracy is a share of texts, so its standard error is known; F1 is compared as it is.
    slack = _Z95 * math.sqrt(constant * (1 - constant) / len(targets))
    if metric <= constant + (slack if task.kind == "single_label" else 0.0):
        doubts.append(
            f"the reference scores {metric:.3f} on {len(targets)} validation texts and the best "
            f"constant answer {constant:.3f}: it has not learned the task"
        )
    common = targets.mean(axis=0) >= _COMMON_LABEL
    for index in np.flatnonzero(common):
        if not chosen[:, index].any():
            doubts.append(f"the reference never gives the label {task.labels[index]!r}")
        elif chosen[:, index].all():
            doubts.append(f"the reference gives the label {task.labels[index]!r} to every text")
    return tuple(doubts)
