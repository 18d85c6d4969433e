"""Do the artifact's decisions agree with the reference's, and how sure is that?

Bounds are one-sided at 95% and over natural texts (validation and unlabelled): generated and
awkward texts are no sample of anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.decisions import decisions, probabilities
from runtime.golden import BOUNDARY, NATURAL, VALIDATION
from runtime.manifest import TaskSpec
from runtime.parity.calibration import expected_calibration_error, js_divergence, kl_divergence
from runtime.parity.metrics import Flips, Logits, Targets, flips, task_metric
from runtime.parity.statistics import (
    accuracy_drop_bounds,
    f1_drop_bounds,
    flip_bound_lower,
    flip_bound_upper,
    mcnemar_p,
    texts_needed,
)

_SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class LabelFlips:
    """One label of a multi-label task, or all decisions of a single-label one.

    Attributes:
        label: its name; empty for all of them.
        flips: texts whose decision on it differs.
        texts: natural texts.
        bound: 95% upper bound on the share (Clopper–Pearson).
    """

    label: str
    flips: int
    texts: int
    bound: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures on decisions and probabilities.

    Attributes:
        figures: name → value, as `runtime.parity.gates.FIGURES` and a few more.
        per_label: bounds label by label; one entry for a single-label task.
        flips: over all cases, in their order.
    """

    figures: dict[str, float]
    per_label: tuple[LabelFlips, ...]
    flips: Flips


def agreement(
    reference: Logits,
    artifact: Logits,
    sets: tuple[str, ...],
    targets: Targets,
    task: TaskSpec,
) -> Agreement:
    """Compare decisions and probabilities.

    Args:
        reference: float32 [cases, labels].
        artifact: the same shape, may hold non-finite values.
        sets: the golden set of each case.
        targets: bool [cases, labels], true labels; read for validation cases only.
        task: activation and thresholds.
    """
    where = np.array(sets)
    natural, boundary = np.isin(where, NATURAL), where == BOUNDARY
    found = flips(reference, artifact, task)
    per_label = _per_label(found.flipped[natural], task)
    flipped = found.flipped[natural]
    texts = int(natural.sum())
    figures = {
        "decisions": float(flipped.size),
        "flips": float(flipped.sum()),
        "flip_rate": max((entry.flips / texts for entry in per_label), default=0.0)
        if texts
        else math.nan,
        "flip_rate_bound": max((entry.bound for entry in per_label), default=1.0),
        "flip_rate_bound_lower": max(
            (flip_bound_lower(entry.flips, texts) for entry in per_label), default=0.0
        ),
        "flip_rate_bound_floor": flip_bound_upper(0, texts),
        "large_margin_flips": float(found.large.sum()),
        "other_flips": float(found.flipped[~natural].sum()),
    }
    if boundary.any():
        tipped = found.flipped[boundary].any(axis=1)
        figures |= {
            "boundary_flips": float(tipped.sum()),
            "boundary_texts": float(tipped.size),
            "boundary_flip_rate": float(tipped.mean()),
        }
    figures |= _divergences(reference[natural], artifact[natural], task)
    labelled = where == VALIDATION
    figures |= _metric_figures(reference[labelled], artifact[labelled], targets[labelled], task)
    return Agreement(figures, per_label, found)


def texts_note(agreed: Agreement, limit: float) -> str:
    """How many texts would settle an open flip bound, as a sentence."""
    worst = max(agreed.per_label, key=lambda entry: entry.bound, default=None)
    if worst is None or worst.texts == 0:
        return "there is no natural text"
    need = texts_needed(worst.flips, worst.texts, limit)
    where = f" on the label {worst.label!r}" if worst.label else ""
    seen = f"{worst.flips} of {worst.texts} texts flip{where}"
    if need is None:
        return f"{seen}, and no number of texts would bring that below {limit:g}"
    return f"{seen}; {need} texts with so few flips would settle it (give more with TEXTS=FILE)"


def _per_label(flipped: Targets, task: TaskSpec) -> tuple[LabelFlips, ...]:
    texts = len(flipped)
    names = ("",) if task.kind == "single_label" else task.labels
    counts = [int(n) for n in flipped.sum(axis=0)]
    return tuple(
        LabelFlips(name, count, texts, flip_bound_upper(count, texts))
        for name, count in zip(names, counts, strict=True)
    )


def _divergences(reference: Logits, artifact: Logits, task: TaskSpec) -> dict[str, float]:
    if len(reference) == 0:
        return {"kl_mean": math.nan, "kl_max": math.nan, "js_mean": math.nan}
    kl = kl_divergence(reference, artifact, task)
    return {
        "kl_mean": float(kl.mean()),
        "kl_max": float(kl.max()),
        "js_mean": float(js_divergence(reference, artifact, task).mean()),
    }


def _metric_figures(
    reference: Logits, artifact: Logits, targets: Targets, task: TaskSpec
) -> dict[str, float]:
    """The task metric, its loss with bounds and a paired test, and calibration."""
    names = ("metric", "metric_drop", "metric_drop_bound", "metric_drop_bound_lower")
    if len(reference) == 0:
        nothing = dict.fromkeys((*names, "metric_drop_p", "ece", "ece_change"), math.nan)
        return nothing | {"metric_drop_bound_floor": 1.0}
    before, after = decisions(reference, task), decisions(artifact, task)
    metric = task_metric(after, targets, task)
    drop = task_metric(before, targets, task) - metric
    if task.kind == "single_label":
        right, still = (np.asarray((x == targets).all(axis=1)) for x in (before, after))
        losses, gains = int((right & ~still).sum()), int((still & ~right).sum())
        lower, upper = accuracy_drop_bounds(losses, gains, len(targets))
        floor = accuracy_drop_bounds(0, 0, len(targets))[1]
        p = mcnemar_p(losses, gains)
    else:
        lower, upper, p = f1_drop_bounds(before, after, targets, seed=_SEED)
        floor = f1_drop_bounds(before, before, targets, seed=_SEED)[1]
    calibration = [
        _ece(logits, chosen, targets, task)
        for logits, chosen in ((reference, before), (artifact, after))
    ]
    return {
        "metric": metric,
        "metric_drop": drop,
        "metric_drop_bound": upper,
        "metric_drop_bound_lower": lower,
        "metric_drop_bound_floor": floor,
        "metric_drop_p": p,
        "ece": calibration[1],
        "ece_change": abs(calibration[1] - calibration[0]),
    }


def _ece(logits: Logits, chosen: Targets, targets: Targets, task: TaskSpec) -> float:
    """Confidence in the chosen label against being right; for many labels, in every label."""
    shares: npt.NDArray[np.float64] = probabilities(logits, task)
    if task.kind == "single_label":
        return expected_calibration_error(shares[chosen], targets[chosen])
    return expected_calibration_error(shares.ravel(), targets.ravel())
