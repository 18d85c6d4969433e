"""What the plots draw: an artifact's logits beside the reference's, for the cases that ran."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.golden import AWKWARD, SETS, Golden, GoldenCase
from runtime.manifest import TaskSpec
from runtime.parity.judge import ArtifactReport
from runtime.parity.metrics import flips
from runtime.parity.vectors import vector_agreement

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

# Pixels between two points that can be told apart.
_DOT = 1.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One artifact on one machine against the reference.

    A decision is a text for a single-label task and a (text, label) pair for a multi-label one. Of
    sentence vectors it is a text's nearest neighbour, and margins are in cosines.

    Attributes:
        cases: those that ran.
        sets: index into `runtime.golden.SETS` of each case, int64 [cases].
        reference, logits: float64 [cases, labels].
        errors: absolute differences, float64 [cases, labels]; NaN where a logit is not finite.
        margins: of the reference's decisions, in logits, float64 [cases, decisions].
        decision_errors: largest error of a logit that the decision depends on, same shape.
        flips: decisions that differ or rest on a logit that is not finite, bool, same shape.
        large: those of them where the reference was sure.
        reach: a flip needs an error of at least this share of the margin: both of the two highest
            logits can move, while a threshold stays.
    """

    cases: tuple[GoldenCase, ...]
    sets: Indices
    reference: Floats
    logits: Floats
    errors: Floats
    margins: Floats
    decision_errors: Floats
    flips: Flags
    large: Flags
    reach: float


def compare(artifact: ArtifactReport, golden: Golden, task: TaskSpec) -> Comparison:
    """Put an artifact's logits beside the reference's."""
    rows = np.asarray(artifact.evidence.rows, dtype=np.int64)
    cases = tuple(golden.cases[row] for row in rows)
    reference = golden.reference[rows].astype(np.float64)
    logits = artifact.evidence.logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.where(np.isfinite(logits), np.abs(logits - reference), np.nan)
    if task.gives_vectors:
        found = vector_agreement(golden.reference[rows], artifact.evidence.logits, cases).flips
    else:
        found = flips(golden.reference[rows], artifact.evidence.logits, task)
    single = task.kind != "multi_label"
    return Comparison(
        cases=cases,
        sets=np.array([set_index(case.set) for case in cases], dtype=np.int64),
        reference=reference,
        logits=logits,
        errors=errors,
        margins=found.margin,
        # max and not nanmax: a text with a broken logit has no error.
        decision_errors=errors.max(axis=1, keepdims=True) if single else errors,
        flips=found.flipped,
        large=found.large,
        reach=0.5 if single else 1.0,
    )


def set_index(name: str) -> int:
    """Place of a set among `SETS`; one that is not known counts as awkward."""
    return SETS.index(name if name in SETS else AWKWARD)


def thin(x: Floats, y: Floats, keep: Flags, budget: int) -> tuple[Indices, bool]:
    """Which points to draw: one per cell of a grid, as fine as `budget` allows, and all of `keep`.

    Points of one cell hide each other anyway, so the picture stays what it was; the same points
    give the same choice.

    Args:
        x: in pixels, float64 [points].
        y: the same.
        keep: points that must be drawn, bool [points].
        budget: how many of the others at most.

    Returns:
        Ascending indices, int64; and whether points are missing that could be told apart.
    """
    left = np.arange(len(x))
    cell = 0.5
    while True:
        columns = np.floor(x[left] / cell).astype(np.int64)
        cells = np.floor(y[left] / cell).astype(np.int64) * 1_000_000 + columns
        left = left[np.unique(cells, return_index=True)[1]]
        if len(left) <= budget:
            return np.union1d(left, np.flatnonzero(keep)), cell > _DOT
        cell *= 1.25
