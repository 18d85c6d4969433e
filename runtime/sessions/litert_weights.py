"""Quantized weights of a TFLite file as numbers: codes of eight or four bits, and their scales.

A scale is for a whole tensor, for an entry of an axis, or for a block of a row. Scales of blocks
are a float16 tensor of their own, which the weight's quantization names by its number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.sessions.litert_file import Array, type_name, values_of

_PLAIN, _PACKED = "INT8", "INT4"


def codes_of(model: Any, tensor: Any) -> npt.NDArray[np.int8] | None:
    """The integers of a stored int8 or int4 tensor in its shape; None for any other.

    Two int4 codes share a byte, the first in the lower half; where their number is odd the last
    byte's upper half is not used.
    """
    values = values_of(model, tensor)
    kind = type_name(tensor)
    if values is None or kind not in (_PLAIN, _PACKED):
        return None
    shape = _shape(tensor)
    if kind == _PLAIN:
        return values if values.dtype == np.int8 and values.shape == shape else None
    count = math.prod(shape)
    if values.size != -(-count // 2):
        return None
    codes = np.empty(2 * values.size, dtype=np.int8)
    # Shifts of signed bytes keep the sign.
    signed = values.view(np.int8)
    codes[1::2] = signed >> 4
    codes[0::2] = np.left_shift(signed, 4) >> 4
    return codes[:count].reshape(shape)


def packed_codes(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """int4 codes, -8 to 7, as a file stores them: the reverse of `codes_of`."""
    flat = codes.reshape(-1)
    if flat.size % 2:
        flat = np.append(flat, np.int8(0))
    raw = flat.view(np.uint8)
    packed: npt.NDArray[np.uint8] = raw[1::2] << np.uint8(4)
    packed |= raw[0::2] & np.uint8(15)
    return packed


def is_blockwise(tensor: Any) -> bool:
    """Whether a tensor's scales are for blocks of its rows."""
    quantization = tensor.quantization
    return quantization is not None and getattr(quantization.details, "blockSize", 0) > 0


def block_scales(model: Any, graph: Any, tensor: Any) -> Array | None:
    """float16 [rows, blocks] of a tensor with blocks; None if they are missing or do not fit."""
    details = tensor.quantization.details
    shape = _shape(tensor)
    if len(shape) != 2 or not 0 <= int(details.scales) < len(graph.tensors):
        return None
    values = values_of(model, graph.tensors[details.scales])
    blocks, rest = divmod(shape[1], int(details.blockSize))
    if values is None or values.dtype != np.float16 or rest or values.size != shape[0] * blocks:
        return None
    return values.reshape(shape[0], blocks)


def scale_count(model: Any, graph: Any, tensor: Any) -> int:
    """Number of quantization scales; 0 for a float tensor."""
    if is_blockwise(tensor):
        scales = block_scales(model, graph, tensor)
        return 0 if scales is None else int(scales.size)
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return 0
    return len(quantization.scale)


def is_known(model: Any, graph: Any, tensor: Any) -> bool:
    """Whether a tensor is stored in codes with scales that fit its shape: `dense` can read it."""
    codes, quantization = codes_of(model, tensor), tensor.quantization
    if codes is None or quantization is None:
        return False
    if quantization.details is not None:
        if not is_blockwise(tensor) or int(getattr(quantization.details, "zeroPoints", -1)) >= 0:
            return False
        return block_scales(model, graph, tensor) is not None
    if quantization.scale is None or len(quantization.scale) == 0:
        return False
    count, axis = len(quantization.scale), int(quantization.quantizedDimension)
    zeros = quantization.zeroPoint
    fits = count == 1 or (0 <= axis < codes.ndim and codes.shape[axis] == count)
    return fits and (zeros is None or len(zeros) in (1, count))


def dense(model: Any, graph: Any, tensor: Any) -> npt.NDArray[np.float32]:
    """What the codes of a tensor that `is_known` stand for, float32 of its shape."""
    codes = codes_of(model, tensor)
    if codes is None:
        raise ValueError(f"{tensor.name!r} is not stored in codes")
    values = codes.astype(np.float32)
    if is_blockwise(tensor):
        scales = block_scales(model, graph, tensor)
        if scales is None:
            raise ValueError(f"{tensor.name!r} has no scales")
        parts = values.reshape(*scales.shape, -1)
        parts *= scales.astype(np.float32)[:, :, None]
        return values
    quantization = tensor.quantization
    scale = np.asarray(quantization.scale, dtype=np.float32)
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[int(quantization.quantizedDimension)] = scale.size
    if quantization.zeroPoint is not None:
        zero = np.broadcast_to(np.asarray(quantization.zeroPoint, np.float32), scale.shape)
        values -= zero.reshape(shape)
    values *= scale.reshape(shape)
    return values


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(axis) for axis in tensor.shape)
