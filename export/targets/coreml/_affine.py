"""Integers with a scale per channel or block: plain round-to-nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Precision → lowest and highest code. int8 is symmetric, so that -128 stays unused.
RANGES = {"int8": (-127, 127), "uint4": (0, 15)}


@dataclass(frozen=True, slots=True)
class Affine:
    """weight ≈ (codes - offset) * scale, scale and offset repeated over their blocks.

    Attributes:
        codes: int8 or uint8, the weight's shape.
        scale: the weight's dtype and rank; an axis has as many entries as it has blocks.
        offset: shape of `scale`, dtype of `codes`; None for a symmetric range.
    """

    codes: Array
    scale: Array
    offset: Array | None


def quantize_affine(weight: Array, blocks: tuple[int, ...], precision: str) -> Affine:
    """Quantize with the range of each block, 0 included.

    The best code is taken under the scale as it is stored, that is after its rounding to float16.
    coremltools divides in float16 instead, which rounds twice, and gives a block of zeros 0/0.

    Args:
        weight: float16 or float32, finite.
        blocks: number of blocks along each axis; divides the shape.
        precision: ``int8``, symmetric, scale = max|w| / 127; or ``uint4``, scale = (max - min) / 15
            with an offset. A scale that would be 0 is 1, its codes are 0 or the offset.
    """
    low, high = RANGES[precision]
    split: list[int] = []
    for size, count in zip(weight.shape, blocks, strict=True):
        split += [count, size // count]
    values = weight.astype(np.float32).reshape(split)
    inside = tuple(range(1, len(split), 2))
    # float64: a difference of two float32 is rounded once, by the type it is stored in.
    least = np.minimum(values.min(axis=inside, keepdims=True), 0.0).astype(np.float64)
    most = np.maximum(values.max(axis=inside, keepdims=True), 0.0).astype(np.float64)
    scale = np.maximum(-least, most) / high if low < 0 else (most - least) / (high - low)
    scale = scale.astype(weight.dtype).astype(np.float32)
    scale[scale == 0.0] = 1.0
    offset = np.zeros_like(scale) if low < 0 else np.clip(np.rint(-least / scale), low, high)
    codes = np.divide(values, scale, out=values)
    np.rint(codes, out=codes)
    codes += offset
    np.clip(codes, low, high, out=codes)
    kind = np.int8 if low < 0 else np.uint8
    return Affine(
        codes=codes.reshape(weight.shape).astype(kind),
        scale=scale.reshape(blocks).astype(weight.dtype),
        offset=None if low < 0 else offset.reshape(blocks).astype(kind),
    )
