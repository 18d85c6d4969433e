"""Texts at which the reference is nearly undecided, since that is where labels flip.

Two natural texts with different decisions are spliced: the first words of one, then the last words
of the other. Somewhere between the two pure texts the decision tips over; bisection finds the cut,
and a few single-word edits come nearer still. Pairs of labels (multi-label: labels) take turns.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export.reference import Reference
from runtime.decisions import decisions, margins
from runtime.manifest import TaskSpec
from runtime.tokenizer import TextTokenizer, batch_of

BOUNDARY_TEXTS = 64

# Long texts are cut: the search is as good on short ones, and many times quicker.
_MOST_WORDS, _MOST_CHARACTERS = 24, 96
# With fewer words than this, a text is cut between characters (Chinese has no spaces).
_FEWEST_WORDS = 4
_ROUNDS, _EDITS = 3, 5
# A margin is near enough to stop, or too far to be kept, as a share of the natural texts' median.
_ENOUGH, _TOO_FAR = 0.02, 0.1
_BATCH = 32
# Searches per wanted text, so that some may lead nowhere.
_MOST_TRIES = 3


@dataclass(slots=True)
class _Search:
    """The way from one text to another, and the best that was met on it.

    Attributes:
        first, last: pieces of the two texts.
        joint: what stands between pieces.
        labels: single-label task: the one of `first` and the one of `last`, which are to tie.
            Multi-label task: the one whose threshold counts.
        pieces, distance: of the text nearest to where `labels` tip over.
        any_pieces, any_distance: of the text nearest to where any label tips over.
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    joint: str
    labels: tuple[int, ...]
    pieces: tuple[str, ...] = ()
    distance: float = math.inf
    any_pieces: tuple[str, ...] = ()
    any_distance: float = math.inf

    @property
    def steps(self) -> int:
        """The last cut."""
        return max(len(self.first), len(self.last))

    def at(self, cut: int) -> tuple[str, ...]:
        """Pieces at a cut from 0, `last` alone, to `steps`, `first` alone."""
        i, j = (round(cut * len(side) / self.steps) for side in (self.first, self.last))
        return self.first[:i] + self.last[j:]

    def offer(self, pieces: tuple[str, ...], distance: float, any_distance: float) -> None:
        """Keep the nearest, the first of equals; rounded, so that last bits rarely matter."""
        if round(distance, 4) < round(self.distance, 4):
            self.pieces, self.distance = pieces, distance
        if round(any_distance, 4) < round(self.any_distance, 4):
            self.any_pieces, self.any_distance = pieces, any_distance

    def best(self, limit: float) -> str | None:
        """The text, if one is within the limit; the wanted labels come before others."""
        if self.distance <= limit:
            return self.joint.join(self.pieces)
        return self.joint.join(self.any_pieces) if self.any_distance <= limit else None


class _Judge:
    """Logits of texts in padded batches: quick, and near enough to search with."""

    def __init__(self, reference: Reference, tokenizer: TextTokenizer, task: TaskSpec) -> None:
        self._reference = reference
        self._tokenizer = tokenizer
        self._task = task

    def offer(self, tried: Sequence[tuple[_Search, tuple[str, ...]]]) -> npt.NDArray[np.bool_]:
        """Offer each search its candidate text.

        Returns:
            bool [candidates]: whether the text is on the side of the search's `first`.
        """
        encoded = [self._tokenizer.encode(s.joint.join(pieces)) for s, pieces in tried]
        logits = self._logits([ids for ids, _ in encoded])
        anywhere = margins(logits, self._task)
        given = decisions(logits, self._task)
        sides = np.empty(len(tried), dtype=np.bool_)
        for row, (search, pieces) in enumerate(tried):
            if self._task.thresholds is None:
                z = logits[row].astype(np.float64)
                a, b = search.labels
                sides[row] = z[a] > z[b]
                # The margin where the two are on top, more where a third label is.
                distance = float(z.max() - min(z[a], z[b]))
            else:
                (label,) = search.labels
                sides[row] = given[row, label]
                distance = float(anywhere[row, label])
            if not encoded[row][1]:  # a text that was cut is not this text
                search.offer(pieces, distance, float(anywhere[row].min()))
        return sides

    def _logits(self, sequences: list[list[int]]) -> npt.NDArray[np.float32]:
        out = np.empty((len(sequences), self._reference.labels), dtype=np.float32)
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        with torch.inference_mode():
            for batch in (order[i : i + _BATCH] for i in range(0, len(order), _BATCH)):
                # Padding is masked, so any id will do.
                side = self._reference.family.pad_side
                ids, mask = batch_of([sequences[i] for i in batch], 0, side)
                logits = self._reference.module(torch.from_numpy(ids), torch.from_numpy(mask))
                out[batch] = logits.numpy()
        return out


def boundary_texts(
    reference: Reference,
    tokenizer: TextTokenizer,
    task: TaskSpec,
    texts: Sequence[str],
    logits: npt.NDArray[np.float32],
    *,
    count: int = BOUNDARY_TEXTS,
    taken: Collection[str] = (),
) -> tuple[str, ...]:
    """Make texts near the reference's decision boundary; the same arguments give the same texts.

    Args:
        reference: PyTorch float32.
        tokenizer: the bundle's; no text is longer than it allows.
        task: tells what a decision is.
        texts: natural texts to splice.
        logits: the reference's for `texts`, float32 [texts, labels].
        count: how many to make.
        taken: further texts that must not be made again; `texts` never are.

    Returns:
        At most `count` unlike texts. Fewer, down to none, if the reference gives fewer than two
        decisions, or if its decisions tip over so steeply that no text lies near.
    """
    natural = float(np.median(margins(logits, task))) if len(texts) else 0.0
    if not math.isfinite(natural):
        return ()
    judge = _Judge(reference, tokenizer, task)
    pairs = _pairs(logits, task)
    refused = {*taken, *texts}
    found: dict[tuple[int, ...], str] = {}
    while len(found) < count:
        # The next pairs stand in for those that led nowhere.
        wave = [
            _search(texts[a], texts[b], labels)
            for a, b, labels in itertools.islice(pairs, count - len(found))
        ]
        if not wave:
            break
        _bisect(wave, judge)
        _refine(wave, judge, _ENOUGH * natural)
        for text in (search.best(_TOO_FAR * natural) for search in wave):
            if text is not None and text not in refused:
                found.setdefault(tuple(tokenizer.ids(text)), text)
    return tuple(found.values())


_Rows = npt.NDArray[np.int64]


def _pairs(
    logits: npt.NDArray[np.float32], task: TaskSpec
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Rows of two texts to splice, and the labels that tip over between them.

    Labels take turns, and within a label's turns the texts nearest to tipping over come first.
    """
    chosen = decisions(logits, task)
    z = logits.astype(np.float64)
    sides: dict[tuple[int, ...], tuple[_Rows, _Rows]] = {}
    if task.thresholds is not None:
        for label in range(z.shape[1]):
            order = np.argsort(z[:, label], kind="stable")
            given = chosen[order, label]
            if given.any() and not given.all():
                sides[label,] = order[given], order[~given][::-1]
        turns: Iterator[tuple[int, ...]] = itertools.cycle(sides)
    else:
        turns = _couples(z, chosen)
    met: Counter[tuple[int, ...]] = Counter()
    for labels in itertools.islice(turns, _MOST_TRIES * BOUNDARY_TEXTS):
        if labels not in sides:
            a, b = labels
            order = np.argsort(z[:, a] - z[:, b], kind="stable")
            sides[labels] = order[chosen[order, a]], order[chosen[order, b]][::-1]
        first, last = sides[labels]
        turn = met[labels]
        met[labels] += 1
        # Every combination of the two sides comes before one is repeated, but for rare sizes.
        yield (
            int(first[turn % len(first)]),
            int(last[(turn + turn // len(first)) % len(last)]),
            labels,
        )


def _couples(
    z: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]
) -> Iterator[tuple[int, ...]]:
    """Two labels at a time, for ever: the one that had fewest turns, with its fairest partner.

    That is the partner that it met least often, and among equals the one it is most easily taken
    for, by the mean logits.
    """
    reached = np.flatnonzero(chosen.any(axis=0))
    if len(reached) < 2:
        return
    mean = np.stack([z[chosen[:, label]].mean(axis=0)[reached] for label in reached])
    lead = np.diag(mean)[:, None] - mean
    apart = lead + lead.T
    turns = np.zeros(len(reached), dtype=np.int64)
    met = np.zeros(apart.shape, dtype=np.int64)
    while True:
        a = int(turns.argmin())
        others = [b for b in range(len(reached)) if b != a]
        b = min(others, key=lambda other: (met[a, other], apart[a, other]))
        for here, there in ((a, b), (b, a)):
            turns[here] += 1
            met[here, there] += 1
        yield int(reached[min(a, b)]), int(reached[max(a, b)])


def _search(first: str, last: str, labels: tuple[int, ...]) -> _Search:
    words = first.split(), last.split()
    if min(len(side) for side in words) >= _FEWEST_WORDS:
        a, b = (tuple(side[:_MOST_WORDS]) for side in words)
        return _Search(a, b, " ", labels)
    a, b = (tuple(side[:_MOST_CHARACTERS]) for side in (first, last))
    return _Search(a, b, "", labels)


def _bisect(searches: list[_Search], judge: _Judge) -> None:
    """Close in on the cut where the decision tips over from `last`'s to `first`'s."""
    open_ = [(search, 0, search.steps) for search in searches]
    while open_ := [(s, low, high) for s, low, high in open_ if high - low > 1]:
        middles = [(low + high) // 2 for _, low, high in open_]
        sides = judge.offer([(s, s.at(m)) for (s, _, _), m in zip(open_, middles, strict=True)])
        open_ = [
            (s, low, middle) if side else (s, middle, high)
            for (s, low, high), middle, side in zip(open_, middles, sides, strict=True)
        ]


def _refine(searches: list[_Search], judge: _Judge, enough: float) -> None:
    """Try single-piece edits of the best text of each search, a few at a time."""
    for turn in range(_ROUNDS):
        tried = [
            (search, edit)
            for number, search in enumerate(searches)
            if search.distance > enough
            for edit in _edits(search, np.random.default_rng([turn, number]))
        ]
        if tried:
            judge.offer(tried)


def _edits(search: _Search, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Some of: a piece left out, two neighbours swapped, a piece of either text put in."""
    pieces = search.pieces
    n = len(pieces)
    edits = [pieces[:i] + pieces[i + 1 :] for i in range(n)] if n > 1 else []
    edits += [(*pieces[:i], pieces[i + 1], pieces[i], *pieces[i + 2 :]) for i in range(n - 1)]
    others = [piece for piece in (*search.first, *search.last) if piece not in pieces]
    edits += [
        (*pieces[:i], piece, *pieces[i:])
        for i, piece in zip(rng.integers(0, n + 1, len(others)), others, strict=True)
    ]
    chosen = rng.permutation(len(edits))[:_EDITS]
    return [edits[i] for i in chosen]
