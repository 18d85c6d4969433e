"""Rounding, modes and the error function."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.coreml_reference.numerics import Numerics, round_to_half
from runtime.coreml_reference.program import Array
from runtime.coreml_reference.special import erf, gelu

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def _hard_cases(dtype: type) -> Array:
    """Every fp16 number, every midpoint and its neighbours, every exponent, random bits."""
    numbers = HALVES.astype(np.float64)
    finite = np.sort(numbers[np.isfinite(numbers)])
    middle = ((finite[1:] + finite[:-1]) / 2).astype(dtype)
    generator = np.random.default_rng(1)
    integer = np.uint32 if dtype is np.float32 else np.uint64
    bits = generator.integers(0, np.iinfo(integer).max, 200_000, dtype=integer)
    with np.errstate(all="ignore"):
        spread = generator.standard_normal(200_000) * 10.0 ** generator.integers(-9, 7, 200_000)
        border = np.array([65519.9, 65520, -65520, 1e30, np.inf, -np.inf, np.nan, 2**-25, -0.0])
        return np.concatenate(
            [
                numbers.astype(dtype),
                middle,
                np.nextafter(middle, dtype(np.inf)),
                np.nextafter(middle, dtype(-np.inf)),
                bits.view(dtype),
                spread.astype(dtype),
                border.astype(dtype),
            ]
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_equals_numpys_conversion_bit_for_bit(dtype: type) -> None:
    values = _hard_cases(dtype)
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
        rounded = round_to_half(values.copy())
        same = rounded.astype(np.float16).view(np.uint16) == expected.view(np.uint16)
    assert rounded.dtype == dtype
    assert np.array_equal(rounded, expected.astype(dtype), equal_nan=True)
    assert (same | np.isnan(expected)).all()


def test_numpy_rounds_float64_to_fp16_once() -> None:
    # Rounded to float32 first it would be a tie, and go down to the even 1.
    value = np.array([1 + 2**-11 + 2**-40])
    assert value.astype(np.float32).astype(np.float16)[0] == 1
    assert round_to_half(value.copy())[0] == 1 + 2**-10 == value.astype(np.float16)[0]


def test_rounding_leaves_read_only_and_strided_input_alone() -> None:
    values = np.array([[1 / 3, 2 / 3], [1e9, 5e-8]])
    frozen = values.copy()
    frozen.flags.writeable = False
    with np.errstate(all="ignore"):
        assert np.array_equal(round_to_half(frozen), round_to_half(values.copy()))
        assert np.array_equal(round_to_half(frozen.T), round_to_half(values.copy()).T)
    assert np.array_equal(frozen, values)


@given(st.floats(width=64))
def test_rounding_of_any_number(value: float) -> None:
    with np.errstate(all="ignore"):
        expected = np.float64(np.float16(value))
        assert np.array_equal(round_to_half(np.array(value)), expected, equal_nan=True)


def test_types_and_stores_of_the_modes() -> None:
    value = 1 + 2**-9 + 2**-30
    kept = {
        (mode, declared): Numerics(mode).store(np.array([value]).astype(kind), declared)[0]
        for mode, kind in (("f32", "f4"), ("f64", "f8"), ("f16", "f8"), ("f16acc", "f4"))
        for declared in ("fp16", "fp32")
    }
    single, half = np.float32(value), 1 + 2**-9
    assert kept["f64", "fp16"] == kept["f64", "fp32"] == value
    assert kept["f32", "fp16"] == kept["f32", "fp32"] == single
    assert kept["f16", "fp16"] == half
    assert kept["f16", "fp32"] == single
    assert kept["f16acc", "fp16"] == half


def test_stressed_matmul_is_a_sum_of_rounded_blocks() -> None:
    generator = np.random.default_rng(3)
    x = generator.standard_normal((2, 5, 70)).astype(np.float16).astype(np.float32)
    y = generator.standard_normal((70, 4)).astype(np.float16).astype(np.float32)
    total = np.zeros((2, 5, 4), np.float16)
    for start in range(0, 70, 32):
        part = (x[..., start : start + 32] @ y[start : start + 32]).astype(np.float16)
        total = (total.astype(np.float32) + part).astype(np.float16)
    assert np.array_equal(Numerics("f16acc", 32).matmul(x, y), total.astype(np.float32))
    assert not np.array_equal(Numerics("f16acc", 8).matmul(x, y), total.astype(np.float32))


def test_erf_is_accurate_everywhere() -> None:
    x = np.concatenate([np.linspace(-6.5, 6.5, 200_001), np.geomspace(1e-300, 6, 20_000)])
    exact = np.array([math.erf(number) for number in x])
    error = np.abs(erf(x) - exact)
    assert error.max() <= 2.3e-16
    assert (error <= 5e-16 * np.abs(exact)).all()
    single = x.astype(np.float32)
    exact = np.array([math.erf(float(number)) for number in single])
    assert np.abs(erf(single).astype(np.float64) - exact).max() <= 4e-7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_of_what_is_no_common_number(dtype: type) -> None:
    result = erf(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype))
    assert np.isnan(result[0])
    assert np.abs(result[1:] - [1, -1, 0, 0]).max() < 1e-7
    assert np.signbit(result[2:]).tolist() == [True, False, True]
    assert erf(np.zeros((2, 0, 3), dtype)).shape == (2, 0, 3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1.5e-6), (torch.float64, 2e-15)])
def test_gelu_equals_torch(dtype: torch.dtype, tolerance: float) -> None:
    x = torch.linspace(-9, 9, 70_001, dtype=dtype).reshape(-1, 1)
    expected = torch.nn.functional.gelu(x).numpy()
    found = gelu(x.numpy())
    assert found.dtype == expected.dtype
    assert np.abs(found - expected).max() <= tolerance
