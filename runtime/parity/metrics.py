"""Figures that compare an artifact's logits with the reference's.

Differences are in logits; `max_rel` and the decibels are free of the logits' scale, so that one
threshold serves models of any confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.decisions import decisions, margins
from runtime.manifest import TaskSpec

Logits = npt.NDArray[np.float32]
Targets = npt.NDArray[np.bool_]


def tensor_figures(reference: Logits, artifact: Logits) -> dict[str, float]:
    """Figures on raw logits.

    Args:
        reference: float32 [texts, labels], finite.
        artifact: the same shape; may hold NaN or infinity, which `non_finite` counts. Every other
            figure is NaN then, so that no comparison with a limit can hold.

    Returns:
        ``non_finite`` (count); ``max_abs``, ``p99_abs``, ``mean_abs`` (logits); ``max_rel``
        (max_abs over the root mean square of the reference); ``cosine`` of all logits as one
        vector; ``sqnr_db``, 10·log10(Σ reference² / Σ difference²), infinite for equal logits.
    """
    r = reference.astype(np.float64)
    a = artifact.astype(np.float64)
    non_finite = float(np.count_nonzero(~np.isfinite(a)))
    if non_finite:
        names = ("max_abs", "p99_abs", "mean_abs", "max_rel", "cosine", "sqnr_db")
        return {"non_finite": non_finite} | dict.fromkeys(names, math.nan)
    difference = np.abs(r - a)
    signal = float((r * r).sum())
    noise = float((difference * difference).sum())
    norms = math.sqrt(signal) * math.sqrt(float((a * a).sum()))
    max_abs = float(difference.max())
    return {
        "non_finite": 0.0,
        "max_abs": max_abs,
        "p99_abs": float(np.quantile(difference, 0.99)),
        "mean_abs": float(difference.mean()),
        "max_rel": max_abs / root_mean_square(reference),
        # A zero vector has no direction: NaN, which no limit accepts.
        "cosine": float((r * a).sum()) / norms if norms else math.nan,
        "sqnr_db": _decibels(signal, noise),
    }


def root_mean_square(reference: Logits) -> float:
    """Of all logits; NaN where every one is 0, so that nothing divided by it meets a limit."""
    value = math.sqrt(float(np.square(reference.astype(np.float64)).mean()))
    return value or math.nan


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal else -math.inf


@dataclass(frozen=True, slots=True)
class Flips:
    """Which decisions differ.

    A decision is a text for a single-label task and a (text, label) pair for a multi-label one.

    Attributes:
        flipped: bool [texts, decisions of a text]; non-finite logits count as flips.
        large: those where the reference was surer than in half of all its decisions, or that are
            not finite.
        margin: float64, how far the reference was from tipping over, in logits.
    """

    flipped: Targets
    large: Targets
    margin: npt.NDArray[np.float64]


def flips(reference: Logits, artifact: Logits, task: TaskSpec) -> Flips:
    """Compare decisions, float32 [texts, labels] each."""
    before, after = decisions(reference, task), decisions(artifact, task)
    margin = margins(reference, task)
    flipped = np.not_equal(before, after)
    broken = np.logical_not(np.isfinite(artifact))
    if task.kind == "single_label":
        flipped = np.asarray(flipped.any(axis=1, keepdims=True))
        broken = np.asarray(broken.any(axis=1, keepdims=True))
    flipped = np.logical_or(flipped, broken)
    usual = np.median(margin) if margin.size else 0.0
    return Flips(flipped, flipped & ((margin > usual) | broken), margin)


def task_metric_name(task: TaskSpec) -> str:
    """``accuracy`` for a single-label task, ``micro_f1`` for a multi-label one."""
    return "accuracy" if task.kind == "single_label" else "micro_f1"


def task_metric(chosen: Targets, targets: Targets, task: TaskSpec) -> float:
    """Accuracy, or F1 over all (text, label) pairs.

    Args:
        chosen: bool [texts, labels], what the model gives.
        targets: bool [texts, labels], the truth.
        task: which of the two metrics.

    Returns:
        0 to 1. F1 is 2·TP / (2·TP + FP + FN), and 0 where that has no denominator.
    """
    if task.kind == "single_label":
        return float((chosen == targets).all(axis=1).mean())
    hits = 2.0 * float((chosen & targets).sum())
    total = float(chosen.sum() + targets.sum())
    return hits / total if total else 0.0


def one_hot(targets: list[tuple[int, ...]], labels: int) -> Targets:
    """Indices of true labels → bool [texts, labels]."""
    matrix = np.zeros((len(targets), labels), dtype=np.bool_)
    for row, indices in enumerate(targets):
        matrix[row, list(indices)] = True
    return matrix
