"""Logits → probabilities → labels, by the manifest's task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.manifest import TaskSpec

Floats = npt.NDArray[np.float64]
Decisions = npt.NDArray[np.bool_]


def probabilities(logits: npt.ArrayLike, task: TaskSpec) -> Floats:
    """Apply the task's activation in float64.

    Args:
        logits: [texts, labels].
        task: softmax for single-label, sigmoid for multi-label.

    Returns:
        float64 [texts, labels]; non-finite logits stay non-finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if task.activation == "softmax":
        with np.errstate(invalid="ignore"):
            powers = np.exp(z - z.max(axis=-1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    # Two branches, so that no exponent is positive and nothing overflows.
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + small), small / (1 + small))


def decisions(logits: npt.ArrayLike, task: TaskSpec) -> Decisions:
    """Which labels a text gets.

    Single-label: the largest logit, the first one on a tie. Multi-label: every label whose
    probability reaches its threshold.

    Returns:
        bool [texts, labels].
    """
    if task.thresholds is not None:
        return np.asarray(probabilities(logits, task) >= np.asarray(task.thresholds))
    z = np.asarray(logits, dtype=np.float64)
    chosen = np.zeros(z.shape, dtype=np.bool_)
    chosen[np.arange(len(z)), z.argmax(axis=-1)] = True
    return chosen


def margins(logits: npt.ArrayLike, task: TaskSpec) -> Floats:
    """How far each decision is from tipping over, in logits.

    Single-label: the largest logit minus the second, [texts, 1]; infinite for a single label.
    Multi-label: distance from the threshold's logit, [texts, labels].
    """
    z = np.asarray(logits, dtype=np.float64)
    if task.thresholds is not None:
        t = np.clip(np.asarray(task.thresholds, dtype=np.float64), 1e-12, 1 - 1e-12)
        return np.asarray(np.abs(z - np.log(t / (1 - t))))
    if z.shape[1] < 2:
        return np.full((len(z), 1), np.inf)
    top = np.sort(z, axis=-1)
    return top[:, -1:] - top[:, -2:-1]
