"""Evaluates compressed constants (`constexpr_*`) to the dense arrays that operations compute with.

The parameters are inputs from iOS 18 on and attributes before; both forms of
`constexpr_lut_to_dense` and `constexpr_sparse_to_dense` are known and told apart by the parameter
``shape``. Formulas are those of Apple's op specification; floats are computed in the mode's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtime.coreml_reference.kernels.registry import allow
from runtime.coreml_reference.numerics import Numerics
from runtime.coreml_reference.packing import unpack
from runtime.coreml_reference.program import Array, CoreMLError, Operation

_ROWS_AT_ONCE = 1 << 20


class _Parameters:
    """A constant operation's parameters, taken out one by one so that none is overlooked."""

    def __init__(self, values: Mapping[str, Any], numerics: Numerics) -> None:
        self._values = dict(values)
        self._numerics = numerics

    def has(self, name: str) -> bool:
        return name in self._values

    def tensor(self, name: str) -> Array:
        if name not in self._values:
            raise CoreMLError(f"the parameter {name} is missing")
        value = self._values.pop(name)
        if not isinstance(value, np.ndarray | np.generic):
            raise CoreMLError(f"the parameter {name} is no tensor")
        return np.asarray(value)

    def integers(self, name: str) -> Array:
        value = self.tensor(name)
        if value.dtype.kind not in "iu":
            raise CoreMLError(f"the parameter {name} is {value.dtype}, not integers")
        return value

    def floats(self, name: str) -> Array:
        value = self.tensor(name)
        if value.dtype.kind not in "fiu":
            raise CoreMLError(f"the parameter {name} is {value.dtype}, not numbers")
        return value.astype(self._numerics.float_type)

    def scalar(self, name: str) -> int:
        value = self.integers(name)
        if value.ndim:
            raise CoreMLError(f"the parameter {name} is no scalar")
        return int(value)

    def text(self, name: str) -> str:
        value = self._values.pop(name, None)
        if not isinstance(value, str):
            raise CoreMLError(f"the parameter {name} is no text")
        return value

    def finish(self) -> None:
        if self._values:
            raise CoreMLError(f"the parameters {', '.join(sorted(self._values))} are unknown")


def evaluate(
    operation: Operation, values: Mapping[str, Any], numerics: Numerics
) -> tuple[Array, ...]:
    """The outputs of a `constexpr_*` operation, not yet rounded to their declared type.

    Args:
        operation: its kind is one of `kernels.CONSTANT_OPERATIONS`, `const` excepted.
        values: parameter → data as stored or as an earlier constant operation gave it.
        numerics: floats are computed in its type.

    Raises:
        CoreMLError: parameters are missing, unknown, of wrong types, or contradict each other.
    """
    parameters = _Parameters(values, numerics)
    result = _EVALUATORS[operation.kind](parameters, numerics)
    parameters.finish()
    return result if isinstance(result, tuple) else (result,)


def _affine_dequantize(parameters: _Parameters, _numerics: Numerics) -> Array:
    """scale·(data − zero point), scalars or along an axis."""
    data = parameters.floats("quantized_data")
    scale, zero_point = parameters.floats("scale"), parameters.floats("zero_point")
    axis = parameters.scalar("axis")
    if not -data.ndim <= axis < data.ndim:
        raise CoreMLError(f"axis {axis} is outside data of shape {data.shape}")
    shape = tuple(-1 if k == axis % data.ndim else 1 for k in range(data.ndim))
    for factor in (scale, zero_point):
        if factor.ndim and factor.shape != (data.shape[axis],):
            raise CoreMLError(f"{factor.shape} does not fit axis {axis} of {data.shape}")
    data -= zero_point.reshape(shape) if zero_point.ndim else zero_point
    data *= scale.reshape(shape) if scale.ndim else scale
    return data


def _blockwise_shift_scale(parameters: _Parameters, _numerics: Numerics) -> Array:
    """scale·(data − offset), one scale and offset for each block."""
    data, scale = parameters.floats("data"), parameters.floats("scale")
    offset = parameters.floats("offset") if parameters.has("offset") else None
    return _shift_scale(data, scale, offset)


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    blocks = _blocks(data.shape, scale.shape)
    if offset is not None and offset.shape != scale.shape:
        raise CoreMLError(f"offsets {offset.shape} and scales {scale.shape} differ in shape")
    # Each axis becomes two: blocks, and places in a block.
    split = tuple(n for pair in zip(scale.shape, blocks, strict=True) for n in pair)
    each = tuple(n for length in scale.shape for n in (length, 1))
    view = data.reshape(split)
    if offset is not None:
        view -= offset.reshape(each)
    view *= scale.reshape(each)
    return view.reshape(data.shape)


def _blocks(shape: tuple[int, ...], groups: tuple[int, ...]) -> tuple[int, ...]:
    fits = len(shape) == len(groups) and len(shape) > 0
    if not fits or any(g < 1 or n % g for n, g in zip(shape, groups, strict=True)):
        raise CoreMLError(f"groups of shape {groups} do not divide data of shape {shape}")
    return tuple(n // g for n, g in zip(shape, groups, strict=True))


def _cast(parameters: _Parameters, _numerics: Numerics) -> Array:
    if parameters.text("output_dtype") != "fp32":
        raise CoreMLError("constexpr_cast gives fp32 only")
    source = parameters.tensor("source_val")
    if source.dtype != np.float16:
        raise CoreMLError(f"constexpr_cast takes fp16, not {source.dtype}")
    return source.astype(_numerics.float_type)


def _lut_to_dense(parameters: _Parameters, numerics: Numerics) -> Array:
    """Values looked up in tables: one table up to iOS 17, one for each group from iOS 18 on."""
    indices = parameters.integers("indices")
    table = numerics.load(parameters.tensor("lut"))
    if not parameters.has("shape"):
        axis = parameters.scalar("vector_axis") if parameters.has("vector_axis") else None
        return _look_up(indices, table, axis)
    shape = _shape(parameters)
    if table.ndim != 1 or table.size not in (2, 4, 8, 16, 64, 256):
        raise CoreMLError(f"a table of shape {table.shape} is not one of 2, 4, 8, 16, 64 or 256")
    count = math.prod(shape)
    bits = table.size.bit_length() - 1
    return np.take(table, _unpacked(indices, bits, count)).reshape(shape)


def _look_up(indices: Array, table: Array, vector_axis: int | None) -> Array:
    """The element or vector of each index, from the table of the index's group.

    Args:
        indices: (N…).
        table: (groups per axis…, entries, vector size).
        vector_axis: the axis along which a vector's elements are laid.
    """
    if table.ndim != indices.ndim + 2 or not indices.size:
        raise CoreMLError(f"tables {table.shape} do not fit indices {indices.shape}")
    groups, (entries, vector) = table.shape[: indices.ndim], table.shape[indices.ndim :]
    blocks = _blocks(indices.shape, groups)
    allow((*indices.shape, vector))
    highest = int(indices.max())
    if highest >= entries or int(indices.min()) < 0:
        raise CoreMLError(f"the index {highest} is outside a table of {entries} entries")
    flat = table.reshape(-1, vector)
    result = np.empty((*indices.shape, vector), table.dtype)
    strides = np.cumprod((1, *groups[:0:-1]))[::-1] * entries
    rows = max(1, _ROWS_AT_ONCE * indices.shape[0] // indices.size)
    for start in range(0, indices.shape[0], rows):
        part = indices[start : start + rows].astype(np.intp)
        if math.prod(groups) > 1:
            for axis, (block, stride) in enumerate(zip(blocks, strides, strict=True)):
                first = start if axis == 0 else 0
                group = (np.arange(first, first + part.shape[axis]) // block) * stride
                part += group.reshape(tuple(-1 if k == axis else 1 for k in range(part.ndim)))
        np.take(flat, part, axis=0, out=result[start : start + rows], mode="clip")
    if vector == 1:
        return result[..., 0]
    if vector_axis is None or not -indices.ndim <= vector_axis < indices.ndim:
        raise CoreMLError(f"vectors of {vector} need a vector axis, not {vector_axis}")
    axis = vector_axis % indices.ndim
    shape = tuple(n * vector if k == axis else n for k, n in enumerate(indices.shape))
    return np.moveaxis(result, -1, axis + 1).reshape(shape)


def _sparse_to_dense(parameters: _Parameters, numerics: Numerics) -> Array:
    """Values at a mask's ones, zero elsewhere."""
    values = numerics.load(parameters.tensor("nonzero_data"))
    mask = parameters.integers("mask")
    if parameters.has("shape"):
        shape = _shape(parameters)
        mask = _unpacked(mask, 1, math.prod(shape)).reshape(shape)
    return _scatter(values, mask)


def _scatter(values: Array, mask: Array) -> Array:
    chosen = mask.astype(np.bool_)
    if values.shape != (int(np.count_nonzero(chosen)),):
        raise CoreMLError(f"a mask has {np.count_nonzero(chosen)} ones for {values.size} values")
    dense = np.zeros(mask.shape, values.dtype)
    dense[chosen] = values
    return dense


def _lut_to_sparse(parameters: _Parameters, numerics: Numerics) -> tuple[Array, Array]:
    """A mask and the values looked up at its ones."""
    mask = parameters.integers("indices_mask")
    indices = _scatter(parameters.integers("indices_nonzero_data"), mask)
    axis = parameters.scalar("vector_axis") if parameters.has("vector_axis") else None
    table = numerics.load(parameters.tensor("lut"))
    dense = _look_up(indices, table, axis)
    if table.shape[-1] > 1 and axis is not None:
        mask = np.repeat(mask, table.shape[-1], axis=axis)
    return mask, dense[mask.astype(np.bool_)]


def _sparse_blockwise(parameters: _Parameters, numerics: Numerics) -> tuple[Array, Array]:
    """A mask and scale·(data − offset) at its ones."""
    mask = parameters.integers("data_mask")
    data = _scatter(parameters.tensor("nonzero_data"), mask).astype(numerics.float_type)
    scale = parameters.floats("scale")
    offset = parameters.floats("offset") if parameters.has("offset") else None
    return mask, _shift_scale(data, scale, offset)[mask.astype(np.bool_)]


def _unpacked(packed: Array, bits: int, count: int) -> Array:
    """Numbers of up to eight bits from a stream of bits that holds just so many."""
    if packed.dtype != np.uint8 or packed.shape != (-(-count * bits // 8),):
        raise CoreMLError(f"{packed.size} bytes do not hold {count} numbers of {bits} bits")
    return packed if bits == 8 else unpack(packed, bits, (count,), signed=False)


def _shape(parameters: _Parameters) -> tuple[int, ...]:
    stored = parameters.integers("shape")
    if stored.ndim != 1:
        raise CoreMLError("the parameter shape is no vector")
    shape = tuple(int(length) for length in stored)
    allow(shape)
    return shape


_EVALUATORS: Mapping[str, Callable[[_Parameters, Numerics], Array | tuple[Array, ...]]] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
