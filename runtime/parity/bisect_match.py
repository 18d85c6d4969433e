"""Holds an artifact's tensors against the reference's points, operation by operation.

Neither names nor layouts are trusted: a tensor is a point's if its numbers are, in some order of
its axes. What an operation may be compared with follows from its inputs: what reads the end of a
block belongs to the next one. So attention that looks alike in two blocks is not mixed up.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.sessions.taps import Tap, Tapped
from runtime.trace import (
    EMBEDDINGS,
    INPUTS,
    ReferenceTrace,
    TracePoint,
    sketch,
    without_masked,
)

# A tensor whose difference from a point is below this share is that point, right or wrong: the
# angle between the two is below 30 degrees.
RESEMBLES = 0.5

# Name of the point that the graph's output must be.
LOGITS = "classifier"

# Budget of a point, relative to its size.
Budget = Callable[[TracePoint], float]

# A parameter's name tells its block; asked only where values do not.
_LAYER = re.compile(r"layer[._](\d+)[._]")
_HEAD = re.compile(r"classifier[._]")


@dataclass(frozen=True, slots=True)
class Found:
    """One tensor of the artifact.

    Attributes:
        tap: the operation that made it.
        tensor: its name.
        point: the point that is nearest, relative to budgets; None if none has its size.
        error: its distance from it, relative to the point's size; infinite without a point.
        good: whether that is within the budget, or it only rearranges what is.
        points: all points within their budgets.
        low, high: blocks whose points its readers may be.
        block: that of the operation.
        compared: whether it holds numbers that a point may have.
    """

    tap: Tap
    tensor: str
    point: int | None
    error: float
    good: bool
    points: frozenset[int]
    low: int
    high: int
    block: int
    compared: bool

    @property
    def resembles(self) -> bool:
        """Whether it is a known point, with an error above its budget."""
        return not self.good and self.error < RESEMBLES


@dataclass(frozen=True, slots=True)
class Aligned:
    """All tensors of one run.

    Attributes:
        found: tensor → what it was found to be, in the order of the run.
        errors: point → (smallest error of any tensor, that tensor).
    """

    found: dict[str, Found]
    errors: dict[int, tuple[float, str]]


def align(trace: ReferenceTrace, case: int, tapped: Tapped, budget: Budget, output: str) -> Aligned:
    """Compare one run with one case of the trace.

    Args:
        trace: of the reference.
        case: index of the case that was run.
        tapped: the artifact's run.
        budget: of each point.
        output: name of the logits.
    """
    aligner = _Aligner(trace, case, budget, output)
    for tap in tapped.operations:
        aligner.add(tap)
    return Aligned(aligner.found, aligner.errors)


class _Aligner:
    """Walks through a run once."""

    def __init__(self, trace: ReferenceTrace, case: int, budget: Budget, output: str) -> None:
        self._trace = trace
        self._table = _Table(trace, case)
        self._budget = budget
        self._output = output
        self.found: dict[str, Found] = {}
        self.errors: dict[int, tuple[float, str]] = {}
        # Tensor → the points that it and what it depends on were found to be.
        self._behind: dict[str, frozenset[int]] = {}

    def add(self, tap: Tap) -> None:
        """Compare what one operation made."""
        low, high = self._places(tap)
        sources = [self.found[name] for name in tap.inputs if name in self.found]
        if any(not item.good for item in sources if item.compared):
            low, high = _by_name(tap, low, self._trace.blocks) or (low, high)
        first: Found | None = None
        for name, value in tap.outputs.items():
            if value.dtype.kind == "f" and (first is None or value.size > 1):
                item = self._compared(tap, name, value, low, high, sources)
            else:
                good = first is not None and first.good
                block = self._block(tap, low, high, None)
                item = Found(
                    tap, name, None, np.inf, good, frozenset(), low, high, block, compared=False
                )
            first = first or item
            self.found[name] = item
            self._behind[name] = item.points.union(*(self._behind[s.tensor] for s in sources))

    def _places(self, tap: Tap) -> tuple[int, int]:
        """Lowest and highest block that an operation may belong to, by what it reads."""
        places = {"input_ids": (EMBEDDINGS, EMBEDDINGS), "attention_mask": (INPUTS, EMBEDDINGS)}
        known = [places[name] for name in tap.inputs if name in places]
        known += [
            (self.found[name].low, self.found[name].high)
            for name in tap.inputs
            if name in self.found
        ]
        low = max((low for low, _ in known), default=INPUTS)
        return low, max(max((high for _, high in known), default=EMBEDDINGS), low)

    def _compared(
        self,
        tap: Tap,
        name: str,
        value: npt.NDArray[Any],
        low: int,
        high: int,
        sources: list[Found],
    ) -> Found:
        points = self._trace.points
        nearest = self._table.nearest(value, low, high)
        if name == self._output:
            nearest = [(i, error) for i, error in nearest if points[i].name == LOGITS]
        for i, distance in nearest:
            if distance < self.errors.get(i, (np.inf, ""))[0]:
                self.errors[i] = distance, name
        close = frozenset(i for i, error in nearest if error <= self._budget(points[i]))
        if not tap.moves and any(not item.good for item in sources if item.compared):
            # What is wrong may be lost beside what is right, which then shows once more.
            close = close.difference(*(self._behind[item.tensor] for item in sources))
        point, error = min(
            nearest, key=lambda n: n[1] / self._budget(points[n[0]]), default=(None, np.inf)
        )
        origin = self.found.get(tap.inputs[0]) if tap.moves and tap.inputs else None
        moved = origin is not None and origin.good and name != self._output
        good = bool(close) or moved
        block = self._block(tap, low, high, point if error < RESEMBLES else None)
        if point is not None and error < RESEMBLES:
            low, high = self._table.readers(point)
        elif origin is not None:
            low, high = origin.low, origin.high
        return Found(tap, name, point, float(error), good, close, low, high, block, compared=True)

    def _block(self, tap: Tap, low: int, high: int, point: int | None) -> int:
        """The block of an operation that may belong to two."""
        if low == high:
            return low
        if point is not None and low <= self._trace.points[point].block <= high:
            return self._trace.points[point].block
        if (place := _by_name(tap, low, self._trace.blocks)) is not None:
            return min(place[0], high)
        return high if tap.parameters else low


def _by_name(tap: Tap, low: int, blocks: int) -> tuple[int, int] | None:
    """Where the parameters' names say that an operation is, if they say so and it may be."""
    names = " ".join(tap.parameters)
    match = _LAYER.search(names)
    if match is None and not _HEAD.search(names):
        return None
    hint = int(match[1]) if match else blocks
    return (hint, hint) if low <= hint else None


class _Table:
    """The points of one case, by how many elements they have."""

    def __init__(self, trace: ReferenceTrace, case: int) -> None:
        self._points = trace.points
        self._sketches = trace.cases[case].sketches
        self._scales = trace.cases[case].scales
        self._by_size: dict[int, list[int]] = {}
        for i, point in enumerate(trace.points):
            if self._scales[i] > 0.0:
                self._by_size.setdefault(point.elements[case], []).append(i)
        ends: dict[int, str] = {}
        for point in trace.points:
            if point.ends_block:
                ends.setdefault(point.block, point.name)
        # What ends a block may be read whole or in parts: its normalised values, a position.
        self._readers = [
            (p.block, p.block + f"{p.name}.".startswith(f"{ends.get(p.block)}."))
            for p in trace.points
        ]

    def readers(self, point: int) -> tuple[int, int]:
        """Lowest and highest block of what reads a point."""
        return self._readers[point]

    def nearest(self, value: npt.NDArray[Any], low: int, high: int) -> list[tuple[int, float]]:
        """(point, error) for every point of the blocks that has as many elements."""
        places = [
            i for i in self._by_size.get(value.size, ()) if low <= self._points[i].block <= high
        ]
        if not places:
            return []
        square = np.array([self._points[i].square for i in places])
        masked = np.array([self._points[i].masked for i in places])
        best = np.full(len(places), np.inf)
        for array, swaps in _layouts(value):
            plain = sketch(array)
            own = sketch(without_masked(array)) if masked.any() else plain
            if not np.isfinite(own).all():
                continue
            mine = np.where(masked[:, None], own, plain)
            best = np.minimum(best, self._errors(mine, places, swaps & square))
        return [(i, float(e)) for i, e in zip(places, best, strict=True) if np.isfinite(e)]

    def _errors(
        self, mine: npt.NDArray[np.float64], places: list[int], barred: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        wanted = self._sketches[places]
        distance = np.linalg.norm(wanted - mine, axis=1)
        error: npt.NDArray[np.float64] = distance / self._scales[places]
        # A mean is measured by what it is the mean of: anything small would do for it.
        error[~(distance <= RESEMBLES * np.linalg.norm(wanted, axis=1))] = np.inf
        # Attention the other way round is another tensor.
        error[barred] = np.inf
        return error


def _layouts(value: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], bool]]:
    """The array in every order of its axes, and whether two axes of one length changed places."""
    array = value.squeeze()
    for order in itertools.permutations(range(array.ndim)):
        swaps = any(
            array.shape[a] == array.shape[b] and a > b for a, b in itertools.combinations(order, 2)
        )
        yield array.transpose(order), swaps
