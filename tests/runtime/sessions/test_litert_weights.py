"""Codes of four bits, as a TFLite file packs them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from runtime.sessions.litert_file import schema
from runtime.sessions.litert_weights import codes_of, packed_codes


@pytest.mark.parametrize("shape", [(3, 5), (2, 8)])
def test_codes_of_four_bits(shape: tuple[int, int]) -> None:
    codes = np.random.default_rng(1).integers(-8, 8, shape, dtype=np.int8)
    classes = schema()
    tensor = classes.TensorT(type=classes.TensorType.INT4, shape=np.array(shape, np.int32))
    tensor.buffer = 0
    model = SimpleNamespace(buffers=[classes.BufferT(data=packed_codes(codes))])
    np.testing.assert_array_equal(codes_of(model, tensor), codes)
    # Two in a byte, the first in the lower half.
    assert model.buffers[0].data[0] == (int(codes[0, 0]) & 15) | ((int(codes[0, 1]) & 15) << 4)
