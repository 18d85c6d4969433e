"""Where an artifact leaves the reference: the first block, then the first operation.

The artifact runs one text per sequence length with every tensor in sight. Each is held against the
trace that export stored (`runtime.trace`), in two ways where the session allows: exactly, with
every activation in float32 and against PyTorch with the artifact's own weights, which shows the
smallest fault of the graph; and as it runs, against PyTorch with its own weights, which shows all
that is above the recipe's rounding. One text at a time: what one text of a batch does to another is
for `runtime.parity.invariances`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.manifest import ArtifactSpec
from runtime.parity.bisect_blame import Blame, first_wrong
from runtime.parity.bisect_budgets import EXACT, Budgets, budgets_of
from runtime.parity.bisect_match import Aligned, align
from runtime.sessions import open_session
from runtime.sessions.base import (
    BucketSession,
    ExactTappingSession,
    Ids,
    Logits,
    Session,
    SessionSettings,
    TappingSession,
)
from runtime.sessions.taps import Tapped
from runtime.trace import ReferenceTrace, TraceCase, trace_of

# An error that is this share of one that left its budget came with it …
_GROWTH = 0.5
# … if it is this far above what sound artifacts have.
_MARGIN = 1.2
# An error of which this share was there before is not of this operation's making alone.
_SHARE = 0.3
# Nor is one that is not this far above what sound artifacts have.
_NEAR = 4.0
# An output and its first position have errors of one size.
_ALIKE = 5.0

BisectVerdict = Literal["sound", "found", "unknown"]


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far the output of one block is from the reference's.

    Attributes:
        layer: ``embeddings``, ``block 0`` … ``head``.
        point: the reference's name for it.
        tensor: the artifact's nearest tensor; empty if none resembles it.
        rel_rms: root mean square of the difference over that of the point, the worst of all
            lengths; infinite if none resembles it.
        budget: the most that a sound artifact may have.
    """

    layer: str
    point: str
    tensor: str
    rel_rms: float
    budget: float


@dataclass(frozen=True, slots=True)
class BisectReport:
    """What a bisection found.

    Attributes:
        artifact: path in the bundle.
        verdict: ``found``, ``sound`` if every tensor is within its budget, or ``unknown``.
        block: the first block with a wrong operation.
        op: that operation's name in the artifact; None where it cannot be told.
        kind: what it does, such as ``MatMul``.
        tensor: the wrong result.
        point: what the reference calls what it should be, if it resembles that.
        rel_rms: its distance from that point; infinite if it resembles none.
        budget: the most that it may be.
        others: operations that may be to blame instead of `op`.
        layers: per block.
        lengths: sequence lengths that were run.
        untapped_difference: largest change of a logit by looking inside, over the root mean square
            of the reference's logits.
        note: what a reader must know.
    """

    artifact: str
    verdict: BisectVerdict
    block: str | None
    op: str | None
    kind: str
    tensor: str
    point: str
    rel_rms: float
    budget: float
    others: tuple[str, ...]
    layers: tuple[LayerError, ...]
    lengths: tuple[int, ...]
    untapped_difference: float
    note: str


@dataclass(frozen=True, slots=True)
class _Run:
    """One case, looked into."""

    case: TraceCase
    aligned: Aligned
    blame: Blame | None
    untapped_difference: float


@dataclass(frozen=True, slots=True)
class _View:
    """One way to run an artifact.

    Attributes:
        cases: indices into the trace's.
        tap: the run with every tensor in sight.
        run: the run as a device has it.
        budgets: of the way.
        text: for the note.
    """

    cases: tuple[int, ...]
    tap: Callable[[Ids, Ids], Tapped]
    run: Callable[[Ids, Ids], Logits]
    budgets: Budgets
    text: str


def bisect(
    bundle: Bundle,
    artifact: ArtifactSpec,
    settings: SessionSettings,
    trace: ReferenceTrace | None = None,
) -> BisectReport:
    """Find the first block and operation of an artifact whose result leaves its budget.

    Args:
        bundle: it need not have been verified.
        artifact: which of its artifacts.
        settings: of the session.
        trace: the bundle's, if it was read already.

    Raises:
        UserError: the bundle has no trace, or the runtime is missing, refuses the artifact or
            cannot show what is inside.
    """
    trace = trace or trace_of(bundle)
    session = open_session(bundle.file(artifact.path), artifact, settings)
    if not isinstance(session, TappingSession):
        return _unknown(artifact, f"the runtime of {artifact.format} shows nothing of the inside")
    views = _views(session, artifact, trace)
    if not views:
        return _unknown(artifact, _why_not(artifact, trace))
    reports = []
    for view in views:
        runs = [_look(trace, view, i) for i in view.cases]
        reports.append(_report(artifact, trace, view, runs, _layers(trace, view, runs)))
        if reports[-1].verdict != "sound":
            break
    return reports[-1]


def layer_errors(
    bundle: Bundle,
    artifact: ArtifactSpec,
    settings: SessionSettings,
    trace: ReferenceTrace | None = None,
) -> tuple[LayerError, ...]:
    """How far each block's output is from PyTorch's, as the artifact runs.

    Returns:
        Empty for a runtime that shows nothing of the inside.

    Raises:
        UserError: as `bisect`.
    """
    trace = trace or trace_of(bundle)
    session = open_session(bundle.file(artifact.path), artifact, settings)
    if not isinstance(session, TappingSession):
        return ()
    budgets = budgets_of(artifact) or Budgets(math.inf, math.inf, math.inf, math.inf)
    view = _View(_cases(artifact, trace, ""), session.tap, _runner(session, artifact), budgets, "")
    return _layers(trace, view, [_look(trace, view, i) for i in view.cases])


def _views(session: TappingSession, artifact: ArtifactSpec, trace: ReferenceTrace) -> list[_View]:
    views = []
    own = _cases(artifact, trace, artifact.path)
    if own and isinstance(session, ExactTappingSession):
        text = "in float32, against PyTorch with the artifact's weights"
        views.append(_View(own, session.tap_exact, session.run_exact, EXACT, text))
    budgets = budgets_of(artifact)
    cases = _cases(artifact, trace, "")
    if cases and budgets is not None:
        text = "as it runs, against PyTorch"
        views.append(_View(cases, session.tap, _runner(session, artifact), budgets, text))
    return views


def _cases(artifact: ArtifactSpec, trace: ReferenceTrace, weights: str) -> tuple[int, ...]:
    return tuple(
        i
        for i, case in enumerate(trace.cases)
        if case.artifact == weights and case.length in (artifact.lengths or (case.length,))
    )


def _runner(session: Session, artifact: ArtifactSpec) -> Callable[[Ids, Ids], Logits]:
    """The run without taps, at the very length of the ids."""
    if artifact.lengths is None or not isinstance(session, BucketSession):
        return session.run
    return lambda ids, mask: session.run_at(ids.shape[1], ids, mask)


def _look(trace: ReferenceTrace, view: _View, index: int) -> _Run:
    case = trace.cases[index]
    tapped = view.tap(case.input_ids, case.attention_mask)
    output = tapped.output
    budgets = view.budgets
    aligned = align(trace, index, tapped, budgets.of, output)
    blame = first_wrong(aligned, trace, output)
    if blame is not None and blame.found.resembles:
        blame = _origin(trace, index, tapped, budgets, blame)
    untapped = view.run(case.input_ids, case.attention_mask)
    change = _difference(tapped.logits, untapped, case.logits)
    return _Run(case, aligned, blame, change)


def _origin(
    trace: ReferenceTrace,
    index: int,
    tapped: Tapped,
    budgets: Budgets,
    blame: Blame,
) -> Blame:
    """Where an error came from that was just within its budget and grew beyond it later."""
    if blame.found.point is None:
        return blame
    point = trace.points[blame.found.point]
    share = blame.found.error * _GROWTH
    if share <= budgets.observed(point) * _MARGIN or share >= budgets.of(point):
        return blame
    aligned = align(trace, index, tapped, lambda p: min(budgets.of(p), share), tapped.output)
    earlier = first_wrong(aligned, trace, tapped.output)
    if earlier is not None and earlier.found.tensor in blame.behind:
        return earlier
    return blame


def _difference(tapped: Logits, untapped: Logits, reference: npt.NDArray[np.float32]) -> float:
    """Largest change of a logit, over the reference's root mean square.

    Infinite where one of both is not finite, or both are and not alike.
    """
    finite = np.isfinite(tapped) & np.isfinite(untapped)
    if not np.array_equal(tapped[~finite], untapped[~finite], equal_nan=True):
        return math.inf
    change = np.abs(tapped[finite] - untapped[finite]).max(initial=0.0)
    return float(change / np.sqrt(np.square(reference).mean()))


def _report(
    artifact: ArtifactSpec,
    trace: ReferenceTrace,
    view: _View,
    runs: list[_Run],
    layers: tuple[LayerError, ...],
) -> BisectReport:
    change = max(run.untapped_difference for run in runs)
    blamed = [run for run in runs if run.blame is not None]
    lengths = tuple(sorted({run.case.length for run in runs}))
    notes = [f"compared {view.text}"]
    if artifact.lengths and (left := set(artifact.lengths) - set(lengths)):
        notes.append(f"not run at length {', '.join(map(str, sorted(left)))}")
    verdict: BisectVerdict = "found" if blamed else "sound"
    if change > view.budgets.taps:
        verdict = "unknown"
        notes.append(
            f"looking inside moves the logits by {change:.2g} of their size, more than "
            f"{view.budgets.taps:.2g}: the fault may be in how the runtime fuses operations, "
            "which is not to be seen from inside"
        )
    first = min(blamed, key=lambda run: (_block(run), _order(run)), default=None)
    blame = first.blame if first is not None else None
    if blame is None or first is None:
        return _unknown(artifact, "; ".join(notes), verdict, layers, lengths, change)
    if len(blamed) < len(runs):
        shown = ", ".join(str(run.case.length) for run in blamed)
        notes.append(f"to be seen at length {shown} only")
    item = blame.found
    if item.resembles and _may_lie_before(first.aligned, blame, view.budgets):
        notes.append("near the rounding of the recipe: the cause may lie before it")
    point = trace.points[item.point] if item.point is not None and item.resembles else None
    return BisectReport(
        artifact=artifact.path,
        verdict=verdict,
        block=trace.block_name(item.block),
        op=item.tap.name if verdict == "found" else None,
        kind=item.tap.kind,
        tensor=item.tensor,
        point=point.name if point else "",
        rel_rms=item.error if point else math.inf,
        budget=view.budgets.point,
        others=tuple(other.tap.name for other in blame.others),
        layers=layers,
        lengths=lengths,
        untapped_difference=change,
        note="; ".join(notes),
    )


def _may_lie_before(aligned: Aligned, blame: Blame, budgets: Budgets) -> bool:
    """Whether the blamed operation may only have enlarged what came from before."""
    item = blame.found
    read = [aligned.found[name] for name in item.tap.inputs if name in aligned.found]
    carried = max((f.error for f in read if math.isfinite(f.error)), default=0.0)
    return carried > _SHARE * item.error or item.error < _NEAR * budgets.point_observed


def _block(run: _Run) -> int:
    return run.blame.found.block if run.blame else 0


def _order(run: _Run) -> int:
    return run.blame.order if run.blame else 0


def _layers(trace: ReferenceTrace, view: _View, runs: list[_Run]) -> tuple[LayerError, ...]:
    """The worst of all lengths, per block; the first position where only that is computed."""
    last = max(i for i, p in enumerate(trace.points) if p.name == "classifier")
    groups: dict[int, list[int]] = {}
    for i, point in enumerate(trace.points):
        if point.ends_block or i == last:
            groups.setdefault(point.block, []).append(i)
    layers = []
    for block, places in groups.items():
        nearest = [_nearest(run.aligned, places) for run in runs]
        place, error, tensor = max(nearest, key=lambda n: n[1])
        name = trace.points[place].name
        layers.append(LayerError(trace.block_name(block), name, tensor, error, view.budgets.point))
    return tuple(layers)


def _nearest(aligned: Aligned, places: list[int]) -> tuple[int, float, str]:
    """(point, error, tensor): of the whole output, or of its first position if that is all."""
    known = [(i, *aligned.errors[i]) for i in places if i in aligned.errors]
    least = min((error for _, error, _ in known), default=math.inf)
    near = (item for item in known if item[1] <= _ALIKE * least)
    return next(near, (places[0], math.inf, ""))


def _why_not(artifact: ArtifactSpec, trace: ReferenceTrace) -> str:
    if not _cases(artifact, trace, ""):
        lengths = ", ".join(str(case.length) for case in trace.cases)
        return f"the trace has the lengths {lengths}, the artifact {artifact.lengths}"
    return (
        f"weights of {artifact.precision} are too coarse to tell a fault from rounding, and the "
        "trace has none with them"
    )


def _unknown(
    artifact: ArtifactSpec,
    note: str,
    verdict: BisectVerdict = "unknown",
    layers: tuple[LayerError, ...] = (),
    lengths: tuple[int, ...] = (),
    change: float = 0.0,
) -> BisectReport:
    return BisectReport(
        artifact=artifact.path,
        verdict=verdict,
        block=None,
        op=None,
        kind="",
        tensor="",
        point="",
        rel_rms=0.0,
        budget=0.0,
        others=(),
        layers=layers,
        lengths=lengths,
        untapped_difference=change,
        note=note,
    )
