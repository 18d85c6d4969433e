"""Slices and gathers."""

from __future__ import annotations

import numpy as np

from runtime.coreml_reference.kernels.registry import Context, Ints, Stored, axis_of, kernel
from runtime.coreml_reference.program import Array, CoreMLError


@kernel("slice_by_index", moves=True)
def slice_by_index(
    _context: Context,
    x: Array,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Ints | None = None,
    end_mask: Ints | None = None,
    squeeze_mask: Ints | None = None,
) -> Array:
    """x[begin:end:stride, …] with numpy's meaning of negative numbers.

    A true `begin_mask` or `end_mask` leaves that bound open; a true `squeeze_mask` takes the one
    element at begin and drops the axis.
    """
    rank = x.ndim
    strides = stride if stride is not None else (1,) * rank
    open_begin, open_end, single = (
        mask if mask is not None else (0,) * rank for mask in (begin_mask, end_mask, squeeze_mask)
    )
    for part in (begin, end, strides, open_begin, open_end, single):
        if len(part) != rank:
            raise CoreMLError(f"bounds for {len(part)} axes do not fit a tensor of {rank} axes")
    index: list[int | slice] = []
    for axis in range(rank):
        first = None if open_begin[axis] else begin[axis]
        if single[axis]:
            index.append(first or 0)
        else:
            index.append(slice(first, None if open_end[axis] else end[axis], strides[axis]))
    return np.asarray(x[tuple(index)])


@kernel("slice_by_size", moves=True)
def slice_by_size(_context: Context, x: Array, begin: Ints, size: Ints) -> Array:
    """Take `size` elements from begin on along each axis; −1 takes all that are left."""
    if len(begin) != x.ndim or len(size) != x.ndim:
        raise CoreMLError(f"begin {begin} and size {size} do not fit {x.shape}")
    index: list[slice] = []
    for first, count, length in zip(begin, size, x.shape, strict=True):
        start = first + length if first < 0 else first
        stop = length if count == -1 else start + count
        if not 0 <= start <= stop <= length:
            raise CoreMLError(f"begin {begin} and size {size} leave the tensor {x.shape}")
        index.append(slice(start, stop))
    return x[tuple(index)]


@kernel("gather", moves=True)
def gather(
    context: Context,
    x: Stored,
    indices: Array,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Array:
    """Slices of x along an axis.

    Args:
        context: the mode; up to iOS 16 negative indices count from the end, later they are errors.
        x: (D…).
        indices: (N…); the first `batch_dims` axes are shared with x.
        axis: not before `batch_dims`.
        batch_dims: shared axes.
        validate_indices: of no effect, since indices outside x are always refused here.

    Returns:
        D[:axis] + N[batch_dims:] + D[axis + 1:].
    """
    del validate_indices
    place = axis_of(axis, x.ndim)
    if not 0 <= batch_dims <= min(place, indices.ndim):
        raise CoreMLError(f"batch_dims {batch_dims} do not fit axis {axis}")
    found = _inside(context, indices, x.shape[place])
    context.allow((*x.shape[:place], *indices.shape[batch_dims:], *x.shape[place + 1 :]))
    if batch_dims == 0:
        return context.numerics.load(np.asarray(np.take(x, found, axis=place)))
    if x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise CoreMLError(f"x {x.shape} and indices {indices.shape} have different batches")
    batch = tuple(
        np.arange(length).reshape((-1,) + (1,) * (indices.ndim - k - 1))
        for k, length in enumerate(x.shape[:batch_dims])
    )
    picked = np.moveaxis(x, place, batch_dims)[(*batch, found)]
    # The new axes stand right behind the batch; they belong where `axis` was.
    new = range(batch_dims, indices.ndim)
    between = place - batch_dims
    picked = np.moveaxis(picked, tuple(new), tuple(k + between for k in new))
    return context.numerics.load(np.asarray(picked))


@kernel("gather_along_axis", moves=True)
def gather_along_axis(
    context: Context, x: Stored, indices: Array, axis: int = 0, validate_indices: bool = False
) -> Array:
    """x[…, indices[…, i, …], …]: one index per element of the result, which has indices' shape."""
    del validate_indices
    place = axis_of(axis, x.ndim)
    if indices.ndim != x.ndim or any(
        a != b for k, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True)) if k != place
    ):
        raise CoreMLError(f"x {x.shape} and indices {indices.shape} do not fit together")
    found = _inside(context, indices, x.shape[place])
    return context.numerics.load(np.take_along_axis(x, found, axis=place))


@kernel("gather_nd", moves=True)
def gather_nd(
    context: Context,
    x: Stored,
    indices: Array,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Array:
    """Slices of x at points: indices' last axis names a place along each of x's next axes."""
    del validate_indices
    depth = indices.shape[-1] if indices.ndim else 0
    if not 0 <= batch_dims < max(indices.ndim, 1) or not 1 <= depth <= x.ndim - batch_dims:
        raise CoreMLError(f"x {x.shape}, indices {indices.shape}, batch_dims {batch_dims} misfit")
    if x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise CoreMLError(f"x {x.shape} and indices {indices.shape} have different batches")
    context.allow((*indices.shape[:-1], *x.shape[batch_dims + depth :]))
    points = [_inside(context, indices[..., k], x.shape[batch_dims + k]) for k in range(depth)]
    batch = [
        np.arange(length).reshape((-1,) + (1,) * (indices.ndim - k - 2))
        for k, length in enumerate(x.shape[:batch_dims])
    ]
    return context.numerics.load(np.asarray(x[(*batch, *points)]))


def _inside(context: Context, indices: Array, length: int) -> Array:
    """The indices as non-negative intp.

    Raises:
        CoreMLError: one is outside; from iOS 17 on the device's result is then undefined.
    """
    if indices.dtype.kind not in "iu":
        raise CoreMLError(f"indices are {indices.dtype}, not integers")
    found = indices.astype(np.intp)
    if not found.size:
        return found
    lowest, highest = int(found.min()), int(found.max())
    allowed = -length if context.ios < 17 else 0
    if lowest < allowed or highest >= length:
        outside = lowest if lowest < allowed else highest
        raise CoreMLError(f"the index {outside} is outside a table of {length} entries")
    return np.where(found < 0, found + length, found) if lowest < 0 else found
