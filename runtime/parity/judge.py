"""Runs every artifact of a bundle over the golden cases and gives the verdict. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.decisions import decisions
from runtime.golden import VALIDATION, Golden
from runtime.manifest import TaskSpec, Verdict
from runtime.parity.gates import Check, check_all, verdict_of
from runtime.parity.metrics import (
    decision_figures,
    one_hot,
    root_mean_square,
    task_metric,
    task_metric_name,
    tensor_figures,
)
from runtime.parity.reference_gate import doubts_about_reference
from runtime.parity.run import Progress, run_artifact, split_figures
from runtime.processor import architecture, features
from runtime.sessions.base import SessionSettings
from runtime.tokenizer import TextTokenizer

Gate = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class GateSpec:
    """Limits of one artifact, architecture → figure → limit, and the values once observed."""

    limits: Gate
    observed: Gate


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """What was found for one artifact.

    Attributes:
        checks: each figure against its limit; empty where it could not be judged.
        figures: every figure, gated or not.
        doubts: reasons of its own why a pass would mean nothing.
        lengths: sequence length → cases that ran at it; empty where any length runs.
        environment: runtime, version, processor.
        logits: the artifact's own, float32 [cases, labels].
    """

    path: str
    recipe: str
    verdict: Verdict
    checks: tuple[Check, ...]
    figures: dict[str, float]
    doubts: tuple[str, ...]
    lengths: dict[int, int]
    environment: dict[str, str]
    gate: GateSpec
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The verdict on a bundle: the worst of its artifacts'.

    Attributes:
        metric: name of the task metric.
        reference_metric: the reference's own on the validation texts.
        reference_doubts: reasons why agreeing with the reference would mean nothing.
        processor: instruction sets that int8 results depend on.
        wrong_ids: names of cases whose text did not become the golden ids.
    """

    verdict: Verdict
    metric: str
    reference_metric: float
    reference_doubts: tuple[str, ...]
    validation_cases: int
    awkward_cases: int
    processor: tuple[str, ...]
    wrong_ids: tuple[str, ...]
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
    """Judge every artifact of a bundle.

    Args:
        bundle: its manifest needs no verdicts yet.
        golden: cases and reference logits.
        gates: artifact path → limits.
        backend: which of a format's runtimes, as in `runtime.sessions.base.SessionSettings`.
        compute_unit: the same.
        progress: called with (artifact path, cases done, cases in all).

    Returns:
        The report; a runtime that refuses an artifact is an error, not a verdict.

    Raises:
        UserError: a runtime is missing or refuses an artifact, or a gate has a hole.
    """
    task = bundle.manifest.task
    validation = golden.rows(VALIDATION)
    targets = one_hot([golden.cases[i].targets or () for i in validation], len(task.labels))
    doubts = doubts_about_reference(golden.reference[validation], targets, task)
    wrong_ids = _wrong_ids(bundle, golden)
    reference_metric = _metric(golden.reference, validation, targets, task)
    tokenizer = bundle.manifest.tokenizer
    settings = SessionSettings(
        threads=1,
        pad_id=tokenizer.pad_id,
        vocab_size=tokenizer.vocab_size,
        backend=backend,
        compute_unit=compute_unit,
    )
    reports = []
    for artifact in bundle.manifest.artifacts:
        run = run_artifact(bundle, artifact, golden, settings, progress)
        logits, lengths = run.logits, run.lengths
        figures = tensor_figures(golden.reference, logits)
        figures |= _decision_figures(golden.reference, logits, validation, task)
        metric = _metric(logits, validation, targets, task)
        figures |= {
            "metric": metric,
            "metric_drop": reference_metric - metric,
            "padding_rel": run.padding_change / root_mean_square(golden.reference),
        }
        figures |= split_figures(run, golden, artifact.path)
        gate = gates[artifact.path]
        limits = gate.limits.get(architecture())
        unknown = []
        checks: tuple[Check, ...] = ()
        if limits is None:
            unknown.append(f"the recipe has no limits for {architecture()}")
        else:
            if len(artifact.outputs) == 1:  # logits alone, so there are no probabilities to judge
                limits = {k: v for k, v in limits.items() if k != "probabilities_max_abs"}
            if run.exact is None and artifact.path in golden.effective:
                unknown.append("this runtime cannot tell a wrong graph from coarse weights")
                limits = {name: limit for name, limit in limits.items() if name != "graph_max_abs"}
            checks = check_all(figures, limits)
        idle = [str(length) for length in artifact.lengths or () if not lengths.get(length)]
        if idle:
            unknown.append(f"no case has the sequence length {', '.join(idle)}")
        verdict = verdict_of(checks, (*doubts, *unknown))
        reports.append(
            ArtifactReport(
                path=artifact.path,
                recipe=artifact.recipe,
                verdict="fail" if wrong_ids else verdict,
                checks=checks,
                figures=figures,
                doubts=tuple(unknown),
                lengths=lengths,
                environment=run.environment,
                gate=gate,
                logits=logits,
            )
        )
    return ParityReport(
        verdict=worst([report.verdict for report in reports]),
        metric=task_metric_name(task),
        reference_metric=reference_metric,
        reference_doubts=doubts,
        validation_cases=len(validation),
        awkward_cases=len(golden.cases) - len(validation),
        processor=features(),
        wrong_ids=wrong_ids,
        artifacts=tuple(reports),
    )


def _decision_figures(
    reference: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32],
    validation: npt.NDArray[np.int64],
    task: TaskSpec,
) -> dict[str, float]:
    """Rates over the validation texts; flips where the reference was sure, over all texts.

    Awkward texts are no sample of anything, and the reference is undecided on many: their flips
    are counted, and fail the gate only at a large margin.
    """
    everywhere = decision_figures(reference, logits, task)
    usual = decision_figures(reference[validation], logits[validation], task)
    return usual | {
        "awkward_flips": everywhere["flips"] - usual["flips"],
        "large_margin_flips": everywhere["large_margin_flips"],
    }


def _metric(
    logits: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.bool_],
    task: TaskSpec,
) -> float:
    return task_metric(decisions(logits[rows], task), targets, task) if len(rows) else 0.0


def _wrong_ids(bundle: Bundle, golden: Golden) -> tuple[str, ...]:
    """Text → ids is a layer of its own: a drifting tokenizer must not hide behind the logits."""
    spec = bundle.manifest.tokenizer
    tokenizer = TextTokenizer(bundle.file(spec.file), spec)
    return tuple(
        case.name for case in golden.cases if tokenizer.ids(case.text) != list(case.input_ids)
    )
