"""Runs one artifact over the golden cases, as a device would. Light enough for an emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from runtime.bundle import Bundle
from runtime.decisions import probabilities
from runtime.golden import Golden, GoldenCase
from runtime.manifest import ArtifactSpec, TokenizerSpec
from runtime.parity.evidence import Evidence, Logits, cases_per_length, this_machine
from runtime.parity.invariances import choose_cases, measure_invariances
from runtime.parity.metrics import root_mean_square
from runtime.sessions import Session, open_session
from runtime.sessions.base import (
    ClassifierSession,
    ExactSession,
    Ids,
    SeriesSession,
    SessionSettings,
    WeighingSession,
    pad_to,
)

Progress = Callable[[str, int, int], None]

_EXTRA_PADDING = 16
# Cases that run again in every way that must not matter.
AGAIN = 16


def in_all(progress: Callable[[int, int], None], artifacts: int) -> Progress:
    """Progress of one artifact after or beside another → of all of them, as (done, total)."""
    done: dict[str, int] = {}

    def tell(path: str, cases: int, total: int) -> None:
        done[path] = cases
        progress(sum(done.values()), total * artifacts)

    return tell


def session_settings(
    bundle: Bundle, *, threads: int = 1, backend: str = "auto", compute_unit: str = "all"
) -> SessionSettings:
    """Settings for judging a bundle's artifacts: one thread, so that figures repeat."""
    return SessionSettings.of(
        bundle.manifest.tokenizer, threads=threads, backend=backend, compute_unit=compute_unit
    )


def run_artifact(
    bundle: Bundle,
    artifact: ArtifactSpec,
    golden: Golden,
    settings: SessionSettings,
    progress: Progress | None = None,
    *,
    session: Session | None = None,
    rows: Sequence[int] | None = None,
    again: int = AGAIN,
    split: bool = True,
) -> Evidence:
    """Logits of every case, one at a time, at the length that a device would choose.

    Some cases run again in every way that must not matter: padded further, in a batch, in another
    order … (`runtime.parity.invariances`).

    Args:
        bundle: for the file, the labels and the tokenizer's numbers.
        artifact: which of its artifacts.
        golden: cases and reference logits.
        settings: of the session.
        progress: called with (artifact path, cases done, cases in all).
        session: of the artifact, opened with `settings`; None opens one.
        rows: indices of the cases to run, ascending; None runs all.
        again: how many cases run once more in every other way.
        split: whether to measure also what no processor changes: the graph and stored weights.

    Raises:
        UserError: the runtime is missing or refuses the artifact.
    """
    chosen = tuple(range(len(golden.cases))) if rows is None else tuple(rows)

    def opened(wanted: SessionSettings) -> Session:
        return open_session(bundle.file(artifact.path), artifact, wanted)

    if session is None:
        session = opened(settings)
    logits = np.empty((len(chosen), golden.reference.shape[1]), dtype=np.float32)
    alone = _series(session, [_arrays(golden.cases[row]) for row in chosen])
    for place, found in enumerate(alone):
        logits[place] = found[0]
        if progress is not None:
            progress(artifact.path, place + 1, len(chosen))
    places = {row: place for place, row in enumerate(chosen)}
    # Formats of fixed lengths run row by row and pad by themselves: there is less to see.
    count = again if artifact.lengths is None else max(2, again // 2)
    repeated = choose_cases(golden, chosen, count, lengths=artifact.lengths or ())
    changes = measure_invariances(
        opened,
        session,
        [golden.cases[row] for row in repeated],
        logits[[places[row] for row in repeated]],
        artifact,
        settings,
        bundle.manifest.tokenizer.max_length,
    )
    scale = root_mean_square(golden.reference)
    measured = {f"{name}_rel": change / scale for name, change in changes.items()}
    measured |= _probabilities_figure(session, bundle, [golden.cases[row] for row in repeated])
    if split:
        measured |= _split_figures(session, bundle, golden, artifact.path, places, logits)
        measured |= _weights_figure(session, artifact)
    return Evidence(
        artifact=artifact.path,
        sha256=artifact.sha256,
        machine=this_machine(),
        environment=session.environment,
        rows=chosen,
        logits=logits,
        measured=measured,
        lengths=cases_per_length(artifact, golden, chosen),
    )


def _split_figures(
    session: Session,
    bundle: Bundle,
    golden: Golden,
    path: str,
    places: dict[int, int],
    logits: Logits,
) -> dict[str, float]:
    """The error in three parts, in logits, where the session and the golden file can tell.

    Compression: PyTorch with the artifact's weights against PyTorch. Graph: the artifact in float32
    against PyTorch with the artifact's weights. Precision: the artifact as it runs against itself
    in float32.
    """
    effective = golden.effective.get(path)
    if effective is None or not isinstance(session, ExactSession):
        return {}
    spec = bundle.manifest.tokenizer
    kept = [(i, row) for i, row in enumerate(effective.rows) if row in places]
    if not kept:
        return {}
    cases = [golden.cases[row] for _, row in kept]
    # Padded, so that a mask that is too weak is seen.
    wide = [min(len(case.input_ids) + _EXTRA_PADDING, spec.max_length) for case in cases]
    pairs = [_padded(case, length, spec) for case, length in zip(cases, wide, strict=True)]
    exact = [found[0] for found in _series(session, pairs, exact=True)]
    own = effective.logits[[i for i, _ in kept]]
    rows = [row for _, row in kept]
    parts = {
        "compression_max_abs": own - golden.reference[rows],
        "graph_max_abs": np.array(exact) - own,
        "precision_max_abs": logits[[places[row] for row in rows]] - np.array(exact),
    }
    return {name: float(np.abs(part).max()) for name, part in parts.items()}


def _series(
    session: Session, pairs: Sequence[tuple[Ids, Ids]], *, exact: bool = False
) -> Iterator[Logits]:
    """Logits of one pair after the other, each by itself."""
    if isinstance(session, SeriesSession):
        yield from session.run_series(pairs, exact=exact)
    elif exact and isinstance(session, ExactSession):
        yield from (session.run_exact(*pair) for pair in pairs)
    else:
        yield from (session.run(*pair) for pair in pairs)


def _weights_figure(session: Session, artifact: ArtifactSpec) -> dict[str, float]:
    """Weights that differ from the manifest's; a row that no text reads would never show."""
    promised = {w.name: w.sha256 for w in artifact.weights.stored if w.sha256 is not None}
    if not promised or not isinstance(session, WeighingSession):
        return {}
    found = session.weight_digests()
    changed = sum(found.get(name) != sha256 for name, sha256 in promised.items())
    return {"changed_weights": float(changed)}


def _arrays(case: GoldenCase) -> tuple[Ids, Ids]:
    """Ids and mask, int32 [1, ids]."""
    ids = np.array([case.input_ids], dtype=np.int32)
    return ids, np.array([case.attention_mask], dtype=np.int32)


def _padded(case: GoldenCase, length: int, spec: TokenizerSpec) -> tuple[Ids, Ids]:
    """Ids and mask, int32 [1, length]."""
    ids, mask = _arrays(case)
    side = spec.pad_side
    return pad_to(ids, length, spec.pad_id, side), pad_to(mask, length, 0, side)


def _probabilities_figure(
    session: Session, bundle: Bundle, cases: Sequence[GoldenCase]
) -> dict[str, float]:
    """Largest difference of a classifier's own probabilities from its logits' activation.

    Infinite for labels other than the task's, or for a label that is not its most probable one.
    """
    if not isinstance(session, ClassifierSession):
        return {}
    task = bundle.manifest.task
    worst = 0.0
    for case in cases:
        answer = session.classify(*_arrays(case))
        if answer is None:
            return {}
        label, own = answer
        if set(own) != set(task.labels) or own[label] < max(own.values()):
            return {"probabilities_max_abs": float("inf")}
        expected = probabilities(session.run(*_arrays(case)), task)[0]
        found = np.array([own[name] for name in task.labels])
        # np.maximum and not max(): NaN must not be lost.
        worst = float(np.maximum(worst, np.abs(found - expected).max()))
    return {"probabilities_max_abs": worst}
