"""Hashes of constants: whatever differs shows, and nothing else does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from runtime.constants_digest import REST_NAME, digest, digest_rest, digests

ARRAYS: dict[str, npt.NDArray[np.generic]] = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "codes": np.arange(4, dtype=np.int8),
    "scale": np.float32(0.5).reshape(()),
    "none": np.zeros((0, 2), np.int64),
}


def test_equal_values_have_equal_digests_wherever_they_lie() -> None:
    weight = ARRAYS["weight"]
    turned = np.asfortranarray(weight)
    big_endian = weight.astype(">f4")
    shifted = np.frombuffer(b"x" + weight.tobytes(), np.float32, 12, 1).reshape(3, 4)
    assert {digest("w", a) for a in (weight, turned, big_endian, shifted)} == {digest("w", weight)}


@pytest.mark.parametrize(
    "other",
    [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(12, dtype=np.int32).reshape(3, 4),
        np.arange(12, dtype=np.float32).reshape(3, 4) * np.float32(1 + 2e-7),
        -np.zeros((3, 4), np.float32),
    ],
)
def test_shape_type_and_every_bit_count(other: npt.NDArray[np.generic]) -> None:
    assert digest("w", other) != digest("w", ARRAYS["weight"])
    assert digest("w", np.zeros((3, 4), np.float32)) != digest("w", -np.zeros((3, 4), np.float32))


def test_the_name_counts() -> None:
    assert digest("a", ARRAYS["codes"]) != digest("b", ARRAYS["codes"])


def test_the_rest_is_all_that_is_not_listed() -> None:
    found = digests(ARRAYS, ["weight", REST_NAME, "gone"])
    assert found == {
        "weight": digest("weight", ARRAYS["weight"]),
        REST_NAME: digest_rest(ARRAYS, ["weight"]),
    }
    # In any order, and with any change, addition or loss in it.
    backwards = dict(reversed(ARRAYS.items()))
    assert digests(backwards, ["weight"])[REST_NAME] == found[REST_NAME]
    changes = (
        ARRAYS | {"scale": np.float32(0.6).reshape(())},
        ARRAYS | {"added": np.zeros(1)},
        {name: array for name, array in ARRAYS.items() if name != "none"},
    )
    for changed in changes:
        assert digests(changed, ["weight"])[REST_NAME] != found[REST_NAME]
        assert digests(changed, ["weight"])["weight"] == found["weight"]
