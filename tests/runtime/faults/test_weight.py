"""What is done to a stored matrix, floats and codes alike."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.faults.graph import NotApplicable, Weight


def _codes() -> Weight:
    values = np.array([[1, -2, 3], [-127, 0, 127]], dtype=np.int8)
    return Weight("codes", values, np.array([0.5, 2.0], dtype=np.float32))


def _floats() -> Weight:
    return Weight("floats", np.array([[1.0, -2.0], [0.5, 0.0]], dtype=np.float32))


@pytest.mark.parametrize("weight", [_codes(), _floats()], ids=["codes", "floats"])
def test_signs_rows_and_scales(weight: Weight) -> None:
    before = weight.dense()
    weight.negate()
    assert np.array_equal(weight.dense(), -before)
    weight.take(np.array([1, 0]))
    assert np.array_equal(weight.dense(), -before[::-1])
    weight.multiply(1.5)
    assert np.allclose(weight.dense(), -1.5 * before[::-1])
    weight.clear(slice(0, 1))
    assert not weight.dense()[0].any()
    assert weight.dense()[1].any()


def test_zero_is_the_code_of_zero() -> None:
    weight = Weight("u8", np.array([[3, 9]], dtype=np.uint8), np.ones(1, np.float32), np.array(8))
    before = weight.dense()
    weight.negate()
    assert np.array_equal(weight.dense(), -before)
    weight.clear()
    assert weight.values.tolist() == [[8, 8]]


def test_a_value_that_is_not_finite_goes_where_there_is_room() -> None:
    codes, floats = _codes(), _floats()
    for weight in (codes, floats):
        weight.poison(np.nan)
        assert np.isnan(weight.dense()).any()
        assert np.isfinite(weight.dense()[1]).all()


def test_codes_shift_and_stay_in_range() -> None:
    weight = _codes()
    weight.shift_codes()
    assert weight.values.tolist() == [[2, -1, 4], [-126, 1, 127]]
    with pytest.raises(NotApplicable):
        _floats().shift_codes()


def test_only_weights_that_are_stored_alike_change_places() -> None:
    one, other = _codes(), _codes()
    other.multiply(3.0)
    other.negate()
    first, second = one.dense(), other.dense()
    one.exchange(other)
    assert np.array_equal(one.dense(), second)
    assert np.array_equal(other.dense(), first)
    with pytest.raises(NotApplicable):
        one.exchange(_floats())
