"""The gate as two functions, for scripts and for other people's tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.errors import UserError
from runtime.golden import UNLABELLED, VALIDATION, Golden, read_golden
from runtime.manifest import TaskSpec
from runtime.parity.agreement import agreement
from runtime.parity.document import read_gates
from runtime.parity.judge import GateSpec, ParityReport, judge, judge_evidence
from runtime.parity.metrics import one_hot, tensor_figures
from runtime.parity.results import read_results
from runtime.parity.run import Progress


def gate(
    bundle: Path | str,
    artifact: str | None = None,
    *,
    results: Path | str | None = None,
    backend: str = "auto",
    compute_unit: str = "all",
    progress: Progress | None = None,
) -> ParityReport:
    """Judge a bundle by the limits that it carries.

    Args:
        bundle: its folder; every hash is verified first.
        artifact: file name, format or recipe of one artifact; None judges all of them.
        results: what a device wrote (RESULTS.json); None runs the artifacts on this machine.
        backend: which of a format's runtimes, such as ``apple`` or ``reference`` for Core ML.
        compute_unit: for Apple's runtime.
        progress: called with (artifact path, cases done, cases in all), for several artifacts at a
            time and from several threads, one call after the other.

    Returns:
        The report. Its `verdict` is ``pass``, ``fail`` or ``unknown``; only the first is green.

    Raises:
        UserError: the bundle or the results are damaged, or a runtime is missing.
    """
    opened, golden, gates = open_judged(Path(bundle))
    opened = one_of(opened, artifact)
    if results is None:
        return judge(
            opened, golden, gates, backend=backend, compute_unit=compute_unit, progress=progress
        )
    return judge_evidence(opened, golden, gates, read_results(Path(results), opened, golden))


def one_of(bundle: Bundle, artifact: str | None) -> Bundle:
    """The bundle as if it held only this artifact; None leaves it whole.

    Raises:
        BundleError: no artifact, or more than one, has that name.
    """
    if artifact is None:
        return bundle
    chosen = (bundle.artifact(artifact),)
    return Bundle(bundle.path, replace(bundle.manifest, artifacts=chosen))


def open_judged(path: Path) -> tuple[Bundle, Golden, dict[str, GateSpec]]:
    """A bundle with its golden cases and limits, verified.

    Raises:
        UserError: something is missing, changed or does not belong together.
    """
    bundle = open_bundle(path)
    golden = read_golden(bundle.file(GOLDEN))
    gates = read_gates(bundle.file(PARITY))
    for spec in bundle.manifest.artifacts:
        if spec.path not in gates:
            raise UserError(f"{PARITY} has no limits for {spec.path}", todo="export it again")
    return bundle, golden, gates


def compare(
    reference: npt.ArrayLike,
    artifact: npt.ArrayLike,
    *,
    targets: Sequence[int | Sequence[int]] | None = None,
    thresholds: Sequence[float] | None = None,
) -> dict[str, float]:
    """Every figure that two arrays of logits give; judges nothing.

    Args:
        reference: finite float [texts, labels].
        artifact: the same shape; may hold NaN or infinity.
        targets: per text the index of its true label, or several; None leaves out the task metric
            and calibration.
        thresholds: per label the probability from which a text gets it (multi-label, sigmoid);
            None takes the largest logit (single-label, softmax).

    Returns:
        Figure → value, named as in `runtime.parity.gates.FIGURES`.

    Raises:
        UserError: the shapes do not fit together, or the reference is not finite.
    """
    before = np.asarray(reference, dtype=np.float32)
    after = np.asarray(artifact, dtype=np.float32)
    if before.ndim != 2 or 0 in before.shape or before.shape != after.shape:
        raise UserError(
            f"the reference has the shape {before.shape}, the artifact {after.shape}",
            why="both must be [texts, labels], with at least one of each",
        )
    if not np.isfinite(before).all():
        raise UserError("the reference holds NaN or infinity", why="nothing can agree with that")
    texts, labels = before.shape
    task = TaskSpec(
        kind="single_label" if thresholds is None else "multi_label",
        activation="softmax" if thresholds is None else "sigmoid",
        labels=tuple(str(index) for index in range(labels)),
        thresholds=None if thresholds is None else tuple(thresholds),
    )
    if thresholds is not None and len(thresholds) != labels:
        raise UserError(f"there are {len(thresholds)} thresholds and {labels} labels")
    truth = np.zeros(before.shape, dtype=np.bool_)
    if targets is not None:
        if len(targets) != texts:
            raise UserError(f"there are {len(targets)} targets and {texts} texts")
        rows = [np.atleast_1d(np.asarray(t, dtype=np.int64)) for t in targets]
        if any(((row < 0) | (row >= labels)).any() for row in rows):
            raise UserError(f"targets are indices of labels, 0 to {labels - 1}")
        truth = one_hot([tuple(row.tolist()) for row in rows], labels)
    sets = (UNLABELLED if targets is None else VALIDATION,) * texts
    found = agreement(before, after, sets, truth, task).figures
    kept = {name: value for name, value in found.items() if not name.endswith(("_lower", "_floor"))}
    if targets is None:
        kept = {n: v for n, v in kept.items() if not n.startswith(("metric", "ece"))}
    return tensor_figures(before, after) | kept
