"""Gives the verdict on what artifacts did, here or on a device. No torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtime.bundle import LABELS, Bundle
from runtime.classify import TextClassifier
from runtime.decisions import decisions
from runtime.embed import TextEmbedder
from runtime.golden import VALIDATION, Golden
from runtime.manifest import ArtifactSpec, TaskSpec, Verdict
from runtime.parity import vectors
from runtime.parity.agreement import Agreement, LabelFlips, agreement, texts_note
from runtime.parity.evidence import Evidence
from runtime.parity.gates import REQUIRED, REQUIRED_IF_KNOWN, Check, check_all, verdict_of
from runtime.parity.metrics import (
    one_hot,
    task_metric,
    task_metric_name,
    tensor_figures,
)
from runtime.parity.reference_gate import doubts_about_reference
from runtime.parity.run import Progress, run_artifact, session_settings
from runtime.side_by_side import Running, run_side_by_side
from runtime.tokenizer import TextTokenizer

Gate = dict[str, dict[str, float]]
# Cases that also go the whole way from text to label.
_END_TO_END = 32


@dataclass(frozen=True, slots=True)
class GateSpec:
    """Limits of one artifact, architecture → figure → limit, and the values once observed."""

    limits: Gate
    observed: Gate


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """What was found for one artifact on one machine.

    Attributes:
        checks: each figure against its limit; empty where it could not be judged.
        figures: every figure, gated or not.
        per_label: flips with their bounds, label by label; one entry for a single-label task.
        doubts: reasons of its own why a pass would mean nothing.
        not_measured: gated figures that this machine did not give.
        evidence: logits, machine, runtime.
    """

    path: str
    recipe: str
    verdict: Verdict
    checks: tuple[Check, ...]
    figures: dict[str, float]
    per_label: tuple[LabelFlips, ...]
    doubts: tuple[str, ...]
    not_measured: tuple[str, ...]
    evidence: Evidence
    gate: GateSpec

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """The artifact's own, float32 [rows that ran, labels]."""
        return self.evidence.logits

    @property
    def environment(self) -> dict[str, str]:
        """Runtime, version, threads and the like."""
        return self.evidence.environment

    @property
    def lengths(self) -> dict[int, int]:
        """Sequence length → cases that ran at it; empty where any length runs."""
        return self.evidence.lengths


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The verdict on a bundle: the worst of its artifacts'.

    Attributes:
        metric: name of the task metric.
        reference_metric: the reference's own on the validation texts.
        reference_doubts: reasons why agreeing with the reference would mean nothing.
        cases: golden set → cases in it.
        wrong_ids: names of cases whose text did not become the golden ids.
        contradictions: files of the bundle that say other than its manifest; an app reads them.
        artifacts: one report per artifact and machine.
    """

    verdict: Verdict
    metric: str
    reference_metric: float
    reference_doubts: tuple[str, ...]
    cases: dict[str, int]
    wrong_ids: tuple[str, ...]
    contradictions: tuple[str, ...]
    artifacts: tuple[ArtifactReport, ...]


def worst(verdicts: list[Verdict]) -> Verdict:
    """Fail before unknown before pass; nothing at all is unknown."""
    if "fail" in verdicts:
        return "fail"
    return "unknown" if "unknown" in verdicts or not verdicts else "pass"


def judge(
    bundle: Bundle,
    golden: Golden,
    gates: dict[str, GateSpec],
    *,
    backend: str = "auto",
    compute_unit: str = "all",
    progress: Progress | None = None,
) -> ParityReport:
    """Run every artifact of a bundle on this machine and judge it.

    Args:
        bundle: its manifest needs no verdicts yet.
        golden: cases and reference logits.
        gates: artifact path → limits.
        backend: which of a format's runtimes, as in `runtime.sessions.base.SessionSettings`.
        compute_unit: the same.
        progress: called with (artifact path, cases done, cases in all); artifacts take turns, as
            several run at a time, see `runtime.side_by_side`.

    Returns:
        The report; a runtime that refuses an artifact is an error, not a verdict.

    Raises:
        UserError: a runtime is missing or refuses an artifact, or a gate has a hole.
    """
    settings = session_settings(bundle, backend=backend, compute_unit=compute_unit)

    def run(artifact: ArtifactSpec, running: Running) -> Evidence:
        def tell(path: str, done: int, total: int) -> None:
            running.check()
            if progress is not None:
                with running.lock:
                    progress(path, done, total)

        task = bundle.manifest.task
        reader = (TextEmbedder if task.gives_vectors else TextClassifier)(
            bundle, artifact, settings
        )
        # One session for all: a Core ML program of full size takes seconds until it runs fast.
        found = run_artifact(bundle, artifact, golden, settings, tell, session=reader.session)
        if isinstance(reader, TextEmbedder):
            wrong = _wrong_vectors(reader, golden, found)
        else:
            wrong = _wrong_labels(reader, task, golden, found)
        return replace(found, wrong_labels=wrong)

    evidence = run_side_by_side(bundle.manifest.artifacts, run)
    return judge_evidence(bundle, golden, gates, evidence)


def _wrong_labels(
    classifier: TextClassifier, task: TaskSpec, golden: Golden, found: Evidence
) -> tuple[str, ...]:
    """End to end, for some cases: text in, labels out, as an app's twin does it."""
    names = np.array(task.labels)
    chosen = decisions(found.logits, task)
    wrong = []
    for place in _some(found):
        case = golden.cases[found.rows[place]]
        if set(classifier.classify(case.text).labels) != set(names[chosen[place]].tolist()):
            wrong.append(case.name)
    return tuple(wrong)


def _wrong_vectors(embedder: TextEmbedder, golden: Golden, found: Evidence) -> tuple[str, ...]:
    """The same for vectors: text in, vector out."""
    wrong = []
    for place in _some(found):
        case = golden.cases[found.rows[place]]
        vector = embedder.embed(case.text).vector
        if not np.array_equal(vector, found.logits[place], equal_nan=True):
            wrong.append(case.name)
    return tuple(wrong)


def _some(found: Evidence) -> range:
    return range(0, len(found.rows), max(1, len(found.rows) // _END_TO_END))


def judge_evidence(
    bundle: Bundle, golden: Golden, gates: dict[str, GateSpec], evidence: Sequence[Evidence]
) -> ParityReport:
    """Judge what artifacts did, on whatever machines.

    Args:
        bundle: whose artifacts ran.
        golden: cases and reference logits.
        gates: artifact path → limits.
        evidence: one per artifact and machine.

    Raises:
        UserError: a gate has a hole, or evidence belongs to no artifact of the bundle.
    """
    task = bundle.manifest.task
    targets = one_hot([case.targets or () for case in golden.cases], len(task.labels))
    metric, doubts = _reference(golden, targets, task)
    tokenizer = TextTokenizer(
        bundle.file(bundle.manifest.tokenizer.file), bundle.manifest.tokenizer
    )
    # Text → ids is a layer of its own: a drifting tokenizer must not hide behind the logits.
    wrong_ids = tuple(
        case.name for case in golden.cases if tokenizer.ids(case.text) != list(case.input_ids)
    )
    contradictions = _contradictions(bundle, tokenizer)
    reports = []
    for found in evidence:
        artifact = bundle.artifact(found.artifact)
        report = _judge_one(bundle, golden, targets, gates[artifact.path], artifact, found)
        if wrong_ids or contradictions or found.wrong_ids or found.wrong_labels:
            report = replace(report, verdict="fail")
        elif doubts and report.verdict == "pass":
            report = replace(report, verdict="unknown")
        reports.append(report)
    return ParityReport(
        verdict=worst([report.verdict for report in reports]),
        metric=vectors.METRIC if task.gives_vectors else task_metric_name(task),
        reference_metric=metric,
        reference_doubts=doubts,
        cases=dict(Counter(case.set for case in golden.cases)),
        wrong_ids=wrong_ids,
        contradictions=contradictions,
        artifacts=tuple(reports),
    )


def _reference(
    golden: Golden, targets: npt.NDArray[np.bool_], task: TaskSpec
) -> tuple[float, tuple[str, ...]]:
    """The reference's own metric, and reasons why agreeing with it would mean nothing."""
    if task.gives_vectors:
        natural = golden.reference[vectors.unlike_natural(golden.cases)]
        doubts = vectors.doubts_about_vectors(natural)
        return (vectors.effective_rank(natural) if len(natural) else 0.0), doubts
    validation = golden.rows(VALIDATION)
    reference = golden.reference[validation]
    doubts = doubts_about_reference(reference, targets[validation], task)
    if not len(validation):
        return 0.0, doubts
    return task_metric(decisions(reference, task), targets[validation], task), doubts


def _agreement(
    golden: Golden, targets: npt.NDArray[np.bool_], task: TaskSpec, found: Evidence
) -> Agreement:
    rows = list(found.rows)
    cases = [golden.cases[row] for row in rows]
    if task.gives_vectors:
        return vectors.vector_agreement(golden.reference[rows], found.logits, cases)
    sets = tuple(case.set for case in cases)
    return agreement(golden.reference[rows], found.logits, sets, targets[rows], task)


def _judge_one(
    bundle: Bundle,
    golden: Golden,
    targets: npt.NDArray[np.bool_],
    gate: GateSpec,
    artifact: ArtifactSpec,
    found: Evidence,
) -> ArtifactReport:
    """One artifact on one machine, by its own figures alone."""
    task = bundle.manifest.task
    reference = golden.reference[list(found.rows)]
    sets = [golden.cases[row].set for row in found.rows]
    agreed = _agreement(golden, targets, task, found)
    figures = tensor_figures(reference, found.logits) | agreed.figures | found.measured
    doubts = _idle_lengths(artifact, found)
    checks: tuple[Check, ...] = ()
    missing: tuple[str, ...] = ()
    limits = gate.limits.get(found.machine.architecture)
    if limits is None:
        doubts.append(f"the recipe has no limits for {found.machine.architecture}")
    else:
        limits = _applicable(limits, artifact)
        notes = {
            "flip_rate_bound": texts_note(agreed, limits.get("flip_rate_bound", 0.0)),
            "metric_drop_bound": f"{sets.count(VALIDATION)} validation texts cannot tell",
        }
        missing = tuple(n for n in REQUIRED_IF_KNOWN if n in limits and n not in figures)
        if "boundary_flip_rate" in missing:
            doubts.append("no case is nearly undecided, where flips live")
        elif missing and artifact.gate != "pass":
            # The export's own gate measures all of them; without it nobody ever has.
            doubts.append(f"not measured: {', '.join(missing)}")
        if "graph_max_abs" in limits and artifact.path not in golden.effective:
            figures["graph_max_abs"] = math.nan  # leaving them out must not switch the check off
        required = vectors.REQUIRED if task.gives_vectors else REQUIRED
        checks = check_all(figures, limits, notes, required=required)
    return ArtifactReport(
        path=artifact.path,
        recipe=artifact.recipe,
        verdict=verdict_of(checks, tuple(doubts)),
        checks=checks,
        figures=figures,
        per_label=agreed.per_label,
        doubts=tuple(doubts),
        not_measured=missing,
        evidence=found,
        gate=gate,
    )


def _applicable(limits: dict[str, float], artifact: ArtifactSpec) -> dict[str, float]:
    """Limits without those for what this artifact does not have."""
    without = set()
    if len(artifact.outputs) == 1:  # logits alone, so there are no probabilities to judge
        without.add("probabilities_max_abs")
    if len(artifact.lengths or ()) < 2:
        without.add("bucket_rel")
    if all(weight.sha256 is None for weight in artifact.weights.stored):
        without.add("changed_weights")
    return {name: limit for name, limit in limits.items() if name not in without}


def _idle_lengths(artifact: ArtifactSpec, found: Evidence) -> list[str]:
    idle = [str(length) for length in artifact.lengths or () if not found.lengths.get(length)]
    return [f"no case has the sequence length {', '.join(idle)}"] if idle else []


def _contradictions(bundle: Bundle, tokenizer: TextTokenizer) -> tuple[str, ...]:
    """What labels.txt and vocab.txt say against the manifest and the tokenizer."""
    manifest = bundle.manifest
    expected = {} if manifest.task.gives_vectors else {LABELS: list(manifest.task.labels)}
    if manifest.tokenizer.vocab is not None:
        expected[manifest.tokenizer.vocab] = tokenizer.vocabulary()
    found = []
    for name, lines in expected.items():
        path = bundle.file(name)
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.read_bytes() != "".join(f"{line}\n" for line in lines).encode("utf-8"):
            found.append(f"{name} does not hold the {len(lines)} lines that it should")
    return tuple(found)
