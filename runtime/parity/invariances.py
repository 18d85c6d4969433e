"""Does an artifact answer a text alike whatever should not matter? Light enough for an emulator.

A model that was exported wrongly can agree with its reference on every text that runs alone, and
then answer differently in a batch, with padding, at another length or for the second time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from runtime.golden import Golden, GoldenCase
from runtime.manifest import ArtifactSpec
from runtime.sessions.base import (
    BucketSession,
    Ids,
    Logits,
    Session,
    SessionSettings,
    pad_to,
)

# Names of what `measure_invariances` may find.
INVARIANCES = ("padding", "bucket", "batch", "threads", "order", "repeat", "cold")

_CASES = 16
_EXTRA_PADDING = 16
_BATCH = 4
_OTHER_THREADS = 2
# Every so many cases are enough where a fault would not depend on the text, or where the session
# and not the artifact does it: fixed lengths are padded to, and fixed batches split, by itself.
_SPARSE = 4

OpenSession = Callable[[SessionSettings], Session]


def choose_cases(
    golden: Golden, rows: Sequence[int], count: int = _CASES, *, lengths: Sequence[int] = ()
) -> tuple[int, ...]:
    """Few cases that stand for all lengths.

    The shortest and the longest are among them, then for each of `lengths` the longest that fits;
    the others are spread over the lengths, half of them by the lengths' ratios, half by how common
    a length is.

    Args:
        golden: all cases.
        rows: indices to choose from, without repetition.
        count: how many to choose.
        lengths: sequence lengths of the artifact, where it has fixed ones.

    Returns:
        Ascending indices; `count` of them, or more where `lengths` are many, or all of `rows` if
        they are fewer.
    """
    by_length = sorted(rows, key=lambda row: (len(golden.cases[row].input_ids), row))
    if len(by_length) <= count:
        return tuple(sorted(rows))
    sizes = [len(golden.cases[row].input_ids) for row in by_length]
    chosen = {0, len(sizes) - 1}
    lower = 0
    for length in sorted(lengths):
        fitting = bisect.bisect_right(sizes, length) - 1
        if fitting >= 0 and sizes[fitting] > lower:
            chosen.add(fitting)
        lower = length
    wanted = np.geomspace(max(sizes[0], 1), max(sizes[-1], 1), count // 2)
    _fill(chosen, (bisect.bisect_left(sizes, round(size)) for size in wanted), len(sizes), count)
    _fill(chosen, np.linspace(0, len(sizes) - 1, count).astype(int).tolist(), len(sizes), count)
    _fill(chosen, range(len(sizes)), len(sizes), count)
    return tuple(sorted(by_length[place] for place in chosen))


def _fill(chosen: set[int], places: Iterable[int], total: int, count: int) -> None:
    """Add places until `count` are chosen; a taken one gives way to the next free one above."""
    for place in places:
        if len(chosen) >= count:
            return
        free = next((p for p in range(place, total) if p not in chosen), None)
        if free is not None:
            chosen.add(free)


def measure_invariances(
    open_session: OpenSession,
    first: Session,
    cases: Sequence[GoldenCase],
    alone: npt.NDArray[np.float32],
    artifact: ArtifactSpec,
    settings: SessionSettings,
    max_length: int,
) -> dict[str, float]:
    """Run cases again in every way that must not matter.

    ``padding``: padded further, by a little and up to the longest. ``bucket``: at every other
    length of the artifact that holds them. ``batch``: stacked with cases of about their length.
    ``order``: the last first. ``repeat``: some of them as before. ``cold``: first thing in a fresh
    session. ``threads``: some in a session with another number of them.

    Args:
        open_session: opens the artifact anew.
        first: the session that gave `alone`.
        cases: some; see `choose_cases`.
        alone: their logits, each run by itself without padding, float32 [cases, labels].
        artifact: for its lengths.
        settings: that `first` was opened with.
        max_length: of a sequence.

    Returns:
        Name → largest change of a logit, in logits; NaN where one is not a number, or where a run
        gives another number of rows or labels. A name is missing where the artifact or its runtime
        has no such choice: ``bucket`` for less than two lengths or a session that cannot run at a
        chosen one, ``threads`` where the runtime does not take them. Empty for no cases.

    Raises:
        UserError: the runtime refuses one of the runs.
    """
    if not cases:
        return {}
    probe = _Probe(cases, alone, settings)
    lengths = artifact.lengths or ()
    one_row = any(tensor.shape[:1] == (1,) for tensor in artifact.inputs)
    changes = {
        "padding": probe.padding(first, max_length, every=_SPARSE if lengths else 1),
        "batch": probe.batch(first, every=max(1, len(cases) // _BATCH) if one_row else 1),
        "order": probe.same(first, range(len(cases) - 1, -1, -1)),
        "repeat": probe.same(first, range(0, len(cases), _SPARSE)),
    }
    if len(lengths) > 1 and isinstance(first, BucketSession):
        changes["bucket"] = probe.bucket(first, lengths)
    # One session at a time: a full-size model takes hundreds of megabytes.
    changes["cold"] = probe.same(open_session(settings), probe.one_of_each(lengths))
    threads = _OTHER_THREADS if settings.threads != _OTHER_THREADS else 1
    other = open_session(replace(settings, threads=threads))
    if other.environment.get("threads") == str(threads):
        changes["threads"] = probe.same(other, range(0, len(cases), _SPARSE))
    return {name: changes[name] for name in INVARIANCES if name in changes}


class _Probe:
    """Cases and what they gave alone."""

    def __init__(
        self,
        cases: Sequence[GoldenCase],
        alone: npt.NDArray[np.float32],
        settings: SessionSettings,
    ) -> None:
        self._ids = [np.array([case.input_ids], dtype=np.int32) for case in cases]
        self._masks = [np.array([case.attention_mask], dtype=np.int32) for case in cases]
        self._sizes = [len(case.input_ids) for case in cases]
        self._alone = alone
        self._pad_id, self._side = settings.pad_id, settings.pad_side

    def same(self, session: Session, order: Sequence[int]) -> float:
        """Each by itself, in this order."""
        return _worst(self._change(session.run(*self._padded(i)), [i]) for i in order)

    def padding(self, session: Session, max_length: int, every: int) -> float:
        """One case of `every` padded by a little, and as far as it goes."""
        return _worst(
            self._change(session.run(*self._padded(i, wide)), [i])
            for i, size in list(enumerate(self._sizes))[::every]
            for wide in sorted({min(size + _EXTRA_PADDING, max_length), max_length})
            if wide > size
        )

    def bucket(self, session: BucketSession, lengths: Sequence[int]) -> float:
        """Each at every length above the one where it runs by itself."""
        return _worst(
            self._change(session.run_at(length, *self._padded(i)), [i])
            for i, size in enumerate(self._sizes)
            for length in [n for n in sorted(lengths) if n >= size][1:]
        )

    def batch(self, session: Session, every: int) -> float:
        """Stacked with those next in length, all padded to the longest; one case of `every`."""
        by_length = sorted(range(len(self._sizes)), key=self._sizes.__getitem__)[::every]
        changes = []
        for start in range(0, len(by_length), _BATCH):
            # The last batch reaches back rather than being a batch of one.
            rows = by_length[max(0, min(start, len(by_length) - _BATCH)) :][:_BATCH]
            pairs = [self._padded(i, self._sizes[rows[-1]]) for i in rows]
            ids, masks = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
            changes.append(self._change(session.run(ids, masks), rows))
        return _worst(changes)

    def one_of_each(self, lengths: Sequence[int]) -> list[int]:
        """The shortest case, the longest, and the first at each of the lengths."""
        by_length = sorted(range(len(self._sizes)), key=self._sizes.__getitem__)
        found = {
            bisect.bisect_left(sorted(lengths), self._sizes[i]): i for i in reversed(by_length)
        }
        return list(dict.fromkeys([*(found[place] for place in sorted(found)), by_length[-1]]))

    def _padded(self, i: int, length: int | None = None) -> tuple[Ids, Ids]:
        length = self._sizes[i] if length is None else length
        return (
            pad_to(self._ids[i], length, self._pad_id, self._side),
            pad_to(self._masks[i], length, 0, self._side),
        )

    def _change(self, logits: Logits, rows: list[int]) -> float:
        expected = self._alone[rows]
        if logits.shape != expected.shape:
            return math.nan
        with np.errstate(invalid="ignore"):
            return float(np.abs(logits.astype(np.float64) - expected).max())


def _worst(changes: Iterable[float]) -> float:
    """The largest; 0 for none. Unlike `max`, NaN is never lost."""
    return float(np.max(np.fromiter(changes, dtype=np.float64), initial=0.0))
