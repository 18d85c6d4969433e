"""Everything that is measured of logits against the truth, by scikit-learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.data.task import Kind
from export.training.figures import label_scores, multi_label_figures, single_label_figures
from runtime.decisions import decisions, probabilities
from runtime.errors import UserError
from runtime.manifest import TaskSpec
from runtime.parity.calibration import claims, expected_calibration_error, reliability

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# A matrix of more labels is neither read by a person nor worth its place in the record.
MOST_CONFUSION_LABELS = 200


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label, or one class, against all others.

    Attributes:
        label: its name.
        support: texts that have it.
        given: texts that the model gives it to.
        precision: None where it is never given.
        recall: None where no text has it.
        f1: None where it is never given and no text has it.
        roc_auc: None where no text has it or every text has it.
        average_precision: the area under precision over recall; None where no text has it.
        threshold: probability from which it is given, None for a single-label task.
    """

    label: str
    support: int
    given: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    average_precision: float | None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """Claims of one confidence: how many there were, and how many were true.

    Attributes:
        low, high: ends of the bin, closed on the right.
        count: claims in it.
        confidence: their mean; None for an empty bin.
        accuracy: the share of them that was true; None for an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model is worth on one split.

    Attributes:
        kind: single-label or multi-label.
        texts: how many were judged.
        figures: name → value, None where it is not defined. See `export.training.figures`.
        undefined: figure → why it is None, or which labels it had to leave out.
        per_label: in the order of the logits.
        confusion: single-label: [true][given] → texts; None for multi-label and for more than
            `MOST_CONFUSION_LABELS` labels.
        bins: reliability. Single-label: a text claims its most probable label. Multi-label: each
            pair of a text and a label claims the label, with its probability.
    """

    kind: Kind
    texts: int
    figures: dict[str, float | None]
    undefined: dict[str, str]
    per_label: tuple[LabelScores, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    bins: tuple[Bin, ...]

    @property
    def flat(self) -> dict[str, float]:
        """The figures that are defined."""
        return {name: value for name, value in self.figures.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """JSON-safe: every float is finite."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Evaluation:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: something else was handed over.
        """
        rows = value["confusion"]
        return cls(
            kind=value["kind"],
            texts=value["texts"],
            figures=dict(value["figures"]),
            undefined=dict(value["undefined"]),
            per_label=tuple(LabelScores(**row) for row in value["per_label"]),
            confusion=None if rows is None else tuple(tuple(row) for row in rows),
            bins=tuple(Bin(**row) for row in value["bins"]),
        )


def evaluate(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    labels: Sequence[str],
    *,
    multi_label: bool,
    thresholds: Sequence[float] | None = None,
) -> Evaluation:
    """Judge logits.

    Args:
        logits: [texts, labels], any float type; at least one text.
        targets: label indices [texts], or 0/1 [texts, labels] for multi-label.
        labels: names in the order of the logits' last axis.
        multi_label: which of the two.
        thresholds: multi-label: probability from which a label is given, one per label; 0.5 if
            absent.

    Raises:
        UserError: a logit is not finite, or there is no text.
    """
    z = np.asarray(logits, dtype=np.float64)
    if not len(z):
        raise UserError("there is no text to evaluate on")
    if not np.isfinite(z).all():
        rows = int(np.logical_not(np.isfinite(z).all(axis=1)).sum())
        raise UserError(
            f"the model's logits are not finite for {rows} of {len(z)} texts",
            why="its weights are broken or its arithmetic overflows",
            todo="train again with a tenth of the learning rate, or in float32",
        )
    task = _task(labels, thresholds, multi_label=multi_label)
    truth = as_matrix(targets, len(labels), multi_label=multi_label)
    chosen, p = decisions(z, task), probabilities(z, task)
    scores = label_scores(p, chosen, truth)
    given = task.thresholds or (None,) * len(labels)
    per_label = tuple(
        LabelScores(label=name, threshold=threshold, **score)
        for name, threshold, score in zip(labels, given, scores, strict=True)
    )
    figures, undefined = (multi_label_figures if multi_label else single_label_figures)(
        z, chosen, truth
    )
    claimed = claims(z, truth, task)
    figures["ece"] = expected_calibration_error(*claimed)
    for name in ("roc_auc", "average_precision"):
        figures[name], reason = _mean_over_labels(per_label, name)
        if reason:
            undefined[name] = reason
    return Evaluation(
        kind="multi_label" if multi_label else "single_label",
        texts=len(z),
        figures=figures,
        undefined=undefined,
        per_label=per_label,
        confusion=None if multi_label else _confusion(chosen, truth),
        bins=_bins(*claimed),
    )


def as_matrix(targets: npt.ArrayLike, labels: int, *, multi_label: bool) -> Bools:
    """Targets as the loss has them → bool [texts, labels].

    Args:
        targets: label indices [texts], or 0/1 [texts, labels] for multi-label.
        labels: how many there are.
        multi_label: which of the two.
    """
    given = np.asarray(targets)
    if multi_label:
        return given.astype(np.bool_).reshape(len(given), labels)
    matrix = np.zeros((len(given), labels), dtype=np.bool_)
    matrix[np.arange(len(given)), given.astype(np.int64)] = True
    return matrix


def _task(
    labels: Sequence[str], thresholds: Sequence[float] | None, *, multi_label: bool
) -> TaskSpec:
    names = tuple(labels)
    if not multi_label:
        return TaskSpec("single_label", "softmax", names)
    given = (0.5,) * len(names) if thresholds is None else tuple(map(float, thresholds))
    return TaskSpec("multi_label", "sigmoid", names, given)


def _mean_over_labels(rows: Sequence[LabelScores], name: str) -> tuple[float | None, str]:
    """The mean over the labels that have the figure, and which have not."""
    values = [getattr(row, name) for row in rows]
    found = [value for value in values if value is not None]
    without = [row.label for row, value in zip(rows, values, strict=True) if value is None]
    if not without:
        return float(np.mean(found)), ""
    others = f" and {len(without) - 1} more" if len(without) > 1 else ""
    reason = f"no text has, or every text has, the label {without[0]!r}{others}"
    if not found:
        return None, reason
    return float(np.mean(found)), f"mean over {len(found)} of {len(rows)} labels: {reason}"


def _confusion(chosen: Bools, truth: Bools) -> tuple[tuple[int, ...], ...] | None:
    from sklearn.metrics import confusion_matrix

    labels = truth.shape[1]
    if labels > MOST_CONFUSION_LABELS:
        return None
    # One label alone draws a warning.
    names = range(max(labels, 2))
    table = confusion_matrix(truth.argmax(axis=1), chosen.argmax(axis=1), labels=names)
    return tuple(tuple(row) for row in table[:labels, :labels].tolist())


def _bins(confidence: Floats, correct: Bools) -> tuple[Bin, ...]:
    table = reliability(confidence, correct)
    edges = table.edges.tolist()
    return tuple(
        Bin(low, high, count, *((mean, share) if count else (None, None)))
        for low, high, count, mean, share in zip(
            edges, edges[1:], table.counts.tolist(), table.confidence.tolist(),
            table.accuracy.tolist(), strict=False,
        )
    )  # fmt: skip
