"""Normalisation over axes or with stored statistics."""

from __future__ import annotations

import numpy as np

from runtime.coreml_reference.kernels.registry import Context, Ints, axes_of, floats, kernel
from runtime.coreml_reference.program import Array, CoreMLError


@kernel("layer_norm")
def layer_norm(
    context: Context,
    x: Array,
    axes: Ints | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
) -> Array:
    """(x − mean)/√(variance + epsilon)·gamma + beta over axes; gamma and beta have their shape."""
    floats(x)
    inner = context.numerics.inner
    chosen = tuple(range(x.ndim)) if axes is None else axes_of(axes, x.ndim)
    lengths = tuple(x.shape[axis] for axis in sorted(chosen))
    result = inner(x - context.numerics.mean(x, chosen))
    variance = context.numerics.mean(inner(np.square(result)), chosen)
    variance += variance.dtype.type(epsilon)
    result *= inner(np.reciprocal(np.sqrt(variance)))
    shape = tuple(length if axis in chosen else 1 for axis, length in enumerate(x.shape))
    return _scale_and_shift(context, result, gamma, beta, lengths, shape)


@kernel("batch_norm")
def batch_norm(
    context: Context,
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
) -> Array:
    """(x − mean)/√(variance + epsilon)·gamma + beta, each of length x.shape[1]."""
    floats(x, mean, variance)
    if x.ndim < 3 or mean.shape != x.shape[1:2] or variance.shape != mean.shape:
        raise CoreMLError(f"mean {mean.shape} and variance {variance.shape} do not fit {x.shape}")
    inner = context.numerics.inner
    shape = (1, x.shape[1], *(1 for _ in x.shape[2:]))
    root = np.sqrt(variance + variance.dtype.type(epsilon))
    result = inner(x - mean.reshape(shape))
    result *= inner(np.reciprocal(root)).reshape(shape)
    return _scale_and_shift(context, result, gamma, beta, x.shape[1:2], shape)


def _scale_and_shift(
    context: Context,
    result: Array,
    gamma: Array | None,
    beta: Array | None,
    lengths: Ints,
    shape: Ints,
) -> Array:
    result = context.numerics.inner(result)
    for name, factor in (("gamma", gamma), ("beta", beta)):
        if factor is not None and (factor.shape != lengths or factor.dtype != result.dtype):
            raise CoreMLError(f"{name} is {factor.dtype} {factor.shape}, not {lengths}")
    if gamma is not None:
        result *= gamma.reshape(shape)
        result = context.numerics.inner(result)
    if beta is not None:
        result += beta.reshape(shape)
    return result
