"""Scales that cut off the largest weights where that makes the squared error smaller.

A few large weights make the steps of all that share their scale coarse. Every share of the largest
magnitude is tried and the one with the least squared error kept, per scale (Nahshan et al., "Loss
aware post-training quantization", arXiv 1911.07190, section 3, with the error of the weights). What
is cut off ends at the largest code, so that the result is on its own grid.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from export.recipes import WeightsRule
from export.rounding.grid import (
    MULTIPLES,
    ROWS,
    Floats,
    Grid,
    grid_of,
    grid_with,
    largest_code,
    multiples_of,
    peaks_of,
    row_scales_of,
    scales_of,
)

# Of 64-element blocks less than a hundredth ends below half of its largest magnitude; rows of an
# embedding with an outlier do.
_SHARES = np.arange(1.0, 0.34, -0.03, dtype=np.float32)
# A row's scale reaches all of its blocks, each of which may then take a smaller multiple of it.
_ROW_SHARES = np.arange(1.0, 0.6, -0.05, dtype=np.float32)
_FEWER_MULTIPLES = 8


def clipped(
    weight: Floats,
    rule: WeightsRule,
    importance: Floats | None = None,
    name: str = "a weight",
) -> Grid:
    """The grid with the least squared error of those whose ends lie within the weight.

    Args:
        weight: float32 [rows, columns].
        rule: as for `grid_of`.
        importance: float32 [columns], not negative: the mean square of the numbers that a column
            is multiplied with; None for ones.
        name: of the weight, for messages.

    Returns:
        A grid with ``grid_of(grid.dense(), rule) == grid``, bit for bit.

    Raises:
        UserError: as `grid_of`.
    """
    scales = grid_of(weight, rule, name).scales
    if not weight.size or (importance is not None and not importance.any()):
        importance = None
    if rule.granularity == "tensor":
        return grid_with(weight, _best_of_tensor(weight, rule, importance), rule)
    best = _best_multiples if rule.scale == "multiple" else _best
    for start in range(0, len(weight), ROWS):
        rows = slice(start, start + ROWS)
        scales[rows] = best(weight[rows], scales.shape[1], rule, importance)
    return grid_with(weight, scales, rule)


def squared_error(
    weight: Floats, scales: Floats, largest: int, importance: Floats | None
) -> npt.NDArray[np.float64]:
    """Of the nearest codes, summed per block and weighted by importance: [rows, blocks]."""
    parts = weight.reshape(len(weight), scales.shape[1], -1)
    steps = scales[:, :, None]
    wrong = parts / steps
    np.clip(np.rint(wrong, out=wrong), -largest, largest, out=wrong)
    wrong *= steps
    wrong -= parts
    np.square(wrong, out=wrong)
    weights = np.ones(weight.shape[1], np.float32) if importance is None else importance
    errors: Floats = np.einsum("rbc,bc->rb", wrong, weights.reshape(scales.shape[1], -1))
    return errors.astype(np.float64)


def _best(weight: Floats, blocks: int, rule: WeightsRule, importance: Floats | None) -> Floats:
    peaks, largest = peaks_of(weight, blocks), largest_code(rule)
    return _least(
        weight, (scales_of(peaks * share, rule) for share in _SHARES), largest, importance
    )[0]


def _best_of_tensor(weight: Floats, rule: WeightsRule, importance: Floats | None) -> Floats:
    """One scale for all rows; [rows, 1]."""
    peaks = np.full((len(weight), 1), np.abs(weight).max(initial=0.0), np.float32)
    tried = [scales_of(peaks * share, rule) for share in _SHARES]
    errors = [squared_error(weight, s, largest_code(rule), importance).sum() for s in tried]
    return tried[int(np.argmin(errors))]


def _best_multiples(
    weight: Floats, blocks: int, rule: WeightsRule, importance: Floats | None
) -> Floats:
    """Multiples of a row's scale, which is sought along with them; [rows, blocks]."""
    peaks, largest = peaks_of(weight, blocks), largest_code(rule)
    # The block that sets the row's scale keeps the largest multiple, or another would set it.
    sets = peaks == peaks.max(axis=1, keepdims=True)
    found = least = None
    for row_share in _ROW_SHARES:
        row = row_scales_of(peaks * row_share)
        most = np.where(sets, MULTIPLES, multiples_of(peaks, row))
        tried = (
            row * np.where(sets, most, np.maximum(most - fewer, 1)).astype(np.float32)
            for fewer in range(_FEWER_MULTIPLES)
        )
        scales, errors = _least(weight, tried, largest, importance)
        total = errors.sum(axis=1, keepdims=True)
        if found is None or least is None:
            found, least = scales, total
        else:
            found = np.where(total < least, scales, found)
            least = np.minimum(total, least)
    return np.ones_like(peaks) if found is None else found


def _least(
    weight: Floats, candidates: Iterator[Floats], largest: int, importance: Floats | None
) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Per block the scale with the least error, the first of equals, and that error."""
    found = next(candidates)
    least = squared_error(weight, found, largest, importance)
    for scales in candidates:
        errors = squared_error(weight, scales, largest, importance)
        found = np.where(errors < least, scales, found)
        least = np.minimum(errors, least)
    return found, least
