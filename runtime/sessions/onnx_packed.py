"""Four-bit weights as ONNX artifacts store them, with operators that every onnxruntime has.

Two codes, -7 to 7, share a byte: the lower half is the code of an even column plus 8, the upper
half that of the odd column after it. Unpacking is one look-up: a table holds the pair of codes of
every byte. For a matrix that is multiplied as integers, the table holds the pair times every
multiple that a block's scale can be of its channel's, so that a byte and its block's multiple lead
straight to two int8 numbers.

    lookup table of an embedding    uint8 [rows, blocks, block / 2]
    matrix of a linear layer        uint8 [blocks, block / 2, out]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int8]
Packed = npt.NDArray[np.uint8]

# What is stored for the code 0.
_ZERO = 8
# Pairs of codes that a byte can hold.
BYTES = 256


def pack(codes: Codes, block: int) -> Packed:
    """Two codes a byte.

    Args:
        codes: int8 [..., columns], each from -8 to 7.
        block: columns of a block, an even number that divides them.

    Returns:
        uint8 [..., columns / block, block / 2].
    """
    shifted = (codes.astype(np.int16) + _ZERO).astype(np.uint8)
    pairs = shifted.reshape(*codes.shape[:-1], -1, block // 2, 2)
    packed: Packed = np.bitwise_or(pairs[..., 0], np.left_shift(pairs[..., 1], 4), dtype=np.uint8)
    return packed


def unpack(packed: npt.NDArray[Any]) -> Codes:
    """The codes, int8 [..., columns], of what `pack` gives."""
    codes: Codes = code_pairs()[packed]
    return codes.reshape(*packed.shape[:-2], -1)


def pack_linear(codes: Codes, block: int) -> Packed:
    """As `pack`, int8 [out, in] → uint8 [in / block, block / 2, out]."""
    return np.ascontiguousarray(pack(codes, block).transpose(1, 2, 0))


def unpack_linear(packed: npt.NDArray[Any]) -> Codes:
    """The codes, int8 [out, in], of what `pack_linear` gives."""
    return unpack(packed.transpose(2, 0, 1))


def code_pairs() -> Codes:
    """Byte → the two codes in it, int8 [256, 2]."""
    every = np.arange(BYTES, dtype=np.int16)
    return np.stack((every & 15, every >> 4), axis=1).astype(np.int8) - np.int8(_ZERO)


def product_pairs(most: int) -> Codes:
    """256 · multiple + byte → its two codes times the multiple, int8 [256 · (most + 1), 2].

    The code -8 is never stored; its products are kept in the range of int8.
    """
    products = np.arange(most + 1)[:, None, None] * code_pairs().astype(np.int64)
    return np.clip(products, -128, 127).astype(np.int8).reshape(-1, 2)
