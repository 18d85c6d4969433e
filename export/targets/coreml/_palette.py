"""Look-up tables by k-means in one dimension: no seed, no threads, the same bytes everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_CELLS_PER_CLUSTER = 4
_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Palette:
    """weight ≈ tables[block][codes].

    Attributes:
        codes: uint8, the weight's shape; 0 where an element is not kept.
        tables: the weight's dtype, [number of blocks along each axis …, 2^bits], ascending.
    """

    codes: Array
    tables: Array


def palettize(
    weight: Array, blocks: tuple[int, ...], bits: int, kept: npt.NDArray[np.bool_] | None = None
) -> Palette:
    """Give every block a table of its own, and every element its nearest entry.

    Args:
        weight: float16 or float32, finite.
        blocks: number of blocks along each axis; divides the shape, and only one is above 1.
        bits: of an index, 1 to 8.
        kept: elements that count, weight's shape; all of them where it is None.
    """
    axis = int(np.argmax(blocks))
    parts = blocks[axis]
    codes = np.zeros(weight.shape, dtype=np.uint8)
    tables = np.empty((parts, 1 << bits), dtype=weight.dtype)
    grouped = np.split(np.moveaxis(weight, axis, 0), parts)
    into = np.split(np.moveaxis(codes, axis, 0), parts)
    masks = [None] * parts if kept is None else np.split(np.moveaxis(kept, axis, 0), parts)
    for number, (group, out, mask) in enumerate(zip(grouped, into, masks, strict=True)):
        wanted = group.reshape(-1) if mask is None else group[mask]
        values, counts = _histogram(wanted)
        table = kmeans(values, counts, 1 << bits, weight.dtype).astype(weight.dtype)
        tables[number] = table
        found = nearest(wanted, table)
        if mask is None:
            out[...] = found.reshape(group.shape)
        else:
            out[mask] = found
    return Palette(codes, tables.reshape(*blocks, 1 << bits))


def kmeans(
    values: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    clusters: int,
    dtype: np.dtype[Any],
) -> npt.NDArray[np.float64]:
    """Centres of the least squared error, near enough to the best that no seed is needed.

    In one dimension clusters are intervals, so the best partition of few cells is found exactly by
    dynamic programming; Lloyd's iteration then refines it on the values themselves. A round of
    it costs two binary searches per centre, whatever the number of values.

    Args:
        values: distinct, ascending.
        counts: how often each occurs.
        clusters: number of centres.
        dtype: that the centres will be stored in.

    Returns:
        values of that type, ascending, [clusters]; the last ones are equal where there are fewer
        values than clusters.
    """
    if len(values) <= clusters:
        last = values[-1:] if len(values) else np.zeros(1)
        return np.concatenate([values, np.repeat(last, clusters - len(values))])
    total = np.concatenate([[0.0], np.cumsum(counts)])
    weighted = np.concatenate([[0.0], np.cumsum(counts * values)])
    squares = np.concatenate([[0.0], np.cumsum(counts * values * values)])
    cells = _cells(values, total, clusters)
    edges = cells[_best_partition(total[cells], weighted[cells], squares[cells], clusters)]
    centres = np.diff(weighted[edges]) / np.diff(total[edges])
    # In full precision first, since rounding would stop it early; then so that the rounded entries
    # are the means of the values that are nearest to them.
    for kind in (np.dtype(np.float64), dtype):
        for _ in range(_ROUNDS):
            inner = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
            edges = np.concatenate([[0], inner, [len(values)]])
            members = np.diff(total[edges])
            # A cluster without members stays where it is.
            sums = np.diff(weighted[edges])
            moved = np.where(members > 0, sums / np.maximum(members, 1.0), centres)
            moved = np.sort(moved.astype(kind).astype(np.float64))
            if np.array_equal(moved, centres):
                break
            centres = moved
    return centres


def _cells(
    values: npt.NDArray[np.float64], total: npt.NDArray[np.float64], clusters: int
) -> npt.NDArray[np.intp]:
    """Edges of cells, as indices into `values`: half of them equally wide, half equally full."""
    count = _CELLS_PER_CLUSTER * clusters
    if len(values) <= 2 * count:
        return np.arange(len(values) + 1)
    wide = np.searchsorted(values, np.linspace(values[0], values[-1], count + 1)[1:-1])
    full = np.searchsorted(total, np.linspace(0.0, total[-1], count + 1)[1:-1])
    return np.unique(np.concatenate([[0], wide, full, [len(values)]]))


def _best_partition(
    total: npt.NDArray[np.float64],
    weighted: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
    clusters: int,
) -> npt.NDArray[np.intp]:
    """Edges of the partition of cells with the least squared error, by dynamic programming.

    cost[i, j] is the error of cells i to j - 1 as one cluster, Σx² - (Σx)² / n; the best error of
    the first j cells in k clusters is the least over i of best[k - 1, i] + cost[i, j].

    Args:
        total: number of values before each edge, [cells + 1].
        weighted: Σx of them.
        squares: Σx² of them.
        clusters: number of clusters, at most that of cells.
    """
    members = total[None, :] - total[:, None]
    sums = weighted[None, :] - weighted[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = squares[None, :] - squares[:, None] - sums * sums / members
    cost[members <= 0.0] = np.inf
    best = cost[0]
    choices = []
    columns = np.arange(len(total))
    for _ in range(clusters - 1):
        sum_of_both = best[:, None] + cost
        choice = sum_of_both.argmin(axis=0)
        best = sum_of_both[choice, columns]
        choices.append(choice)
    edges = [len(total) - 1]
    for choice in reversed(choices):
        edges.append(int(choice[edges[-1]]))
    return np.asarray([0, *reversed(edges)], dtype=np.intp)


def nearest(values: Array, table: Array) -> npt.NDArray[np.uint8]:
    """Index of the nearest entry of an ascending table, the higher one on a tie."""
    entries = table.astype(np.float64)
    middles = (entries[1:] + entries[:-1]) / 2
    if values.dtype != np.float16:
        return np.searchsorted(middles, values, side="right").astype(np.uint8)
    with np.errstate(invalid="ignore"):
        every = np.searchsorted(middles, _ALL_HALVES.astype(np.float64), side="right")
    found: npt.NDArray[np.uint8] = every.astype(np.uint8)[values.view(np.uint16)]
    return found


# Every float16 by its bits: a table of 65536 replaces sorting millions of values.
_ALL_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def _histogram(values: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Distinct values in ascending order, and their counts."""
    if values.dtype == np.float16 and values.size > _ALL_HALVES.size:
        tally = np.bincount(np.ascontiguousarray(values).view(np.uint16), minlength=1 << 16)
        present = np.flatnonzero(tally)
        distinct, where = np.unique(_ALL_HALVES[present].astype(np.float64), return_inverse=True)
        # -0 joins 0.
        return distinct, np.bincount(where, weights=tally[present]).astype(np.float64)
    found, counts = np.unique(values.astype(np.float32), return_counts=True)
    return found.astype(np.float64), counts.astype(np.float64)
