"""Turns stored bytes into numpy arrays: whole numbers of bytes, packed bits and varints."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from runtime.coreml_reference.program import NUMPY_TYPES, Array, CoreMLError

# Bits an element takes where it is stored. Bools are stored as numbers of one byte.
BITS: Mapping[str, int] = {
    "fp16": 16,
    "fp32": 32,
    "fp64": 64,
    "bool": 8,
    "int4": 4,
    "int8": 8,
    "int16": 16,
    "int32": 32,
    "int64": 64,
    "uint1": 1,
    "uint2": 2,
    "uint3": 3,
    "uint4": 4,
    "uint6": 6,
    "uint8": 8,
    "uint16": 16,
    "uint32": 32,
    "uint64": 64,
}
# Varints are decoded by so many bytes at a time, so that little is held besides the result.
_PIECE = 1 << 18


def from_bytes(data: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """A read-only array over, or unpacked from, uint8 `data` whose length was checked."""
    bits = BITS[dtype]
    if bits < 8:
        return unpack(data, bits, shape, signed=not dtype.startswith("u"))
    array = data.view(np.dtype(NUMPY_TYPES[dtype]).newbyteorder("<")).reshape(shape)
    array.setflags(write=False)
    return array


def unpack(data: Array, bits: int, shape: tuple[int, ...], *, signed: bool) -> Array:
    """One byte an element from packed bits, the lowest bits of the first byte first.

    Args:
        data: uint8, at least ceil(elements * bits / 8) of them.
        bits: of one element, 1 to 7.
        shape: of the result.
        signed: elements are two's complement.

    Returns:
        int8 where signed, else uint8; read-only.
    """
    count = math.prod(shape)
    # Whole groups of elements fill whole bytes: 8 / gcd elements take bits / gcd bytes.
    common = math.gcd(bits, 8)
    elements, size = 8 // common, bits // common
    groups = -(-count // elements)
    padded = data[: groups * size]
    if len(padded) < groups * size:
        padded = np.concatenate([padded, np.zeros(groups * size - len(padded), np.uint8)])
    padded = padded.reshape(groups, size)
    result = np.empty((groups, elements), np.uint8)
    for index in range(elements):
        byte, shift = divmod(index * bits, 8)
        value = padded[:, byte] >> shift
        if shift + bits > 8:
            value = value | (padded[:, byte + 1] << (8 - shift))
        np.bitwise_and(value, (1 << bits) - 1, out=result[:, index])
    if signed:
        # Flipping the sign bit and subtracting it extends the sign.
        sign = 1 << (bits - 1)
        result ^= sign
        result -= sign
    flat = result.reshape(-1)[:count]
    array = (flat.view(np.int8) if signed else flat).reshape(shape)
    array.setflags(write=False)
    return array


def varint_count(data: Array) -> int:
    """How many varints uint8 `data` holds: each ends in a byte below 128."""
    return int(np.count_nonzero(data < 128))


def varints(data: Array, count: int, dtype: str, where: str) -> Array:
    """Decode protobuf's variable-length numbers.

    Args:
        data: uint8, holding `count` varints (see :func:`varint_count`).
        count: of the result.
        dtype: int16, uint16, int32, int64, uint64 or bool, whose range each number must be in.
        where: the value, for error messages.

    Returns:
        Read-only, of shape (count,).

    Raises:
        CoreMLError: cut short, longer than 64 bits, or out of range.
    """
    if len(data) and data[-1] >= 128:
        raise CoreMLError(f"{where} is damaged", why="its last number is cut short")
    result = np.empty(count, NUMPY_TYPES[dtype])
    done = position = 0
    while position < len(data):
        piece = data[position : position + _PIECE]
        ends = np.flatnonzero(piece < 128)
        if not len(ends):
            raise CoreMLError(f"{where} is damaged", why="a number is longer than 64 bits")
        numbers = _decode(piece[: ends[-1] + 1], ends, where)
        result[done : done + len(ends)] = _in_range(numbers, dtype, where)
        done += len(ends)
        position += int(ends[-1]) + 1
    result.setflags(write=False)
    return result


def _decode(data: Array, ends: Array, where: str) -> Array:
    """Whole varints as uint64; `ends` are the positions of their last bytes."""
    if ends[-1] == len(ends) - 1:
        return data.astype(np.uint64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > 10 or (longest == 10 and (data[ends[lengths == 10]] > 1).any()):
        raise CoreMLError(f"{where} is damaged", why="a number is longer than 64 bits")
    numbers = np.zeros(len(ends), np.uint64)
    for index in range(longest):
        has = lengths > index
        numbers[has] |= (data[starts[has] + index] & 127).astype(np.uint64) << np.uint64(7 * index)
    return numbers


def _in_range(numbers: Array, dtype: str, where: str) -> Array:
    if dtype == "uint64":
        return numbers
    signed = numbers.view(np.int64)
    if dtype == "bool":
        low, high = 0, 1
    else:
        info = np.iinfo(NUMPY_TYPES[dtype])
        low, high = int(info.min), int(info.max)
    if len(signed) and (signed.min() < low or signed.max() > high):
        raise CoreMLError(f"{where} has a number that is no {dtype}")
    return signed
