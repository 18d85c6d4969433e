"""Quantization of activations."""

from __future__ import annotations

import numpy as np

from runtime.coreml_reference.kernels.registry import Context, axis_of, floats, kernel
from runtime.coreml_reference.program import NUMPY_TYPES, Array, CoreMLError


@kernel("quantize")
def quantize(
    _context: Context,
    input: Array,  # noqa: A002 - MIL's name
    scale: Array,
    output_dtype: str,
    zero_point: Array | None = None,
    axis: int | None = None,
) -> Array:
    """clip(round(input / scale) + zero_point), ties to even."""
    floats(input, scale)
    if output_dtype not in ("int8", "uint8"):
        raise CoreMLError(f"quantize to {output_dtype} is unknown")
    target = np.dtype(NUMPY_TYPES[output_dtype])
    if zero_point is not None and zero_point.dtype != target:
        raise CoreMLError(f"the zero point is {zero_point.dtype}, the output {output_dtype}")
    result = input / _along(scale, input, axis)
    np.rint(result, out=result)
    if zero_point is not None:
        result += _along(zero_point, input, axis).astype(result.dtype)
    limits = np.iinfo(target)
    if np.isnan(result).any():
        raise CoreMLError("a value that is not a number cannot be quantized")
    return np.clip(result, limits.min, limits.max).astype(target)


@kernel("dequantize")
def dequantize(
    _context: Context,
    input: Array,  # noqa: A002 - MIL's name
    scale: Array,
    zero_point: Array | None = None,
    axis: int | None = None,
) -> Array:
    """(input − zero_point)·scale."""
    floats(scale)
    if input.dtype not in (np.int8, np.uint8):
        raise CoreMLError(f"dequantize of {input.dtype} is unknown")
    result = input.astype(scale.dtype)
    if zero_point is not None:
        if zero_point.dtype != input.dtype:
            raise CoreMLError(f"the zero point is {zero_point.dtype}, the input {input.dtype}")
        result -= _along(zero_point, input, axis).astype(scale.dtype)
    result *= _along(scale, input, axis)
    return result


def _along(parameter: Array, data: Array, axis: int | None) -> Array:
    """A scalar as it is, a vector along an axis of the data."""
    if parameter.ndim == 0:
        return parameter
    if axis is None:
        raise CoreMLError("a vector of scales or zero points needs an axis")
    place = axis_of(axis, data.ndim)
    if parameter.shape != (data.shape[place],):
        raise CoreMLError(f"a vector of {parameter.shape} does not fit axis {axis} of {data.shape}")
    return parameter.reshape(tuple(-1 if k == place else 1 for k in range(data.ndim)))
