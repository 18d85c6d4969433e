"""Rounding that lets later columns make up for the error of earlier ones.

GPTQ: Frantar et al., arXiv 2210.17323, algorithm 1, with the columns in the order of their inputs'
size (section 3.3 of the authors' code, "act-order") and scales that are fixed beforehand, so that
the order does not matter to them. The result is on the grid of those scales, bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from export.rounding.grid import ROWS, Floats, Grid

# Added to the diagonal, in parts of its mean. Of 0.01, 0.1 and 1 the best lay between the first two
# for texts that were not seen (export/rounding/README.md).
_DAMPING = 0.05
# Columns that are finished before the rest is touched: one product instead of many small ones.
_TOGETHER = 128


def compensated(weight: Floats, start: Grid, moments: torch.Tensor) -> Grid:
    """Codes with a small error of the layer's outputs instead of its weights.

    Args:
        weight: float32 [rows, columns].
        start: its grid; scales are kept, and so is the code of the largest weight of each block,
            by which whoever reads the result finds the scale again.
        moments: XᵀX of the layer's inputs, or of gradients by an embedding's rows, float32
            [columns, columns].

    Returns:
        A grid with the scales of `start`.
    """
    factor, order = _inverse_factor(moments)
    codes = np.empty(weight.shape, np.int8)
    for first in range(0, len(weight), ROWS):
        rows = slice(first, first + ROWS)
        codes[rows] = _codes(
            weight[rows], Grid(start.codes[rows], start.scales[rows]), factor, order
        )
    return Grid(codes, start.scales)


def _codes(
    weight: Floats, start: Grid, factor: torch.Tensor, order: torch.Tensor
) -> npt.NDArray[np.int8]:
    """Codes of some rows, each of which knows nothing of the others."""
    rows, columns = weight.shape
    blocks = start.scales.shape[1]
    # Transposed: what is worked on, a column of all rows, then lies together in memory.
    left = torch.from_numpy(np.ascontiguousarray(weight.T))[order]
    scales = torch.from_numpy(start.scales).T.repeat_interleave(columns // blocks, dim=0)[order]
    parts = torch.from_numpy(start.codes).reshape(rows, blocks, -1)
    ends = parts.abs().amax(dim=2).T.repeat_interleave(columns // blocks, dim=0)[order]
    kept = _largest_of_blocks(weight, start)[order]
    fixed = torch.from_numpy(start.codes).T[order].to(torch.float32)
    codes = torch.empty_like(left)
    for first in range(0, columns, _TOGETHER):
        last = min(first + _TOGETHER, columns)
        errors = torch.empty_like(left[first:last])
        for column in range(first, last):
            end = ends[column].to(torch.float32)
            code = (left[column] / scales[column]).round().clamp(-end, end)
            codes[column] = torch.where(kept[column], fixed[column], code)
            wrong = left[column] - codes[column] * scales[column]
            errors[column - first] = wrong / factor[column, column]
            left[column:last] -= factor[column, column:last, None] * errors[column - first]
        left[last:] -= factor[first:last, last:].T @ errors
    result = torch.empty_like(codes)
    result[order] = codes
    return result.T.to(torch.int8).contiguous().numpy()


def _inverse_factor(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper Cholesky factor of the inverse, and the order of columns that it is for."""
    diagonal = moments.diagonal()
    order = diagonal.argsort(descending=True, stable=True)
    # Double: a few thousand texts' first tokens leave most directions nearly unseen.
    hessian = moments[order][:, order].double()
    mean = float(hessian.diagonal().mean())
    hessian.diagonal().add_(_DAMPING * mean if mean > 0 else 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True).float(), order


def _largest_of_blocks(weight: Floats, start: Grid) -> torch.Tensor:
    """Bool [columns, rows]: one per block, which has the block's largest code."""
    rows, columns = weight.shape
    blocks = start.scales.shape[1]
    sizes = np.abs(weight.reshape(rows, blocks, -1)).argmax(axis=2)
    found = np.zeros((rows, blocks, columns // blocks), bool)
    np.put_along_axis(found, sizes[:, :, None], values=True, axis=2)
    return torch.from_numpy(found.reshape(rows, columns).T.copy())
