"""Operations that move values or make up shapes, without arithmetic."""

from __future__ import annotations

import math

import numpy as np

from runtime.coreml_reference.kernels.registry import (
    Arrays,
    Context,
    Ints,
    axes_of,
    axis_of,
    floats,
    kernel,
)
from runtime.coreml_reference.program import Array, CoreMLError


@kernel("identity", moves=True)
def identity(_context: Context, x: Array) -> Array:
    """The value itself."""
    return x


@kernel("reshape", moves=True)
def reshape(context: Context, x: Array, shape: Ints) -> Array:
    """The same values in another shape.

    −1 stands for what is left. 0 stands for the length of x's axis at the same place: from the
    front and with equal ranks up to iOS 16, from the back and with 1 where there is none from iOS
    17 on.
    """
    lengths = list(shape)
    if 0 in lengths and context.ios < 17 and len(lengths) != x.ndim:
        raise CoreMLError(f"reshape of {x.shape} to {shape}: a 0 needs equal ranks before iOS 17")
    for place, length in enumerate(lengths):
        if length == 0:
            source = place - len(lengths) + x.ndim
            lengths[place] = x.shape[source] if source >= 0 else 1
    if lengths.count(-1) > 1 or any(length < -1 for length in lengths):
        raise CoreMLError(f"reshape to {shape}: at most one length is free, and it is written -1")
    if -1 in lengths:
        known = math.prod(length for length in lengths if length != -1)
        if not known or x.size % known:
            raise CoreMLError(f"reshape of {x.shape} to {shape} does not come out even")
        lengths[lengths.index(-1)] = x.size // known
    if math.prod(lengths) != x.size:
        raise CoreMLError(f"reshape of {x.shape} to {shape} changes the number of elements")
    return x.reshape(lengths)


@kernel("transpose", moves=True)
def transpose(_context: Context, x: Array, perm: Ints) -> Array:
    """Axes in another order."""
    if len(perm) != x.ndim:
        raise CoreMLError(f"perm {perm} does not fit {x.shape}")
    return np.transpose(x, axes_of(perm, x.ndim))


@kernel("expand_dims", moves=True)
def expand_dims(_context: Context, x: Array, axes: Ints) -> Array:
    """Axes of length 1 at places in the result."""
    places = axes_of(axes, x.ndim + len(axes))
    lengths = list(x.shape)
    for place in sorted(places):
        lengths.insert(place, 1)
    return x.reshape(lengths)


@kernel("squeeze", moves=True)
def squeeze(_context: Context, x: Array, axes: Ints | None = None) -> Array:
    """Without axes of length 1; those named that are longer stay, as Apple's text says."""
    chosen = range(x.ndim) if axes is None else axes_of(axes, x.ndim)
    gone = {axis for axis in chosen if x.shape[axis] == 1}
    return x.reshape([length for axis, length in enumerate(x.shape) if axis not in gone])


@kernel("shape", moves=True)
def shape_of(_context: Context, x: Array) -> Array:
    """The tensor's shape as int32."""
    return np.array(x.shape, np.int32)


@kernel("concat", moves=True)
def concat(context: Context, values: Arrays, axis: int, interleave: bool = False) -> Array:
    """Tensors one behind the other, or element by element in turn; scalars make a vector."""
    _one_type(values)
    tensors = [np.atleast_1d(value) for value in values]
    place = axis_of(axis, tensors[0].ndim)
    if any(tensor.ndim != tensors[0].ndim for tensor in tensors):
        raise CoreMLError("concat needs tensors of one rank")
    if not interleave:
        return np.concatenate(tensors, axis=place)
    stacked = np.stack(tensors, axis=place + 1)
    lengths = list(tensors[0].shape)
    lengths[place] *= len(tensors)
    context.allow(tuple(lengths))
    return stacked.reshape(lengths)


@kernel("stack", moves=True)
def stack(_context: Context, values: Arrays, axis: int) -> Array:
    """Tensors side by side along a new axis."""
    _one_type(values)
    return np.stack(values, axis=axis_of(axis, values[0].ndim + 1))


@kernel("split", moves=True)
def split(
    _context: Context,
    x: Array,
    axis: int,
    num_splits: int | None = None,
    split_sizes: Ints | None = None,
) -> tuple[Array, ...]:
    """Parts along an axis, of equal or of given lengths."""
    place = axis_of(axis, x.ndim)
    length = x.shape[place]
    if split_sizes is None:
        if not num_splits or num_splits < 0 or length % num_splits:
            raise CoreMLError(f"{length} elements cannot be split into {num_splits} equal parts")
        split_sizes = (length // num_splits,) * num_splits
    if sum(split_sizes) != length or any(size < 0 for size in split_sizes):
        raise CoreMLError(f"parts of {split_sizes} are not the axis's {length} elements")
    if num_splits is not None and num_splits != len(split_sizes):
        raise CoreMLError(f"{num_splits} parts are announced, {len(split_sizes)} sizes are given")
    parts, start = [], 0
    for size in split_sizes:
        parts.append(x[(slice(None),) * place + (slice(start, start + size),)])
        start += size
    return tuple(parts)


@kernel("tile", moves=True)
def tile(context: Context, x: Array, reps: Ints) -> Array:
    """The tensor repeated along each axis."""
    if len(reps) != x.ndim or any(count < 1 for count in reps):
        raise CoreMLError(f"reps {reps} do not fit {x.shape}")
    context.allow(tuple(count * length for count, length in zip(reps, x.shape, strict=True)))
    return np.tile(x, reps)


@kernel("pad", moves=True)
def pad_with(
    context: Context,
    x: Array,
    pad: Ints,
    mode: str = "constant",
    constant_val: float = 0.0,
) -> Array:
    """More elements before and after x's last axes.

    Args:
        context: the mode.
        x: floats.
        pad: before and after, for each of the last len(pad) / 2 axes.
        mode: ``constant``, ``reflect`` (without the edge itself) or ``replicate`` (the edge).
        constant_val: what ``constant`` adds.
    """
    floats(x)
    if len(pad) % 2 or len(pad) > 2 * x.ndim or any(count < 0 for count in pad):
        raise CoreMLError(f"pad {pad} does not fit {x.shape}")
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    context.allow(tuple(n + sum(width) for n, width in zip(x.shape, widths, strict=True)))
    if mode == "constant":
        return np.pad(x, widths, constant_values=x.dtype.type(constant_val))
    limits = {"reflect": 1, "replicate": 0}
    if mode not in limits:
        raise CoreMLError(f"pad's mode {mode!r} is unknown")
    if any(max(width) > n - limits[mode] for n, width in zip(x.shape, widths, strict=True)):
        raise CoreMLError(f"pad {pad} is more than {x.shape} has to {mode}")
    return np.pad(x, widths, mode="reflect" if mode == "reflect" else "edge")


@kernel("fill", moves=True)
def fill(context: Context, shape: Ints, value: Array | None = None) -> Array:
    """A tensor of one value, 0.0 if none is given."""
    context.allow(shape)
    return _filled(context, shape, value)


@kernel("fill_like", moves=True)
def fill_like(context: Context, ref_tensor: Array, value: Array | None = None) -> Array:
    """A tensor of one value in the shape of another."""
    return _filled(context, ref_tensor.shape, value)


@kernel("range_1d")
def range_1d(context: Context, start: Array, end: Array, step: Array) -> Array:
    """start, start + step, … up to but without end."""
    if not start.dtype == end.dtype == step.dtype or start.ndim + end.ndim + step.ndim:
        raise CoreMLError("start, end and step must be scalars of one type")
    if not step or not np.isfinite([start, end, step]).all():
        raise CoreMLError(f"a range from {start} to {end} by {step} has no length")
    count = max(0, math.ceil((float(end) - float(start)) / float(step)))
    context.allow((count,))
    return np.asarray(start + np.arange(count).astype(start.dtype) * step, start.dtype)


@kernel("band_part", moves=True)
def band_part(_context: Context, x: Array, lower: int = -1, upper: int = -1) -> Array:
    """Zero outside a band around the diagonal of the last two axes; −1 keeps that side whole."""
    if x.ndim < 2:
        raise CoreMLError("band_part needs two axes")
    distance = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])[None, :]
    inside = np.ones_like(distance, np.bool_)
    if lower >= 0:
        inside &= distance <= lower
    if upper >= 0:
        inside &= -distance <= upper
    return np.where(inside, x, x.dtype.type(0))


def _filled(context: Context, shape: Ints, value: Array | None) -> Array:
    number = np.zeros((), context.numerics.float_type) if value is None else value
    if number.ndim:
        raise CoreMLError(f"the value to fill in has the shape {number.shape}, it must be a scalar")
    return np.full(shape, number, number.dtype)


def _one_type(values: Arrays) -> None:
    if len({value.dtype for value in values}) != 1:
        raise CoreMLError(f"tensors of types {sorted({str(v.dtype) for v in values})} are mixed")
