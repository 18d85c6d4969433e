"""Two codes in a byte: where each lies, and that all come back."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.sessions.onnx_packed import (
    code_pairs,
    pack,
    pack_linear,
    product_pairs,
    unpack,
    unpack_linear,
)

CODES = np.random.default_rng(4).integers(-7, 8, (5, 24)).astype(np.int8)


@pytest.mark.parametrize("block", [2, 4, 8, 24])
def test_every_code_comes_back(block: int) -> None:
    packed = pack(CODES, block)
    assert (packed.shape, packed.dtype) == ((5, 24 // block, block // 2), np.uint8)
    np.testing.assert_array_equal(unpack(packed), CODES)
    linear = pack_linear(CODES, block)
    assert linear.shape == (24 // block, block // 2, 5)
    np.testing.assert_array_equal(unpack_linear(linear), CODES)
    assert unpack(packed).dtype == unpack_linear(linear).dtype == np.int8


def test_the_even_column_is_the_lower_half() -> None:
    assert pack(np.array([[-7, 7, 0, 1]], np.int8), 4).tolist() == [[[0xF1, 0x98]]]


def test_a_cube_keeps_its_axes() -> None:
    cube = CODES.reshape(1, 5, 24)
    assert pack(cube, 8).shape == (1, 5, 3, 4)
    np.testing.assert_array_equal(unpack(pack(cube, 8)), cube)


def test_tables_hold_what_arithmetic_gives() -> None:
    products = product_pairs(18)
    assert products.shape == (19 * 256, 2)
    for multiple, even, odd in ((1, -7, 7), (18, 7, -7), (5, 3, 0)):
        byte = int(pack(np.array([even, odd], np.int8), 2).item())
        assert code_pairs()[byte].tolist() == [even, odd]
        assert products[256 * multiple + byte].tolist() == [multiple * even, multiple * odd]
