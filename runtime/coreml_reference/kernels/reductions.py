"""Sums, means, extremes and running sums along axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.coreml_reference.kernels.registry import (
    Context,
    Ints,
    axes_of,
    axis_of,
    floats,
    kernel,
)
from runtime.coreml_reference.program import Array, CoreMLError

# Of integers these are no integers, and Apple's text does not say how they round.
_FLOATS_ONLY = frozenset({"reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_mean"})

Reduction = Callable[[Context, Array, Ints], Array]


def _log_sum_exp(context: Context, x: Array, axes: Ints) -> Array:
    highest = np.max(x, axis=axes, keepdims=True)
    # An infinite maximum is its own result; subtracting it would give NaN.
    highest = np.where(np.isfinite(highest), highest, x.dtype.type(0))
    powers = context.numerics.inner(np.exp(context.numerics.inner(x - highest)))
    total = context.numerics.inner(np.sum(powers, axis=axes, keepdims=True))
    return np.asarray(np.log(total) + highest)


def _sum(_context: Context, x: Array, axes: Ints) -> Array:
    return np.asarray(np.sum(x, axis=axes, keepdims=True))


def _sum_of_squares(context: Context, x: Array, axes: Ints) -> Array:
    return _sum(context, context.numerics.inner(np.square(x)), axes)


_REDUCTIONS: dict[str, Reduction] = {
    "reduce_sum": _sum,
    "reduce_mean": lambda context, x, axes: context.numerics.mean(x, axes),
    "reduce_prod": lambda _context, x, axes: np.asarray(np.prod(x, axis=axes, keepdims=True)),
    "reduce_max": lambda _context, x, axes: np.asarray(np.max(x, axis=axes, keepdims=True)),
    "reduce_min": lambda _context, x, axes: np.asarray(np.min(x, axis=axes, keepdims=True)),
    "reduce_l1_norm": lambda context, x, axes: _sum(context, np.abs(x), axes),
    "reduce_l2_norm": lambda context, x, axes: np.sqrt(_sum_of_squares(context, x, axes)),
    "reduce_sum_square": _sum_of_squares,
    "reduce_log_sum": lambda context, x, axes: np.log(_sum(context, x, axes)),
    "reduce_log_sum_exp": _log_sum_exp,
}


def _enter_reduction(kind: str, reduce: Reduction) -> None:
    def run(context: Context, x: Array, axes: Ints | None = None, keep_dims: bool = False) -> Array:
        chosen = tuple(range(x.ndim)) if axes is None else axes_of(axes, x.ndim)
        # Integers stay in their type, as in Apple's own evaluation.
        if kind in _FLOATS_ONLY:
            floats(x)
        result = reduce(context, x, chosen).astype(x.dtype, copy=False)
        return result if keep_dims else np.squeeze(result, chosen)

    kernel(kind)(run)


for _kind, _reduce in _REDUCTIONS.items():
    _enter_reduction(_kind, _reduce)


def _enter_position(kind: str, find: Callable[..., Array]) -> None:
    def run(
        _context: Context,
        x: Array,
        axis: int = -1,
        keep_dims: bool = False,
        output_dtype: str = "int32",
    ) -> Array:
        if output_dtype not in ("int32", "uint16"):
            raise CoreMLError(f"{kind} cannot give {output_dtype}")
        found = find(x, axis=axis_of(axis, x.ndim), keepdims=keep_dims)
        return np.asarray(found, np.int32 if output_dtype == "int32" else np.uint16)

    kernel(kind)(run)


_enter_position("reduce_argmax", np.argmax)
_enter_position("reduce_argmin", np.argmin)


@kernel("cumsum")
def cumsum(
    _context: Context, x: Array, axis: int = 0, exclusive: bool = False, reverse: bool = False
) -> Array:
    """Running sum, from the end if `reverse`, each element out of its own sum if `exclusive`."""
    axis = axis_of(axis, x.ndim)
    data = np.flip(x, axis) if reverse else x
    result = np.cumsum(data, axis=axis, dtype=x.dtype)
    if exclusive:
        result = np.roll(result, 1, axis)
        result[(slice(None),) * axis + (slice(0, 1),)] = 0
    return np.flip(result, axis) if reverse else result
