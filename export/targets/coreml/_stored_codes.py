"""Judges codes, scales, tables and masks against the values they stand for.

Nothing here is shared with what chose them: properties that the best codes, scales and tables must
have are tested instead of computing them in the same way once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.coreml_reference.weight_codes import Codes

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

# Precision → (lowest code, highest code, whether the range is symmetric about 0).
_RANGES = {"int8": (-127, 127, True), "uint4": (0, 15, False)}
# Of a code's step: float32 arithmetic moves a tie by far less.
_TIE = 1e-3
# A stored scale may be off by half the spacing of its type, and a little for double rounding.
_ROUNDING = 0.51
# An entry may be off the mean of its members by its own rounding and by the few values that its
# rounding moved across a border, a share of the distance to the next entry.
_CENTRE = 0.02
# Squared error against that of another k-means, from another start.
_INERTIA = 1.02


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a weight.

    Attributes:
        what: such as ``codes are not the best``.
        count: how many of them.
        of: how many were looked at.
        example: where the first one is, what is there and what should be.
    """

    what: str
    count: int
    of: int
    example: str

    @classmethod
    def where(cls, what: str, wrong: Array, stored: Array, expected: Array) -> Fault | None:
        """A fault if anything is wrong.

        Args:
            what: see the class.
            wrong: bool.
            stored: what is there, of the same shape, for the example.
            expected: what should be there.
        """
        if not wrong.any():
            return None
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        example = f"first at {list(place)}: {stored[place]:.6g} instead of {expected[place]:.6g}"
        return cls(what, int(np.count_nonzero(wrong)), wrong.size, example)


def mask_fault(kept: Array | None, original: Array, sparsity: float) -> Fault | None:
    """Whether exactly the share `sparsity` of smallest magnitudes was dropped.

    Args:
        kept: bool, the weight's shape; None where nothing was dropped.
        original: float32.
        sparsity: 0 to 1.
    """
    mask = np.ones(original.shape, dtype=np.bool_) if kept is None else kept
    drop = round(sparsity * original.size)
    dropped = int(np.count_nonzero(~mask))
    if dropped != drop:
        return Fault("elements are pruned", dropped, original.size, f"instead of {drop}")
    if not dropped:
        return None
    # Halves tie where the original does not; the mask was chosen among halves.
    magnitude = np.abs(original)
    limit = np.partition(magnitude, drop - 1, axis=None)[drop - 1]
    slack = float(np.spacing(np.float16(limit)))
    wrong = np.where(mask, magnitude < limit - slack, magnitude > limit + slack)
    return Fault.where(
        "elements are pruned or kept wrongly", wrong, magnitude, np.full_like(magnitude, limit)
    )


def affine_fault(codes: Codes, original: Array, precision: str) -> Fault | None:
    """Whether scales and offsets follow from each block's range, and codes are the nearest ones."""
    if codes.scale is None or precision not in _RANGES:
        return Fault("weights have an unknown kind of code", 1, 1, precision)
    low, high, symmetric = _RANGES[precision]
    kind = codes.scale.dtype
    values = _split(original.astype(kind).astype(np.float32), codes.scale.shape)
    inside = tuple(range(1, values.ndim, 2))
    least = np.minimum(values.min(axis=inside), 0).astype(np.float64)
    most = np.maximum(values.max(axis=inside), 0).astype(np.float64)
    span = np.maximum(most, -least) if symmetric else most - least
    expected = span / (high if symmetric else high - low)
    scale = codes.scale.astype(np.float64)
    slack = _ROUNDING * np.spacing(np.maximum(expected, 0).astype(kind)).astype(np.float64)
    empty = (expected <= slack) & (scale == 1.0)  # too small for a scale: every code is 0
    wrong = (np.abs(scale - expected) > slack) & ~empty
    if wrong.any() or not (scale > 0).all():
        return Fault.where(
            "scales do not follow from the range", wrong | (scale <= 0), scale, expected
        )
    offset = np.zeros_like(scale) if codes.offset is None else codes.offset.astype(np.float64)
    centre = np.zeros_like(scale) if symmetric else np.clip(-least / scale, low, high)
    wrong = np.abs(offset - centre) > 0.5 + _TIE if not symmetric else offset != 0
    if wrong.any():
        return Fault.where("offsets do not follow from the range", wrong, offset, centre)
    spread = [
        size for pair in zip(scale.shape, np.ones(scale.ndim, int), strict=True) for size in pair
    ]
    best = values / scale.astype(np.float32).reshape(spread)
    best += offset.astype(np.float32).reshape(spread)
    np.clip(best, low, high, out=best)
    best = best.reshape(original.shape)
    wrong = np.abs(codes.values.astype(np.float32) - best) > 0.5 + _TIE
    wrong |= (codes.values < low) | (codes.values > high)
    if codes.kept is not None:
        wrong &= codes.kept
    return Fault.where("codes are not the nearest", wrong, codes.values, np.rint(best))


def palette_fault(codes: Codes, original: Array) -> Fault | None:
    """Whether codes are the nearest entries, entries their members' means, and tables good."""
    if codes.tables is None:
        return Fault("weights have no table", 1, 1, "")
    blocks = codes.tables.shape[:-1]
    axis = int(np.argmax(blocks))
    if np.prod(blocks) != blocks[axis]:
        return Fault("weights have blocks along two axes", 1, 1, str(list(blocks)))
    parts = blocks[axis]
    values = original.astype(codes.tables.dtype).astype(np.float64)
    split = [np.split(np.moveaxis(part, axis, 0), parts) for part in (values, codes.values)]
    masks = None if codes.kept is None else np.split(np.moveaxis(codes.kept, axis, 0), parts)
    tables = codes.tables.reshape(parts, -1).astype(np.float64)
    reached = best = 0.0
    for number, table in enumerate(tables):
        members, chosen = (
            part[number].reshape(-1) if masks is None else part[number][masks[number]]
            for part in split
        )
        if not members.size:
            continue
        fault = _nearest_fault(members, chosen, table) or _centre_fault(
            members, chosen, table, codes.tables.dtype
        )
        if fault is not None:
            return fault
        reached += float(np.square(members - table[chosen]).sum())
        best += _another_inertia(*_distinct(members, codes.tables.dtype), len(table))
    if reached > best * _INERTIA + 1e-12 * float(np.square(values).sum()):
        return Fault("tables are worse than k-means", parts, parts, f"{reached:.4g} > {best:.4g}")
    return None


def _split(values: Array, blocks: tuple[int, ...]) -> Array:
    """[a, b …] → [blocks of a, a / blocks of a, …]."""
    sizes: list[int] = []
    for size, count in zip(values.shape, blocks, strict=True):
        sizes += [count, size // count]
    return values.reshape(sizes)


def _nearest_fault(members: Doubles, chosen: Array, table: Doubles) -> Fault | None:
    ordered = np.sort(table)
    place = np.searchsorted(ordered, members)
    above = ordered[np.minimum(place, len(ordered) - 1)]
    below = ordered[np.maximum(place - 1, 0)]
    best = np.where(np.abs(above - members) < np.abs(members - below), above, below)
    distance = np.abs(members - table[chosen])
    wrong = distance > np.abs(members - best) * (1 + 1e-9)
    return Fault.where("codes are not the nearest entries", wrong, table[chosen], best)


def _centre_fault(members: Doubles, chosen: Array, table: Doubles, kind: Any) -> Fault | None:
    counts = np.bincount(chosen, minlength=len(table))
    sums = np.bincount(chosen, weights=members, minlength=len(table))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), table)
    ordered = np.unique(table)
    gaps = np.diff(ordered, prepend=-np.inf, append=np.inf)
    width = np.minimum(gaps[:-1], gaps[1:])[np.searchsorted(ordered, table)]
    width = np.where(np.isfinite(width), width, 0.0)
    slack = np.spacing(np.abs(table).astype(kind)).astype(np.float64) + _CENTRE * width
    wrong = np.abs(table - means) > slack
    return Fault.where("table entries are not the mean of what they stand for", wrong, table, means)


def _distinct(members: Doubles, kind: Any) -> tuple[Doubles, Doubles]:
    """Values in ascending order and their counts; float16 has few enough to count by their bits."""
    if kind != np.float16:
        values, counts = np.unique(members, return_counts=True)
        return values, counts.astype(np.float64)
    tally = np.bincount(members.astype(np.float16).view(np.uint16), minlength=1 << 16)
    bits = np.flatnonzero(tally).astype(np.uint16)
    values = bits.view(np.float16).astype(np.float64)
    order = np.argsort(values, kind="stable")
    return values[order], tally[bits][order].astype(np.float64)


def _another_inertia(values: Doubles, counts: Doubles, entries: int) -> float:
    """Squared error of Lloyd's iteration from a start as dense as the density's cube root.

    Panter and Dite (1951): the best density of many levels is the cube root of the values'.

    Args:
        values: ascending.
        counts: how often each occurs.
        entries: number of centres.
    """
    if len(values) <= entries:
        return 0.0
    density, edges = np.histogram(values, bins=16 * entries, weights=counts)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    centres = np.interp((np.arange(entries) + 0.5) / entries * share[-1], share, edges)
    sums = [np.concatenate([[0.0], np.cumsum(counts * values**power)]) for power in range(3)]
    for _ in range(60):
        borders = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        borders = np.concatenate([[0], borders, [len(values)]])
        number, first, second = (np.diff(total[borders]) for total in sums)
        centres = np.where(number > 0, first / np.maximum(number, 1), centres)
    return float((second - 2 * centres * first + centres**2 * number).sum())
