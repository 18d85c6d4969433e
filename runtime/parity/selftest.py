"""Proves on a bundle that its gate can fail: plants faults in its artifacts and judges each.

A fault is planted by editing a copy of the artifact's file. The copy runs on the same texts,
through the same runtime and the same gate as the sound artifact. The sound artifact, read and
written by the same editor, is the control: where it does not pass, nothing is claimed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from runtime.bundle import LABELS, Bundle
from runtime.errors import MissingExtraError, UserError
from runtime.faults import read_artifact
from runtime.faults.bundle_faults import BUNDLE_FAULTS, BundleFault
from runtime.faults.catalogue import FAULTS, Context, Fault
from runtime.faults.graph import NotApplicable
from runtime.golden import AWKWARD, BOUNDARY, UNLABELLED, VALIDATION, Golden
from runtime.manifest import ArtifactSpec
from runtime.parity.evidence import Evidence, Logits
from runtime.parity.gates import FIGURES
from runtime.parity.judge import ArtifactReport, GateSpec, ParityReport, judge_evidence
from runtime.parity.metrics import root_mean_square
from runtime.parity.run import run_artifact, session_settings

Status = Literal["caught", "refused", "missed", "below", "not applicable", "error"]
Progress = Callable[[int, int], None]

# Cases of each set for the quick run: enough for the control to pass and for a fault to show.
_QUICK = {VALIDATION: 16, UNLABELLED: 4, BOUNDARY: 8, AWKWARD: 8}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one fault in one artifact.

    Attributes:
        fault: its name.
        summary: what it does.
        artifact: path in the bundle.
        status: ``caught`` by a failed check, ``refused`` by the runtime; ``missed``; ``below``
            where it moves the logits less than the sound artifact's own error, so that no figure
            on logits can tell; ``not applicable``; ``error`` where it could not be judged.
        by: figures whose check failed.
        effect: largest change of a logit against the control, in logits; NaN where unknown.
        own_error: the control's largest difference from the reference, in logits.
        note: why it is not applicable, was refused or could not be judged.
    """

    fault: str
    summary: str
    artifact: str
    status: Status
    by: tuple[str, ...] = ()
    effect: float = np.nan
    own_error: float = np.nan
    note: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """The sound artifact, read and written by the editor.

    Attributes:
        trouble: why nothing can be claimed of it; empty where it passes.
        evidence: what it did; None where it does not pass.
    """

    artifact: str
    rows: tuple[int, ...]
    trouble: str
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Every fault in every artifact."""

    controls: tuple[Control, ...]
    outcomes: tuple[Outcome, ...]

    def count(self, *statuses: Status) -> int:
        """Outcomes with one of these."""
        return sum(outcome.status in statuses for outcome in self.outcomes)

    @property
    def verdict(self) -> Literal["pass", "fail", "unknown"]:
        """``fail`` where a fault slipped through, ``unknown`` where one could not be judged."""
        if self.count("missed"):
            return "fail"
        unclear = any(control.trouble for control in self.controls) or self.count("error")
        return "unknown" if unclear or not self.count("caught", "refused") else "pass"


def selftest(
    bundle: Bundle,
    golden: Golden,
    gates: dict[str, GateSpec],
    *,
    fault: str | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> SelfTest:
    """Plant every fault in every artifact of a bundle and judge the copies.

    Args:
        bundle: whose artifacts are copied; it is not changed.
        golden: cases and reference logits.
        gates: artifact path → limits.
        fault: only this one; None plants all.
        full: run every case; without it a spread of them, and all where the control needs it.
        progress: called with (faults judged, faults in all).

    Raises:
        UserError: there is no such fault, or a gate has a hole.
        MissingExtraError: a package that editing needs is not installed.
    """
    graph_faults = [f for f in FAULTS if fault in (None, f.name)]
    bundle_faults = [f for f in BUNDLE_FAULTS if fault in (None, f.name)]
    if not graph_faults and not bundle_faults:
        known = ", ".join([*(f.name for f in FAULTS), *(f.name for f in BUNDLE_FAULTS)])
        raise UserError(f"there is no fault {fault!r}", todo=f"name one of: {known}")
    artifacts = bundle.manifest.artifacts
    total = len(graph_faults) * len(artifacts) + len(bundle_faults)
    controls, outcomes = [], []
    for artifact in artifacts:
        bench = _Bench(bundle, golden, gates, artifact)
        control = bench.control(full=full)
        controls.append(control)
        if control.evidence is None:
            continue
        for each in graph_faults:
            outcomes.append(bench.outcome(each, control.evidence))
            if progress is not None:
                progress(len(outcomes), total)
    sound = next((c.evidence for c in controls if c.evidence is not None), None)
    if sound is not None:
        outcomes += [_bundle_outcome(bundle, golden, gates, f, sound) for f in bundle_faults]
    return SelfTest(tuple(controls), tuple(outcomes))


def quick_rows(golden: Golden, artifact: ArtifactSpec) -> tuple[int, ...]:
    """Cases for the quick run: a spread of each set, and one for each length of the artifact.

    Those whose logits with the artifact's own weights are known come first: only they can tell a
    wrong graph.
    """
    effective = golden.effective.get(artifact.path)
    known = set(effective.rows) if effective else set()
    chosen: set[int] = set()
    for name, most in _QUICK.items():
        rows = [int(row) for row in golden.rows(name)]
        usual = [row for row in rows if row in known] or rows
        chosen.update(usual[:: max(1, -(-len(usual) // most))])
    before = 0
    for length in artifact.lengths or ():
        sizes = [len(case.input_ids) for case in golden.cases]
        fitting = [row for row, size in enumerate(sizes) if before < size <= length]
        chosen.update(fitting[:2])
        before = length
    return tuple(sorted(chosen))


class _Bench:
    """Makes damaged copies of one artifact and judges them."""

    def __init__(
        self,
        bundle: Bundle,
        golden: Golden,
        gates: dict[str, GateSpec],
        artifact: ArtifactSpec,
    ) -> None:
        self._bundle, self._golden, self._gates = bundle, golden, gates
        self._artifact = artifact
        self._context = Context(golden, bundle.manifest.task)

    def control(self, *, full: bool) -> Control:
        """The sound artifact, on few cases if it passes on them, else on all."""
        everything = tuple(range(len(self._golden.cases)))
        rows = everything if full else quick_rows(self._golden, self._artifact)
        path = self._artifact.path
        try:
            report, evidence = self._judge(None, rows)
            trouble = _trouble(report, full=rows == everything)
            if trouble and rows != everything:
                rows = everything
                report, evidence = self._judge(None, rows)
                trouble = _trouble(report, full=True)
        except MissingExtraError:
            raise
        except UserError as error:
            return Control(path, rows, str(error))
        return Control(path, rows, trouble, None if trouble else evidence)

    def outcome(self, fault: Fault, sound: Evidence) -> Outcome:
        """Plant one fault and judge it on the same rows as the sound artifact."""
        rows = sound.rows
        empty = Outcome(fault.name, fault.summary, self._artifact.path, "error")
        try:
            report, evidence = self._judge(fault, rows)
        except NotApplicable as reason:
            return replace(empty, status="not applicable", note=str(reason))
        except MissingExtraError:
            raise
        except UserError as error:
            status: Status = "refused" if fault.refusable else "error"
            return replace(empty, status=status, note=error.why or error.what)
        error_of_control = self._golden.reference[list(rows)] - sound.logits
        effect = evidence.logits - sound.logits
        found = replace(
            empty,
            effect=_largest(effect),
            own_error=_largest(error_of_control),
            by=tuple(c.figure for c in report.artifacts[0].checks if c.verdict == "fail"),
        )
        if report.artifacts[0].verdict == "fail":
            return replace(found, status="caught")
        scale = root_mean_square(self._golden.reference)
        quiet = _below(effect, error_of_control) and _as_before(
            evidence.measured, sound.measured, _largest(error_of_control) / scale
        )
        return replace(found, status="below" if quiet else "missed")

    def _judge(self, fault: Fault | None, rows: Sequence[int]) -> tuple[ParityReport, Evidence]:
        """The copy of the artifact, with a fault or as it is, run and judged."""
        artifact = read_artifact(self._bundle.file(self._artifact.path), self._artifact)
        if fault is not None:
            for graph in artifact.graphs:
                fault.plant(graph, self._context)
        with tempfile.TemporaryDirectory(prefix="selftest-") as folder:
            copy = _small_copy(self._bundle, self._artifact, Path(folder))
            artifact.save(copy.path / self._artifact.path)
            # Numbers that are not finite are what some faults are about.
            with np.errstate(all="ignore"):
                evidence = run_artifact(
                    copy, self._artifact, self._golden, session_settings(copy), rows=rows
                )
                report = judge_evidence(copy, self._golden, self._gates, [evidence])
        return report, evidence


def _bundle_outcome(
    bundle: Bundle,
    golden: Golden,
    gates: dict[str, GateSpec],
    fault: BundleFault,
    sound: Evidence,
) -> Outcome:
    """A fault beside the model: a sound artifact's logits are judged once more."""
    empty = Outcome(fault.name, fault.summary, fault.file, "error")
    artifact = bundle.artifact(sound.artifact)
    with tempfile.TemporaryDirectory(prefix="selftest-") as folder:
        copy = _small_copy(bundle, artifact, Path(folder))
        try:
            damaged = fault.plant(copy, golden)
            report = judge_evidence(damaged, golden, gates, [sound])
        except NotApplicable as reason:
            return replace(empty, status="not applicable", note=str(reason))
        except UserError as error:
            return replace(empty, status="refused", note=error.why or error.what)
    if report.verdict != "fail":
        return replace(empty, status="missed")
    found = [check.figure for check in report.artifacts[0].checks if check.verdict == "fail"]
    if report.wrong_ids:
        found.append("wrong_ids")
    if report.contradictions:
        found.append("contradictions")
    return replace(empty, status="caught", by=tuple(found))


def _small_copy(bundle: Bundle, artifact: ArtifactSpec, folder: Path) -> Bundle:
    """A folder with all that judging one artifact needs, but for the artifact itself."""
    tokenizer = bundle.manifest.tokenizer
    for name in filter(None, (tokenizer.file, tokenizer.vocab, LABELS)):
        if (source := bundle.file(name)).is_file():
            shutil.copyfile(source, folder / name)
    (folder / artifact.path).parent.mkdir(parents=True, exist_ok=True)
    return Bundle(folder, replace(bundle.manifest, artifacts=(artifact,)))


def _trouble(report: ParityReport, *, full: bool) -> str:
    """Why a control's report is no ground to stand on; empty where it is.

    On few cases a bound stays open, which is no fault of the artifact.
    """
    artifact: ArtifactReport = report.artifacts[0]
    if report.reference_doubts:
        return report.reference_doubts[0]
    if artifact.doubts:
        return artifact.doubts[0]
    for check in artifact.checks:
        bound = check.figure in FIGURES and FIGURES[check.figure].estimate
        if check.verdict == "fail" or (check.verdict == "unknown" and (full or not bound)):
            return f"{check.figure} is {check.value:.4g}, and the limit {check.limit:g}"
    return "its texts become other ids" if report.wrong_ids else ""


def _as_before(found: dict[str, float], sound: dict[str, float], own_error: float) -> bool:
    """Whether what the machine measured besides logits gives the fault away.

    Args:
        found: the damaged copy's figures.
        sound: the control's.
        own_error: the control's largest difference from the reference, over the reference's root
            mean square: a text may move by that from one way of running it to another.
    """
    room = {name: own_error if name.endswith("_rel") else abs(sound[name]) for name in sound}
    return all(found.get(name, np.inf) <= sound[name] + room[name] for name in sound)


def _largest(difference: Logits) -> float:
    return float(np.abs(difference).max())


def _below(effect: Logits, error: Logits) -> bool:
    """Whether a fault moves the logits less than the artifact errs anyway, at most and on average.

    An effect that is not finite is not below anything.
    """
    sizes = [np.sqrt(np.square(x.astype(np.float64)).mean()) for x in (effect, error)]
    return bool(_largest(effect) <= _largest(error) and sizes[0] <= sizes[1])
