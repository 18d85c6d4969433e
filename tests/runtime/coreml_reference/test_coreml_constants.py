"""Compressed constants: Apple's worked examples, plain loops, and contradictions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from coreml_programs import operation

from runtime.coreml_reference.constants import evaluate
from runtime.coreml_reference.kernels import registry
from runtime.coreml_reference.numerics import Mode, Numerics
from runtime.coreml_reference.program import Array, CoreMLError


def _evaluate(kind: str, mode: Mode = "f64", **values: Any) -> Any:
    results = evaluate(operation(f"constexpr_{kind}", "w", []), values, Numerics(mode))
    return results if len(results) > 1 else results[0]


def _packed(numbers: Array, bits: int) -> Array:
    """Packed bit by bit, the lowest bit first, as Apple's text draws it."""
    total = sum(int(number) << (k * bits) for k, number in enumerate(numbers.reshape(-1)))
    return np.frombuffer(total.to_bytes(-(-numbers.size * bits // 8), "little"), np.uint8)


@pytest.mark.parametrize("mode", ["f32", "f64"])
def test_affine(mode: Mode) -> None:
    data = np.random.default_rng(1).integers(-128, 128, (3, 4, 5)).astype(np.int8)
    scale, zero = np.float16([0.1, 0.2, 0.3, 0.4]), np.int8([-128, 0, 5, 127])
    for axis in (1, -2):
        found = _evaluate(
            "affine_dequantize", mode, quantized_data=data, scale=scale, zero_point=zero,
            axis=np.int32(axis),
        )  # fmt: skip
        exact = (data.astype(int) - zero.astype(int)[:, None]) * scale.astype(float)[:, None]
        assert found.dtype == Numerics(mode).float_type
        assert np.abs(found - exact).max() <= (0 if mode == "f64" else 1e-5)
    found = _evaluate(
        "affine_dequantize", quantized_data=data.view(np.uint8), scale=np.float32(0.5),
        zero_point=np.uint8(3), axis=np.int32(0),
    )  # fmt: skip
    assert np.array_equal(found, (data.view(np.uint8).astype(int) - 3) * 0.5)


def test_blocks_equal_a_plain_loop() -> None:
    generator = np.random.default_rng(2)
    data = generator.integers(-8, 8, (4, 6, 2)).astype(np.int8)
    scale = generator.standard_normal((2, 3, 1)).astype(np.float16)
    offset = generator.integers(-8, 8, (2, 3, 1)).astype(np.int8)
    found = _evaluate("blockwise_shift_scale", data=data, scale=scale, offset=offset)
    for i, j, k in itertools.product(range(4), range(6), range(2)):
        block = (i // 2, j // 2, 0)
        assert found[i, j, k] == float(scale[block]) * (int(data[i, j, k]) - int(offset[block]))
    plain = _evaluate("blockwise_shift_scale", data=data, scale=scale)
    assert plain[3, 5, 1] == float(scale[1, 2, 0]) * int(data[3, 5, 1])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_old_tables_with_packed_indices(bits: int) -> None:
    generator = np.random.default_rng(bits)
    table = generator.standard_normal(1 << bits).astype(np.float16)
    indices = generator.integers(0, 1 << bits, (5, 7))
    found = _evaluate(
        "lut_to_dense", lut=table, indices=_packed(indices, bits), shape=np.uint32([5, 7])
    )
    assert np.array_equal(found, table[indices])


def test_tables_for_groups_as_in_apples_text() -> None:
    indices = np.uint8([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3]).reshape(6, 2)
    table = np.float16([1, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)
    found = _evaluate("lut_to_dense", indices=indices, lut=table)
    assert found.tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]


def test_tables_of_vectors_as_in_apples_text() -> None:
    indices = np.uint8([0, 0, 1, 0, 1, 1, 0, 0]).reshape(2, 2, 2)
    a0, a1, a2, b0, b1, b2 = range(1, 7)
    table = np.int8([a0, a1, a2, b0, b1, b2]).reshape(1, 1, 1, 2, 3)
    found = _evaluate("lut_to_dense", indices=indices, lut=table, vector_axis=np.int32(1))
    assert found[0].tolist() == [[a0, a0], [a1, a1], [a2, a2], [b0, a0], [b1, a1], [b2, a2]]
    found = _evaluate("lut_to_dense", indices=indices, lut=table, vector_axis=np.int32(-1))
    assert found[1].tolist() == [[b0, b1, b2, b0, b1, b2], [a0, a1, a2, a0, a1, a2]]
    assert found.dtype == np.int8


def test_tables_for_groups_along_several_axes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    indices = generator.integers(0, 4, (6, 4, 10)).astype(np.uint8)
    table = generator.standard_normal((3, 2, 5, 4, 1)).astype(np.float32)
    expected = np.empty(indices.shape)
    for place in np.ndindex(*indices.shape):
        group = tuple(p // b for p, b in zip(place, (2, 2, 2), strict=True))
        expected[place] = table[(*group, indices[place], 0)]
    for piece in (1, 100, 1 << 20):
        monkeypatch.setattr("runtime.coreml_reference.constants._ROWS_AT_ONCE", piece)
        assert np.array_equal(_evaluate("lut_to_dense", indices=indices, lut=table), expected)


def test_sparse_old_and_new() -> None:
    mask = np.uint8([[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]])
    values = np.float16([1.5, -2, 3, 4])
    dense = np.array([[0, 0, 1.5, -2, 0], [3, 0, 0, 0, 4]])
    new = _evaluate("sparse_to_dense", nonzero_data=values, mask=mask)
    old = _evaluate(
        "sparse_to_dense", nonzero_data=values, mask=_packed(mask, 1), shape=np.uint32([2, 5])
    )
    assert np.array_equal(new, dense)
    assert np.array_equal(old, dense)


def test_sparse_quantized_as_in_apples_text() -> None:
    mask = np.uint8([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    found_mask, found = _evaluate(
        "sparse_blockwise_shift_scale",
        data_mask=mask,
        nonzero_data=np.int8([10, 11, 3, 4, 5, 6, 7, 8, 9]),
        scale=np.float32([[0.1, 0.2, 0.3, 0.4]]),
        offset=np.int8([[1, 2, 3, 4]]),
    )
    assert np.array_equal(found_mask, mask)
    assert np.allclose(found, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], atol=1e-7)


def test_sparse_tables_as_in_apples_text() -> None:
    rows = ["110000", "110001", "011010", "000100"]
    mask = np.array([[int(bit) for bit in row] for row in rows], np.uint8)
    data = np.uint8([0, 1, 1, 0, 1, 1, 0, 0, 1])
    table = np.float16([2, 3]).reshape(1, 1, 2, 1)
    given = {"indices_mask": mask, "indices_nonzero_data": data}
    found_mask, found = _evaluate("lut_to_sparse", lut=table, **given)
    assert np.array_equal(found_mask, mask)
    assert found.tolist() == [2, 3, 3, 2, 3, 3, 2, 2, 3]
    vectors = np.float16([[2, 2.5], [3, 3.5]]).reshape(1, 1, 2, 2)
    wide_mask, wide = _evaluate("lut_to_sparse", lut=vectors, vector_axis=np.int32(0), **given)
    assert np.array_equal(wide_mask, np.repeat(mask, 2, 0))
    dense = np.zeros(wide_mask.shape)
    dense[wide_mask == 1] = wide
    assert dense[:2].tolist() == [[2, 3, 0, 0, 0, 0], [2.5, 3.5, 0, 0, 0, 0]]


def test_cast() -> None:
    source = np.float16([1.5, 65504])
    assert _evaluate("cast", source_val=source, output_dtype="fp32").tolist() == [1.5, 65504]


INDICES, TABLE = np.zeros((4, 4), np.uint8), np.zeros((2, 1, 4, 1), np.float16)
CONTRADICTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("cast", {"source_val": np.float16(1), "output_dtype": "fp64"}, "fp32 only"),
    ("cast", {"output_dtype": "fp32"}, "source_val is missing"),
    ("cast", {"source_val": np.float16(1), "output_dtype": "fp32", "x": np.int8(1)}, "x are unkn"),
    ("affine_dequantize", {"quantized_data": np.int8([1, 2]), "scale": np.float32([1]),
     "zero_point": np.int8(0), "axis": np.int32(0)}, "does not fit axis"),
    ("affine_dequantize", {"quantized_data": np.int8([1, 2]), "scale": np.float32(1),
     "zero_point": np.int8(0), "axis": np.int32(1)}, "axis 1"),
    ("blockwise_shift_scale", {"data": np.zeros((4, 4), np.int8), "scale": np.ones((3, 1), "f2")},
     "do not divide"),
    ("blockwise_shift_scale", {"data": np.zeros((4, 4), np.int8), "scale": np.ones((0, 1), "f2")},
     "do not divide"),
    ("blockwise_shift_scale", {"data": np.zeros((4, 4), np.int8), "scale": np.ones((1, 1), "f2"),
     "offset": np.zeros((2, 1), np.int8)}, "differ in shape"),
    ("lut_to_dense", {"indices": INDICES + 4, "lut": TABLE}, "the index 4"),
    ("lut_to_dense", {"indices": INDICES, "lut": TABLE[0]}, "do not fit"),
    ("lut_to_dense", {"indices": INDICES, "lut": np.zeros((3, 1, 4, 1))}, "do not divide"),
    ("lut_to_dense", {"indices": INDICES, "lut": np.zeros((1, 1, 4, 2))}, "vector axis"),
    ("lut_to_dense", {"indices": INDICES[0], "lut": np.zeros(4), "shape": np.uint32([4, 5])},
     "do not hold"),
    ("lut_to_dense", {"indices": INDICES[0], "lut": np.zeros(5), "shape": np.uint32([4, 4])},
     "is not one of"),
    ("lut_to_dense", {"indices": INDICES[0], "lut": np.zeros(2),
     "shape": np.uint32([1 << 31, 1 << 31])}, "is refused"),
    ("sparse_to_dense", {"nonzero_data": np.zeros(3), "mask": np.uint8([1, 1, 0])}, "2 ones"),
    ("sparse_to_dense", {"nonzero_data": np.zeros(3), "mask": np.ones(3)}, "not integers"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "message"), CONTRADICTIONS)
def test_contradictions_are_refused(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(CoreMLError, match=message):
        _evaluate(kind, **values)


def test_vectors_cannot_blow_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LARGEST_RESULT", 100)
    with pytest.raises(CoreMLError, match="is refused"):
        _evaluate("lut_to_dense", indices=INDICES, lut=np.zeros((1, 1, 2, 8)))
