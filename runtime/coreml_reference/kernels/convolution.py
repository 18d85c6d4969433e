"""Convolution in one, two or three dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from runtime.coreml_reference.kernels.registry import Context, Ints, floats, kernel
from runtime.coreml_reference.program import Array, CoreMLError


@kernel("conv")
def conv(
    context: Context,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Array:
    """Cross-correlation, as every framework's "convolution".

    Args:
        context: the mode.
        x: (N, C, *spatial), one to three spatial axes.
        weight: (out, C / groups, *kernel).
        bias: (out,).
        strides: per spatial axis, 1 by default.
        pad_type: ``valid``, ``custom`` (see `pad`), ``same`` or ``same_lower``: ceil(length/stride)
            results, an odd zero behind or before.
        pad: zeros before and after each spatial axis in turn.
        dilations: per spatial axis, 1 by default.
        groups: parts into which the channels are divided.
    """
    floats(x, weight)
    axes = x.ndim - 2
    if not 1 <= axes <= 3 or weight.ndim != x.ndim or x.dtype != weight.dtype:
        raise CoreMLError(f"x {x.dtype} {x.shape}, weight {weight.dtype} {weight.shape} misfit")
    strides = strides or (1,) * axes
    dilations = dilations or (1,) * axes
    if len(strides) != axes or len(dilations) != axes or min(*strides, *dilations) < 1:
        raise CoreMLError(f"strides {strides} and dilations {dilations} do not fit {x.shape}")
    channels, out = x.shape[1], weight.shape[0]
    if groups < 1 or channels % groups or out % groups or channels // groups != weight.shape[1]:
        raise CoreMLError(f"groups {groups} do not fit x {x.shape} and weight {weight.shape}")
    if bias is not None and (bias.shape != (out,) or bias.dtype != x.dtype):
        raise CoreMLError(f"bias {bias.dtype} {bias.shape} does not fit {out} channels")
    reach = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True))
    padded = _padded(context, x, reach, strides, pad_type, pad)
    lengths = tuple(
        (length - span) // step + 1
        for length, span, step in zip(padded.shape[2:], reach, strides, strict=True)
    )
    if min(lengths) < 1:
        raise CoreMLError(f"the kernel {reach} is larger than the padded input {padded.shape}")
    context.allow((x.shape[0], out, *lengths))
    columns = _columns(context, padded, reach, strides, dilations, lengths, groups)
    kernels = weight.reshape(groups, out // groups, -1)
    result = context.numerics.matmul(kernels, columns).reshape(x.shape[0], out, *lengths)
    if bias is not None:
        result += bias.reshape(-1, *(1,) * axes)
    return result


def _padded(
    context: Context, x: Array, reach: Ints, strides: Ints, pad_type: str, pad: Ints | None
) -> Array:
    axes = x.ndim - 2
    if pad_type == "valid":
        return x
    if pad_type == "custom":
        if pad is None or len(pad) != 2 * axes or min(pad) < 0:
            raise CoreMLError(f"pad {pad} does not fit {axes} spatial axes")
        widths = [(pad[2 * k], pad[2 * k + 1]) for k in range(axes)]
    elif pad_type in ("same", "same_lower"):
        widths = []
        for length, span, step in zip(x.shape[2:], reach, strides, strict=True):
            total = max(0, (math.ceil(length / step) - 1) * step + span - length)
            before = total // 2 if pad_type == "same" else total - total // 2
            widths.append((before, total - before))
    else:
        raise CoreMLError(f"conv's pad_type {pad_type!r} is unknown")
    context.allow(
        (
            *x.shape[:2],
            *(n + sum(width) for n, width in zip(x.shape[2:], widths, strict=True)),
        )
    )
    return np.pad(x, [(0, 0), (0, 0), *widths])


def _columns(
    context: Context,
    x: Array,
    reach: Ints,
    strides: Ints,
    dilations: Ints,
    lengths: Ints,
    groups: int,
) -> Array:
    """(N, groups, C/groups·kernel, places): the part of the input that each result looks at."""
    batch, channels = x.shape[:2]
    places = math.prod(lengths)
    if max(reach) == 1 and max(strides) == 1:
        return x.reshape(batch, groups, channels // groups, places)
    axes = len(reach)
    spatial: Any = tuple(range(2, 2 + axes))
    windows: Array = np.lib.stride_tricks.sliding_window_view(x, reach, spatial)
    steps = tuple(slice(None, None, step) for step in strides)
    taps = tuple(slice(None, None, step) for step in dilations)
    windows = windows[(slice(None), slice(None), *steps, *taps)]
    context.allow(windows.shape)
    order = (0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    taken = math.prod(windows.shape[2 + axes :])
    return windows.transpose(order).reshape(batch, groups, channels // groups * taken, places)
