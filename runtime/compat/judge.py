"""Right, or refused, or garbage: the gate's own limits on what an old runtime answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from runtime.bundle import Bundle
from runtime.compat.ask import Answer
from runtime.compat.runtimes import OldRuntime, lowest_claimed, version_key
from runtime.golden import Golden
from runtime.manifest import ArtifactSpec
from runtime.parity.evidence import Evidence, cases_per_length, this_machine
from runtime.parity.judge import GateSpec, judge_evidence

Outcome = Literal["right", "refused", "unjudged", "silent", "crashed", "garbage"]
# From harmless to harmful: of two outcomes of one release the later one counts.
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FAILURES = ("silent", "crashed", "garbage")


@dataclass(frozen=True, slots=True)
class Ran:
    """One artifact in one old runtime.

    Attributes:
        python: release of the interpreter.
        plain: whether the runtime's own kernels ran everything, without a delegate.
        outcome: ``right`` meets every limit of the gate; ``refused`` is a clean error, ``crashed``
            a dead process, ``silent`` one that was cut off; ``garbage`` ran and is outside the
            limits; ``unjudged`` could not be held against any.
        why: one line for all but ``right``.
        cases: how many were answered.
        figures: what the gate measures, for those.
        from_own: largest difference from the artifact's own logits in the bundle, over the
            reference's root mean square; None where nothing was answered.
    """

    artifact: str
    runtime: OldRuntime
    python: str
    plain: bool
    outcome: Outcome
    why: str
    cases: int
    figures: dict[str, float]
    from_own: float | None

    @property
    def where(self) -> str:
        """Such as ``ai-edge-litert 1.0.1 without a delegate``."""
        return self.runtime.name + (" without a delegate" if self.plain else "")


def judged(
    bundle: Bundle,
    golden: Golden,
    gates: dict[str, GateSpec],
    artifact: ArtifactSpec,
    runtime: OldRuntime,
    answer: Answer,
    *,
    python: str,
    plain: bool = False,
) -> Ran:
    """Hold an answer against the gate.

    A limit that the artifact's own logits miss on the same few texts is the texts' fault and not
    the runtime's; those on bounds, which need more texts than were run, do not count either.

    Args:
        bundle: whose artifact it is.
        golden: reference and own logits.
        gates: artifact path → limits.
        artifact: which ran.
        runtime: where.
        answer: what came back.
        python: release of the interpreter.
        plain: whether it ran without a delegate.
    """
    ran = Ran(
        artifact.path, runtime, python, plain, "unjudged", answer.why, len(answer.rows), {}, None
    )
    declined: dict[str, Outcome] = {
        "refused": "refused",
        "crashed": "crashed",
        "silent": "silent",
        "broken": "unjudged",
    }
    if not answer.rows:
        return replace(ran, outcome=declined.get(answer.ending, "unjudged"))
    evidence = Evidence(
        artifact=artifact.path,
        sha256=artifact.sha256,
        machine=this_machine(),
        environment=answer.environment,
        rows=answer.rows,
        logits=answer.logits,
        lengths=cases_per_length(artifact, golden, answer.rows),
    )
    rows = list(answer.rows)
    own = golden.artifacts.get(artifact.path)
    both = [evidence] if own is None else [evidence, replace(evidence, logits=own[rows])]
    report, *again = judge_evidence(bundle, golden, gates, both).artifacts
    excused = {check.figure for found in again for check in found.checks if not check.passed}
    broken = [c for c in report.checks if c.verdict == "fail" and c.figure not in excused]
    if own is not None:
        scale = float(np.sqrt(np.square(golden.reference.astype(np.float64)).mean()))
        ran = replace(ran, from_own=float(np.abs(answer.logits - own[rows]).max()) / scale)
    ran = replace(ran, figures=report.figures)
    if broken:
        worst = broken[0]
        why = f"{worst.figure} is {worst.value:.4g}, the limit {worst.limit:g}"
        return replace(ran, outcome="garbage", why="; ".join(filter(None, (why, answer.why))))
    if answer.ending != "answered":
        why = f"after {len(rows)} texts: {answer.why}"
        return replace(ran, outcome=declined[answer.ending], why=why)
    if not report.checks:
        return replace(ran, outcome="unjudged", why="; ".join(report.doubts))
    return replace(ran, outcome="right", why="")


def contradictions(artifacts: Sequence[ArtifactSpec], runs: Sequence[Ran]) -> tuple[str, ...]:
    """Releases that the manifest calls good enough, and that were run and were not right."""
    minimum = {artifact.path: artifact.minimum_runtime for artifact in artifacts}
    lines = []
    for ran in runs:
        claimed = lowest_claimed(minimum[ran.artifact], ran.runtime)
        promised = claimed is not None and version_key(ran.runtime.version) >= version_key(claimed)
        if promised and ran.outcome not in ("right", "unjudged"):
            lines.append(
                f"{ran.artifact}: the manifest promises {ran.runtime.claim} from {claimed} on, and "
                f"{ran.where} was {ran.outcome}"
            )
    return tuple(lines)


def lowest_right(outcomes: dict[str, Outcome]) -> str | None:
    """The release from which on every one that ran was right; None if the newest was not.

    Args:
        outcomes: version → outcome; those that could not be judged say nothing.
    """
    found = None
    for version in sorted(outcomes, key=version_key, reverse=True):
        if outcomes[version] == "unjudged":
            continue
        if outcomes[version] != "right":
            break
        found = version
    return found


def worst_of(runs: Sequence[Ran]) -> dict[tuple[str, str], dict[str, Outcome]]:
    """(artifact, package) → version → the worst that any way of running it gave."""
    found: dict[tuple[str, str], dict[str, Outcome]] = {}
    for ran in runs:
        versions = found.setdefault((ran.artifact, ran.runtime.package), {})
        before = versions.get(ran.runtime.version, OUTCOMES[0])
        versions[ran.runtime.version] = max(before, ran.outcome, key=OUTCOMES.index)
    return found
