"""Runs one artifact over the golden cases, as a device would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.decisions import probabilities
from runtime.golden import Golden, GoldenCase
from runtime.manifest import ArtifactSpec
from runtime.sessions import Session, open_session
from runtime.sessions.base import (
    ClassifierSession,
    ExactSession,
    Ids,
    SessionSettings,
    WeighingSession,
    pad_to,
)

Progress = Callable[[str, int, int], None]
Logits = npt.NDArray[np.float32]

_EVERY = 8
_EXTRA_PADDING = 16


@dataclass(frozen=True, slots=True)
class ArtifactRun:
    """One artifact over all cases.

    Attributes:
        logits: float32 [cases, labels].
        lengths: sequence length → cases that ran at it; empty where any length runs.
        padding_change: largest change of a logit when a sequence is padded further, in logits.
        exact: the logits in float32 arithmetic of the cases that have effective logits, float32
            [rows, labels]; None where the runtime cannot do that, or no case has them.
        changed_weights: weights whose values are not those that were exported; None where the
            session does not compare them.
        probabilities_change: largest difference between the artifact's own probabilities and the
            activation of its logits; infinite for other labels; None where it has none.
    """

    logits: Logits
    lengths: dict[int, int]
    padding_change: float
    exact: Logits | None
    probabilities_change: float | None
    changed_weights: int | None
    environment: dict[str, str]


def run_artifact(
    bundle: Bundle,
    artifact: ArtifactSpec,
    golden: Golden,
    settings: SessionSettings,
    progress: Progress | None,
) -> ArtifactRun:
    """Logits of every case, one at a time, at the length that a device would choose.

    Every eighth case runs again with more padding: an artifact that ignores its mask answers
    rightly until somebody pads.

    Raises:
        UserError: the runtime is missing or refuses the artifact.
    """
    spec = bundle.manifest.tokenizer
    session = open_session(bundle.file(artifact.path), artifact, settings)
    effective = golden.effective.get(artifact.path)
    rows = set(effective.rows) if effective and isinstance(session, ExactSession) else set()
    logits = np.empty_like(golden.reference)
    exact: list[Logits] = []
    lengths: Counter[int] = Counter()
    padding_change = 0.0
    probabilities_change: float | None = None
    for row, case in enumerate(golden.cases):
        input_ids, mask = _arrays(case)
        wide = min(len(case.input_ids) + _EXTRA_PADDING, spec.max_length)
        padded = pad_to(input_ids, wide, spec.pad_id), pad_to(mask, wide, 0)
        logits[row] = session.run(input_ids, mask)[0]
        if artifact.lengths is not None:
            lengths[min(n for n in artifact.lengths if n >= len(case.input_ids))] += 1
        # np.maximum and not max(): NaN must not be lost.
        if row % _EVERY == 0:
            again = session.run(*padded)
            change = np.abs(again[0] - logits[row]).max()
            padding_change = float(np.maximum(padding_change, change))
            change = _probabilities_change(session, bundle, padded, again)
            if change is not None:
                probabilities_change = float(np.maximum(probabilities_change or 0.0, change))
        if row in rows and isinstance(session, ExactSession):
            # Padded, so that a mask that is too weak is seen.
            exact.append(session.run_exact(*padded)[0])
        if progress is not None:
            progress(artifact.path, row + 1, len(golden.cases))
    return ArtifactRun(
        logits=logits,
        lengths=dict(sorted(lengths.items())),
        padding_change=padding_change,
        exact=np.array(exact, dtype=np.float32) if exact else None,
        probabilities_change=probabilities_change,
        changed_weights=_changed_weights(session, artifact),
        environment=session.environment,
    )


def split_figures(run: ArtifactRun, golden: Golden, path: str) -> dict[str, float]:
    """The error in three parts, in logits, and a classifier's probabilities, as far as known.

    Compression: PyTorch with the artifact's weights against PyTorch. Graph: the artifact in float32
    against PyTorch with the artifact's weights. Precision: the artifact as it runs against itself
    in float32.
    """
    figures = {}
    if run.changed_weights is not None:
        figures["changed_weights"] = float(run.changed_weights)
    if run.probabilities_change is not None:
        figures["probabilities_max_abs"] = run.probabilities_change
    if (effective := golden.effective.get(path)) is not None and run.exact is not None:
        rows = list(effective.rows)
        parts = {
            "compression_max_abs": effective.logits - golden.reference[rows],
            "graph_max_abs": run.exact - effective.logits,
            "precision_max_abs": run.logits[rows] - run.exact,
        }
        figures |= {name: float(np.abs(part).max()) for name, part in parts.items()}
    return figures


def _changed_weights(session: Session, artifact: ArtifactSpec) -> int | None:
    """Weights that differ from the manifest's; a row that no text reads would never show."""
    promised = {w.name: w.sha256 for w in artifact.weights.stored if w.sha256 is not None}
    if not promised or not isinstance(session, WeighingSession):
        return None
    found = session.weight_digests()
    return sum(found.get(name) != sha256 for name, sha256 in promised.items())


def _arrays(case: GoldenCase) -> tuple[Ids, Ids]:
    return (
        np.array([case.input_ids], dtype=np.int32),
        np.array([case.attention_mask], dtype=np.int32),
    )


def _probabilities_change(
    session: Session, bundle: Bundle, inputs: tuple[Ids, Ids], logits: Logits
) -> float | None:
    """Difference of a classifier's own probabilities from its logits' activation, for one text.

    Args:
        session: an artifact's.
        bundle: for the labels and the activation.
        inputs: ids and mask of the text, int32 [1, length].
        logits: what the session gives for them, float32 [1, labels].
    """
    answer = session.classify(*inputs) if isinstance(session, ClassifierSession) else None
    if answer is None:
        return None
    label, own = answer
    task = bundle.manifest.task
    if set(own) != set(task.labels) or own[label] < max(own.values()):
        return float("inf")
    expected = probabilities(logits, task)[0]
    found = np.array([own[name] for name in task.labels])
    return float(np.abs(found - expected).max())
