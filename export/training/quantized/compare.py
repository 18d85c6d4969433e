"""A model before, rounded without training, and tuned: scores on the same texts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.training.evaluation import as_matrix
from export.training.metrics import main_metric, metrics_of_logits
from runtime.parity.statistics import accuracy_drop_bounds, f1_drop_bounds

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Drop:
    """A score beside that of the float model before tuning.

    Attributes:
        score: the main metric.
        low, high: bounds on the true loss of it against the float model, each one-sided 95%,
            paired on the same texts; below 0 is a gain.
        flips: share of texts that get another answer than from the float model; multi-label: of
            decisions.
    """

    score: float
    low: float
    high: float
    flips: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of one split.

    Attributes:
        split: which one.
        texts: how many.
        metric: name of the main metric.
        before: its value for the float checkpoint that tuning started from.
        rounded: that checkpoint's weights rounded as the recipe says, without tuning.
        tuned: the tuned weights, with the runtime's arithmetic.
        artifact_flips: share of answers that the runtime's arithmetic changes in the tuned
            checkpoint: about what the parity gate will count.
    """

    split: str
    texts: int
    metric: str
    before: float
    rounded: Drop
    tuned: Drop
    artifact_flips: float

    def to_json(self) -> dict[str, Any]:
        """For training.json."""
        return asdict(self)


def compare(
    split: str,
    targets: npt.NDArray[Any],
    *,
    before: Floats,
    rounded: Floats,
    tuned: Floats,
    settled: Floats,
    multi_label: bool,
    seed: int,
) -> Comparison:
    """Score four sets of logits [texts, labels] of the same texts.

    Args:
        split: for the record.
        targets: label indices [texts], or 0/1 [texts, labels].
        before: of the float checkpoint.
        rounded: of the same, rounded.
        tuned: of the tuned weights in the runtime's arithmetic.
        settled: of the tuned weights with float activations.
        multi_label: which of the two.
        seed: of the bootstrap behind multi-label's bounds.
    """
    name = main_metric(multi_label=multi_label)
    truth = as_matrix(targets, before.shape[1], multi_label=multi_label)

    def score(logits: Floats) -> float:
        return metrics_of_logits(logits, targets, multi_label=multi_label)[name]

    def chosen(logits: Floats) -> npt.NDArray[np.bool_]:
        if multi_label:
            return np.asarray(logits >= 0.0)
        return as_matrix(logits.argmax(axis=1), logits.shape[1], multi_label=False)

    def drop(logits: Floats) -> Drop:
        own, theirs = chosen(before), chosen(logits)
        if multi_label:
            low, high, _ = f1_drop_bounds(own, theirs, truth, seed=seed)
        else:
            was, is_now = ((c & truth).any(axis=1) for c in (own, theirs))
            losses, gains = int((was & ~is_now).sum()), int((is_now & ~was).sum())
            low, high = accuracy_drop_bounds(losses, gains, len(truth))
        return Drop(score(logits), low, high, flips(own, theirs))

    def flips(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
        odd = one != other
        return float(odd.mean() if multi_label else odd.any(axis=1).mean())

    return Comparison(
        split=split,
        texts=len(truth),
        metric=name,
        before=score(before),
        rounded=drop(rounded),
        tuned=drop(tuned),
        artifact_flips=flips(chosen(settled), chosen(tuned)),
    )
