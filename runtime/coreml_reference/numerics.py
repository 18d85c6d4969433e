"""The numeric modes: in which type an operation computes, and where results are rounded.

``f32``, ``f64``
    Every float is computed and kept in that type, whatever the program declares. Weights carry only
    the rounding they were stored with. What remains is the graph.
``f16``
    Every operation computes in float64 and its result is rounded once, to nearest and ties to even,
    to the type that the program declares: the best any device can do operation by operation. Sums
    of products of fp16 numbers are exact in float64 but for rare cases, so the bits depend neither
    on threads nor on the BLAS library.
``f16acc``
    A stress test, not a bound: products are summed in fp16 in blocks of `accumulation_block` terms,
    and softmax, normalisations and activations round to fp16 after every inner step, also where the
    program declares fp32. The base type is float32.

Rounded values are kept in the computing type, which represents them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from runtime.coreml_reference.program import Array, CoreMLError

Mode = Literal["f32", "f64", "f16", "f16acc"]
MODES: tuple[Mode, ...] = ("f32", "f64", "f16", "f16acc")
FLOAT_TYPES = frozenset({"fp16", "fp32", "fp64"})

_BLOCK = 1 << 14
_HALF_LARGEST = 65504.0


@dataclass(frozen=True)
class _Layout:
    """A float type's bits, for rounding to fp16 faster than numpy converts.

    Attributes:
        integer: the integer type of the same width.
        sign, exponent: masks.
        shift: added to the bits of 2^e it gives 1.5·2^(e + mantissa bits − 10).
        smallest, large, beyond: the bits of 2^−14, 2^15 and 2^17.
    """

    integer: type[Any]
    sign: int
    exponent: int
    shift: int
    smallest: int
    large: int
    beyond: int


def _layout(integer: type[Any], mantissa: int, bias: int) -> _Layout:
    return _Layout(
        integer=integer,
        sign=int(np.iinfo(integer).min),
        exponent=(2 * bias + 1) << mantissa,
        shift=((mantissa - 10) << mantissa) | (1 << (mantissa - 1)),
        smallest=(bias - 14) << mantissa,
        large=(bias + 15) << mantissa,
        beyond=(bias + 17) << mantissa,
    )


_LAYOUTS = {
    np.dtype(np.float32): _layout(np.int32, 23, 127),
    np.dtype(np.float64): _layout(np.int64, 52, 1023),
}


@dataclass(frozen=True, slots=True)
class Numerics:
    """How one mode computes.

    Attributes:
        mode: see the module's text.
        block: terms that `f16acc` sums between two roundings.
    """

    mode: Mode
    block: int = 32

    @property
    def float_type(self) -> np.dtype[Any]:
        """The type in which floats are kept and computed."""
        return np.dtype(np.float64 if self.mode in ("f64", "f16") else np.float32)

    @property
    def typed(self) -> bool:
        """Whether results are rounded to the declared type."""
        return self.mode in ("f16", "f16acc")

    @property
    def stressed(self) -> bool:
        """Whether operations round inside as well."""
        return self.mode == "f16acc"

    def load(self, values: Array) -> Array:
        """Floats of any type, as this mode keeps them; other kinds are returned as they are."""
        if values.dtype.kind != "f":
            return values
        return values.astype(self.float_type, copy=False)

    def store(self, result: Array, declared: str) -> Array:
        """Round a float result to the declared type. Writes into `result` where that is possible.

        Args:
            result: of the mode's float type; must be the caller's own.
            declared: ``fp16``, ``fp32`` or ``fp64``.
        """
        if not self.typed or declared == "fp64":
            return result
        if declared == "fp16":
            return round_to_half(result)
        if result.dtype == np.float32:
            return result
        return result.astype(np.float32).astype(self.float_type)

    def inner(self, value: Array) -> Array:
        """An inner step's result: floats rounded to fp16 under stress. May write into `value`."""
        return round_to_half(value) if self.stressed and value.dtype.kind == "f" else value

    def matmul(self, x: Array, y: Array) -> Array:
        """Matrix product, broadcast as numpy does; under stress summed in fp16 blocks.

        Args:
            x: (…, M, K).
            y: (…, K, N).
        """
        if not self.stressed or x.dtype.kind != "f":
            return np.asarray(np.matmul(x, y))
        total: Array | None = None
        for start in range(0, x.shape[-1], self.block):
            end = start + self.block
            part = round_to_half(np.matmul(x[..., start:end], y[..., start:end, :]))
            if total is None:
                total = part
            else:
                total += part
                total = round_to_half(total)
        return np.matmul(x, y) if total is None else total

    def softmax(self, x: Array, axis: int) -> Array:
        """e^(x − max) / Σ e^(x − max) along one axis."""
        result = self.inner(x - np.max(x, axis=axis, keepdims=True))
        np.exp(result, out=result)
        result = self.inner(result)
        result /= self.inner(np.sum(result, axis=axis, keepdims=True))
        return result

    def mean(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Mean over axes, which stay with length 1.

        Raises:
            CoreMLError: there is nothing to take the mean of.
        """
        if not x.size:
            raise CoreMLError(f"a tensor of shape {x.shape} has no mean")
        return self.inner(np.mean(x, axis=axes, keepdims=True))


def round_to_half(values: Array) -> Array:
    """Round to the nearest fp16 number, ties to even; the type stays as it is.

    The sum of x and 1.5·2^(e + mantissa bits − 10) has no room for bits below 2^(e − 10), which is
    fp16's last place for |x| in [2^e, 2^(e + 1)); e is at least −14, so subnormal numbers come out
    right too. From 65520 on the result is infinite.

    Args:
        values: float32 or float64. Written over if contiguous and writeable, else copied first.

    Returns:
        The rounded values, float32 or float64.
    """
    result = values
    if not (result.flags.c_contiguous and result.flags.writeable):
        result = np.array(result, order="C")
    layout = _LAYOUTS[result.dtype]
    flat = result.reshape(-1)
    scale = np.empty(min(flat.size, _BLOCK), result.dtype)
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        _round_block(part, scale[: part.size], layout)
    return result


def _round_block(part: Array, scale: Array, layout: _Layout) -> None:
    bits = scale.view(layout.integer)
    np.bitwise_and(part.view(layout.integer), layout.exponent, out=bits)
    # From 2^15 on a value may overflow; infinity and NaN have the highest exponent of all.
    large = bits.max() >= layout.large
    np.maximum(bits, layout.smallest, out=bits)
    if large:
        np.minimum(bits, layout.beyond, out=bits)
    bits += layout.shift
    rounded = part + scale
    rounded -= scale
    if large:
        rounded[rounded > _HALF_LARGEST] = np.inf
        rounded[rounded < -_HALF_LARGEST] = -np.inf
    # A negative number that rounds to zero stays negative.
    np.bitwise_and(part.view(layout.integer), layout.sign, out=bits)
    np.bitwise_or(rounded.view(layout.integer), bits, out=part.view(layout.integer))
