"""The numbers that a recipe's integers and scales can express, and the nearest of them.

Symmetric: a weight is code · scale, codes from -127 to 127 (int8; ±64 with a reduced range) or from
-7 to 7 (int4), and the scale the largest magnitude over the largest code.

A weight that is on its grid already comes back bit for bit, so that whoever quantizes it by its
largest magnitude finds the very codes and scales that a better search chose. For that the product
of a scale and a code must be exact in float32: a scale keeps 24 bits less those of a code, which
moves it by less than 10⁻⁵ of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.recipes import WeightsRule
from runtime.errors import UserError

Floats = npt.NDArray[np.float32]

# float32 holds this many bits; a code has 7 or 3 beside its sign.
_SIGNIFICAND, _CODE_BITS = 24, {"int8": 7, "int4": 3}
_SCALES = ("float32", "float16", "bfloat16", "multiple")
# Below these a scale would lose bits (LiteRT keeps its bfloat16 scales in float16). What is smaller
# than a step of them is zero.
_SMALLEST = {"float16": 2.0**-16, "bfloat16": 2.0**-16}
_SMALLEST_FLOAT32 = float(np.finfo(np.float32).tiny)
# A block's scale is 1 to 18 times its row's: 7 · 18 = 126 is an int8.
MULTIPLES = 18
# Rows that are worked on together: 30 thousand rows of an embedding would be copied several times.
ROWS = 4096


@dataclass(frozen=True, slots=True)
class Grid:
    """A weight as integers.

    Attributes:
        codes: int8 [rows, columns].
        scales: float32 [rows, blocks]; one block where a rule has no blocks.
    """

    codes: npt.NDArray[np.int8]
    scales: Floats

    def dense(self) -> Floats:
        """float32 [rows, columns]; every product is exact."""
        rows, blocks = self.scales.shape
        parts = self.codes.reshape(rows, blocks, self.codes.shape[1] // blocks).astype(np.float32)
        return (parts * self.scales[:, :, None]).reshape(self.codes.shape)


def grid_of(weight: Floats, rule: WeightsRule, name: str = "a weight") -> Grid:
    """The nearest numbers on the grid of a rule, whose ends are the largest magnitudes.

    Args:
        weight: float32 [rows, columns]; rows are output channels, or entries of an embedding.
        rule: of int8 or int4, per channel, row, block or tensor.
        name: of the weight, for messages.

    Returns:
        The same codes and scales for its own `dense`, bit for bit. What is all zeros, or smaller
        than any scale can express, has the codes 0 and the scale 1.

    Raises:
        UserError: the rule has no such grid, a number is not finite or too large, or the columns
            are no whole number of blocks.
    """
    largest, blocks = largest_code(rule), blocks_of(weight, rule, name)
    if not weight.size:
        return Grid(np.zeros(weight.shape, np.int8), np.ones((len(weight), blocks), np.float32))
    peaks = peaks_of(weight, blocks)
    if not np.isfinite(peaks).all():
        raise UserError(
            f"{name} holds numbers that are not finite",
            why="infinity and NaN have no integer",
            todo="train the model again, or take an earlier checkpoint of it",
        )
    if rule.granularity == "tensor":
        peaks = np.full_like(peaks, peaks.max())
    scales = scales_of(peaks, rule)
    if not (scales <= np.finfo(np.float32).max / largest).all():
        raise UserError(
            f"{name} holds numbers up to {peaks.max():.3g}",
            why=f"their scale is no finite {rule.scale} number",
            todo="export with RECIPE=float32",
        )
    return grid_with(weight, scales, rule)


def grid_with(weight: Floats, scales: Floats, rule: WeightsRule) -> Grid:
    """The nearest codes for scales that are known; what `grid_of` returns is a special case.

    Args:
        weight: float32 [rows, columns].
        scales: float32 [rows, blocks], of `scales_of`.
        rule: the one that they follow.
    """
    largest, blocks = largest_code(rule), scales.shape[1]
    codes = np.empty(weight.shape, np.int8)
    for start in range(0, len(weight), ROWS):
        rows = slice(start, start + ROWS)
        codes[rows] = _codes_of(weight[rows], scales[rows], largest)
    # Where nothing is left, the scale says nothing.
    used = peaks_of(codes, blocks) > 0
    if rule.granularity == "tensor":
        used[:] = used.any()
    elif rule.scale == "multiple":
        used |= used.any(axis=1, keepdims=True)
    return Grid(codes, np.where(used, scales, np.float32(1)))


def largest_code(rule: WeightsRule) -> int:
    """The magnitude that codes end at.

    Raises:
        UserError: the rule is not one of symmetric integers.
    """
    if rule.precision not in _CODE_BITS or rule.sparsity or rule.scale not in _SCALES:
        raise UserError(
            f"weights cannot be rounded to {rule.precision} with {rule.scale} scales"
            + (f" and {rule.sparsity:.2f} zeros" if rule.sparsity else ""),
            why="rounding knows int8 and int4 without zeros left out, and scales that are "
            + ", ".join(_SCALES),
            todo="change the recipe's rule",
        )
    if rule.precision == "int4":
        return 7
    return 64 if rule.reduce_range else 127


def blocks_of(weight: Floats, rule: WeightsRule, name: str = "a weight") -> int:
    """How many scales a row has.

    Raises:
        UserError: the columns are no whole number of blocks, or the rule is of another kind.
    """
    if weight.ndim != 2 or rule.granularity not in ("channel", "row", "block", "tensor"):
        raise UserError(
            f"{name} {list(weight.shape)} cannot be rounded per {rule.granularity}",
            why="rounding knows matrices, per channel, row, block or tensor",
            todo="change the recipe's rule",
        )
    if rule.granularity != "block":
        if rule.scale == "multiple":
            raise UserError(
                f"{name} has no blocks whose scales could be multiples of its rows'",
                todo="give the recipe's rule the granularity block",
            )
        return 1
    if rule.block < 1 or weight.shape[1] % rule.block:
        raise UserError(
            f"{name} {list(weight.shape)} has no whole number of blocks of {rule.block}",
            why=f"its rows have {weight.shape[1]} columns",
            todo=f"choose a recipe without blocks of {rule.block}, or give this weight a rule of "
            "its own under [weights.layers]",
        )
    return int(weight.shape[1]) // rule.block


def scales_of(peaks: Floats, rule: WeightsRule) -> Floats:
    """Scales as they are stored, for the largest magnitudes.

    Args:
        peaks: float32 [rows, blocks].
        rule: as for `grid_of`.

    Returns:
        float32 [rows, blocks], infinite where it has no such number. It gives the same for these
        scales' own largest magnitudes.
    """
    exact = _SIGNIFICAND - _CODE_BITS[rule.precision]
    if rule.scale == "multiple":
        row = row_scales_of(peaks)
        return row * multiples_of(peaks, row).astype(np.float32)
    with np.errstate(over="ignore"):
        scales = peaks / np.float32(largest_code(rule))
        if rule.scale == "float16":
            scales = _half(scales)
            if rule.precision == "int8":
                # Core ML stores weights as float16 before it quantizes them: the largest code's is
                # rounded there, and one scale in 130 would come back as its neighbour.
                largest = np.float32(largest_code(rule))
                scales = _half(_half(scales * largest) / largest)
        elif rule.scale == "bfloat16":
            scales = _to_bits(scales, 8)
            scales[scales > np.finfo(np.float16).max] = np.inf
        else:
            scales = _to_bits(scales, exact)
    scales[scales < _SMALLEST.get(rule.scale, _SMALLEST_FLOAT32)] = 1
    return scales


def _half(values: Floats) -> Floats:
    """The nearest float16 numbers."""
    return values.astype(np.float16).astype(np.float32)


def _codes_of(weight: Floats, scales: Floats, largest: int) -> npt.NDArray[np.int8]:
    """The nearest codes, int8 [rows, columns], of a weight whose scales are known."""
    parts = weight.reshape(len(weight), scales.shape[1], -1) / scales[:, :, None]
    np.clip(np.rint(parts, out=parts), -largest, largest, out=parts)
    return parts.astype(np.int8).reshape(weight.shape)


def peaks_of(weight: npt.NDArray[np.generic], blocks: int) -> Floats:
    """Largest magnitude of each block, [rows, blocks]; NaN where a block has one."""
    parts = weight.reshape(len(weight), blocks, -1)
    # Not of absolute values, which would copy the weight.
    peaks: Floats = np.maximum(parts.max(axis=2), -parts.min(axis=2))
    return peaks


def _to_bits(values: Floats, bits: int) -> Floats:
    """The nearest float32 numbers, ties to even, with that many significant bits."""
    dropped = _SIGNIFICAND - bits
    raw = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    half = (1 << (dropped - 1)) - 1 + ((raw >> np.uint64(dropped)) & np.uint64(1))
    kept = ((raw + half) >> np.uint64(dropped)) << np.uint64(dropped)
    return kept.astype(np.uint32).view(np.float32)


def row_scales_of(peaks: Floats) -> Floats:
    """Scales that take the largest magnitude of each row to 7 · 18, float32 [rows, 1]."""
    row = _to_bits(peaks.max(axis=1, keepdims=True) / np.float32(7 * MULTIPLES), _SIGNIFICAND - 7)
    return np.where(row < _SMALLEST_FLOAT32, np.float32(1), row)


def multiples_of(peaks: Floats, row: Floats) -> npt.NDArray[np.int64]:
    """How many times a row's scale [rows, 1] the scale of each block is, [rows, blocks].

    A multiple serves until it would cut more than 0.4 of a step off; of those from 6 on a little
    longer, so that the largest code that a block gets leads to the same multiple again.
    """
    steps = np.arange(2, MULTIPLES + 1)
    starts = np.where(steps < 6, 7.4 * (steps - 1), np.maximum(7.4 * (steps - 1), 6.51 * steps))
    found = np.searchsorted(starts, peaks.astype(np.float64) / row, side="right")
    return found.astype(np.int64) + 1
