"""Activation functions."""

from __future__ import annotations

import math

import numpy as np

from runtime.coreml_reference import special
from runtime.coreml_reference.kernels.registry import Context, axis_of, floats, kernel
from runtime.coreml_reference.program import Array, CoreMLError


@kernel("relu")
def relu(_context: Context, x: Array) -> Array:
    """max(x, 0)."""
    floats(x)
    return np.asarray(np.maximum(x, x.dtype.type(0)))


@kernel("sigmoid")
def sigmoid(context: Context, x: Array) -> Array:
    """1 / (1 + e^−x), without overflow and with full relative precision at both ends."""
    floats(x)
    if context.numerics.stressed:
        inner = context.numerics.inner
        return np.reciprocal(inner(1 + inner(np.exp(-x))))
    return _sigmoid(x)


@kernel("silu")
def silu(context: Context, x: Array) -> Array:
    """x·sigmoid(x)."""
    return x * context.numerics.inner(sigmoid(context, x))


@kernel("erf")
def erf(_context: Context, x: Array) -> Array:
    """The error function; see `special`."""
    floats(x)
    return special.erf(x)


@kernel("softmax")
def softmax(context: Context, x: Array, axis: int = -1) -> Array:
    """e^x / Σ e^x along an axis."""
    floats(x)
    return context.numerics.softmax(x, axis_of(axis, x.ndim))


@kernel("gelu")
def gelu(context: Context, x: Array, mode: str = "EXACT") -> Array:
    """Gaussian error linear unit.

    EXACT is x/2·(1 + erf(x/√2)), TANH_APPROXIMATION is x/2·(1 + tanh(√(2/π)·(x + 0.044715x³))),
    SIGMOID_APPROXIMATION is x·sigmoid(1.702x).
    """
    floats(x)
    if mode not in _GELU:
        raise CoreMLError(f"gelu's mode {mode!r} is unknown", why=f"known are {', '.join(_GELU)}")
    if not context.numerics.stressed:
        return special.gelu(x) if mode == "EXACT" else special.in_blocks(_GELU[mode], x)
    return _stressed_gelu(context, x, mode)


def _sigmoid(x: Array) -> Array:
    # e^−|x| never overflows, and both branches keep their relative precision.
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, x.dtype.type(1), small) / (1 + small))


def _gelu_tanh(x: Array) -> Array:
    result = x * x
    result *= 0.044715
    result += 1
    result *= x
    result *= math.sqrt(2 / math.pi)
    np.tanh(result, out=result)
    result += 1
    result *= 0.5
    result *= x
    return result


def _gelu_sigmoid(x: Array) -> Array:
    return x * _sigmoid(x * x.dtype.type(1.702))


_GELU = {
    "EXACT": special.gelu,
    "TANH_APPROXIMATION": _gelu_tanh,
    "SIGMOID_APPROXIMATION": _gelu_sigmoid,
}


def _stressed_gelu(context: Context, x: Array, mode: str) -> Array:
    inner = context.numerics.inner
    kind = x.dtype.type
    if mode == "SIGMOID_APPROXIMATION":
        return x * inner(sigmoid(context, inner(x * kind(1.702))))
    if mode == "EXACT":
        bent = inner(special.erf(inner(x * kind(math.sqrt(0.5)))))
    else:
        cube = inner(inner(x * x) * x)
        inside = inner(x + inner(cube * kind(0.044715)))
        bent = inner(np.tanh(inner(inside * kind(math.sqrt(2 / math.pi)))))
    bent += 1
    return inner(kind(0.5) * x) * inner(bent)
