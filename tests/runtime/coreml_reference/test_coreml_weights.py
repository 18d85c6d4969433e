"""What `stored_weights` tells about constants, old operations and new ones alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from coremltools import ComputeUnit, PassPipeline, target
from coremltools.converters.mil import Builder
from coremltools.converters.mil.converter import mil_convert
from coremltools.converters.mil.mil import types

from runtime.coreml_reference.executor import Executor, ExecutorSettings
from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError, Package
from runtime.coreml_reference.weights import StoredWeight, role_of_uses, stored_weights

Array = npt.NDArray[Any]
RANDOM = np.random.default_rng(11)
DENSE = RANDOM.normal(size=(32, 64)).astype(np.float16)
TABLE = np.sort(RANDOM.normal(size=16)).astype(np.float16)
INDICES = RANDOM.integers(0, 16, (32, 64)).astype(np.uint8)
KEPT = RANDOM.random((32, 64)) < 0.4
INT8 = RANDOM.integers(-127, 128, (32, 64)).astype(np.int8)
UINT4 = RANDOM.integers(0, 16, (32, 64)).astype(np.uint8)
SCALES = (RANDOM.random((32, 1)) + 0.5).astype(np.float16)
BLOCKS = (RANDOM.random((32, 4)) + 0.5).astype(np.float16)
OFFSETS = RANDOM.integers(0, 16, (32, 4)).astype(np.uint8)


def kind(name: str) -> Any:
    return types.nptype_from_builtin(types.string_to_builtin(name))


def packed(values: Array, bits: int) -> Array:
    spread = (values.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little")


def plain() -> Any:
    return Builder.const(val=DENSE, name="w")


def affine_16() -> Any:
    return Builder.constexpr_affine_dequantize(
        quantized_data=INT8,
        zero_point=np.int8(3),
        scale=SCALES.reshape(-1),
        axis=np.int32(0),
        name="w",
    )


def palette_16() -> Any:
    return Builder.constexpr_lut_to_dense(
        indices=packed(INDICES, 4),
        lut=TABLE,
        shape=np.array([32, 64], dtype=np.uint32),
        name="w",
    )


def sparse_16() -> Any:
    return Builder.constexpr_sparse_to_dense(
        nonzero_data=DENSE[KEPT],
        mask=packed(KEPT.astype(np.uint8), 1),
        shape=np.array([32, 64], dtype=np.uint32),
        name="w",
    )


def blocks_18() -> Any:
    return Builder.constexpr_blockwise_shift_scale(
        data=UINT4.astype(kind("uint4")),
        scale=BLOCKS,
        offset=OFFSETS.astype(kind("uint4")),
        name="w",
    )


def groups_18() -> Any:
    tables = np.stack([TABLE, TABLE * 2]).reshape(2, 1, 16, 1).astype(np.float16)
    return Builder.constexpr_lut_to_dense(
        indices=INDICES.astype(kind("uint4")), lut=tables, name="w"
    )


def sparse_int8_18() -> Any:
    mask, data = Builder.constexpr_sparse_blockwise_shift_scale(
        data_mask=KEPT.astype(kind("uint1")), nonzero_data=INT8[KEPT], scale=SCALES
    )
    return Builder.constexpr_sparse_to_dense(nonzero_data=data, mask=mask, name="w")


def sparse_palette_18() -> Any:
    mask, data = Builder.constexpr_lut_to_sparse(
        indices_mask=KEPT.astype(kind("uint1")),
        indices_nonzero_data=INDICES[KEPT].astype(kind("uint4")),
        lut=TABLE.reshape(1, 1, 16, 1),
    )
    return Builder.constexpr_sparse_to_dense(nonzero_data=data, mask=mask, name="w")


def scaled_palette_18() -> Any:
    looked_up = Builder.constexpr_lut_to_dense(
        indices=INDICES.astype(kind("uint4")), lut=TABLE.reshape(1, 1, 16, 1)
    )
    return Builder.constexpr_blockwise_shift_scale(data=looked_up, scale=SCALES, name="w")


SHARE = 1 - KEPT.mean()
N = 32 * 64
# Maker, iOS → precision, scales, sparsity, stored bits, effective values.
CASES: dict[str, tuple[Any, Any, str, int, float, float, Array]] = {
    "const": (plain, target.iOS16, "float16", 0, 0.0, 16.0 * N, DENSE),
    "affine 16": (affine_16, target.iOS16, "int8", 32, 0.0, 8 * N + 32 * 16 + 8 + 32,
                  (INT8.astype(np.float64) - 3) * SCALES),
    "palette 16": (palette_16, target.iOS16, "lut4", 1, 0.0, 4 * N + 16 * 16 + 64, TABLE[INDICES]),
    "sparse 16": (sparse_16, target.iOS16, "float16", 0, SHARE, N + 16.0 * KEPT.sum() + 64,
                  np.where(KEPT, DENSE, 0)),
    "blocks 18": (blocks_18, target.iOS18, "uint4", 128, 0.0, 4 * N + 128 * 20,
                  (UINT4 - np.repeat(OFFSETS, 16, 1).astype(float)) * np.repeat(BLOCKS, 16, 1)),
    "groups 18": (groups_18, target.iOS18, "lut4", 2, 0.0, 4 * N + 32 * 16,
                  TABLE[INDICES] * np.repeat([1.0, 2.0], 16)[:, None]),
    "sparse int8 18": (sparse_int8_18, target.iOS18, "int8", 32, SHARE,
                       N + 8 * KEPT.sum() + 32 * 16,
                       np.where(KEPT, INT8 * SCALES.astype(float), 0)),
    "sparse palette 18": (sparse_palette_18, target.iOS18, "lut4", 1, SHARE,
                          N + 4 * KEPT.sum() + 16 * 16, np.where(KEPT, TABLE[INDICES], 0)),
    "scaled palette 18": (scaled_palette_18, target.iOS18, "lut4", 1, 0.0,
                          4 * N + 16 * 16 + 32 * 16, TABLE[INDICES] * SCALES.astype(np.float64)),
}  # fmt: skip


def saved(folder: Path, maker: Any, ios: Any, **uses: bool) -> Package:
    @Builder.program(
        input_specs=[Builder.TensorSpec(shape=(1, 64), dtype=types.fp16)], opset_version=ios
    )
    def program(x: Any) -> Any:
        weight = maker()
        if uses.get("gather"):
            row = Builder.gather(x=weight, indices=np.array([1], dtype=np.int32), axis=0)
            return Builder.add(x=x, y=row)
        if uses.get("add"):
            return Builder.add(x=x, y=weight)
        return Builder.linear(x=x, weight=weight)

    model = mil_convert(
        program,
        convert_from="milinternal",
        convert_to="mlprogram",
        compute_units=ComputeUnit.CPU_ONLY,
        specification_version=ios.value,
        pass_pipeline=PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(folder / "made.mlpackage"))
    return read_package(folder / "made.mlpackage")


def weight_of(package: Package) -> StoredWeight:
    (found,) = [w for w in stored_weights(package) if w.shape == (32, 64)]
    return found


@pytest.mark.parametrize("case", CASES)
def test_every_kind_is_described_and_evaluated(tmp_path: Path, case: str) -> None:
    maker, ios, precision, scales, sparsity, bits, values = CASES[case]
    package = saved(tmp_path, maker, ios)
    weight = weight_of(package)
    assert (weight.name, weight.role, weight.precision) == ("w", "linear", precision)
    assert weight.scales == scales
    assert weight.elements == N
    assert weight.sparsity == pytest.approx(sparsity)
    # A few words that are no data (axis, shape, a scalar's zero point) may be counted.
    assert weight.bits * N == pytest.approx(bits, abs=128)
    np.testing.assert_allclose(weight.dense("f64"), values, rtol=1e-12, atol=0)
    np.testing.assert_allclose(weight.dense(), values, rtol=1e-6, atol=0)
    assert weight.dense().dtype == np.float32
    halves = weight.dense("f16")
    np.testing.assert_array_equal(halves, values.astype(np.float16).astype(np.float64))
    for mode in ("f32", "f64", "f16"):
        executor = Executor(package, ExecutorSettings(mode=mode))
        np.testing.assert_array_equal(weight.dense(mode), executor.constants["w"])


def test_digests_are_of_the_values_and_the_shape(tmp_path: Path) -> None:
    digests = set()
    for number, case in enumerate(CASES):
        (tmp_path / str(number)).mkdir()
        maker, ios, *_ = CASES[case]
        weight = weight_of(saved(tmp_path / str(number), maker, ios))
        digests.add(weight.sha256())
        dense = weight.dense().astype("<f4").tobytes()
        assert weight.sha256() == hashlib.sha256(b"[32, 64]" + dense).hexdigest()
    assert len(digests) == len(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("const", "sparse 16")])
def test_codes_give_the_values_back(tmp_path: Path, case: str) -> None:
    maker, ios, *_, values = CASES[case]
    weight = weight_of(saved(tmp_path, maker, ios))
    if case == "scaled palette 18":
        with pytest.raises(CoreMLError, match="constexpr_lut_to_dense"):
            weight.codes()
        return
    codes = weight.codes()
    if codes.tables is not None:
        assert codes.scale is None
        groups = np.arange(32) // (32 // codes.tables.shape[0])
        found = codes.tables.reshape(-1, 16).astype(np.float64)[groups[:, None], codes.values]
    else:
        assert codes.scale is not None
        each = 64 // codes.scale.shape[1]
        offset = 0 if codes.offset is None else np.repeat(codes.offset.astype(float), each, 1)
        scale = np.repeat(codes.scale.astype(np.float64), each, 1)
        found = (codes.values - offset) * scale
    if codes.kept is not None:
        np.testing.assert_array_equal(codes.kept, KEPT)
        assert not codes.values[~codes.kept].any()
        found = np.where(codes.kept, found, 0.0)
    np.testing.assert_allclose(found, values, rtol=1e-12)
    with pytest.raises(CoreMLError, match="compressed"):
        weight.floats()


def test_floats_are_given_as_stored_and_have_no_codes(tmp_path: Path) -> None:
    weight = weight_of(saved(tmp_path, plain, target.iOS16))
    np.testing.assert_array_equal(weight.floats(), DENSE)
    assert weight.floats().dtype == np.float16
    with pytest.raises(CoreMLError, match="no codes"):
        weight.codes()


@pytest.mark.parametrize(
    ("use", "role"), [("gather", "embedding"), ("add", "embedding"), ("linear", "linear")]
)
def test_roles_follow_from_use(tmp_path: Path, use: str, role: str) -> None:
    assert weight_of(saved(tmp_path, plain, target.iOS16, **{use: True})).role == role


def test_roles_of_vectors_and_of_several_uses() -> None:
    assert role_of_uses([("add", "x")], (512,)) == "other"
    assert role_of_uses([("add", "x")], (1, 1, 512)) == "other"
    assert role_of_uses([("linear", "bias")], (512,)) == "other"
    assert role_of_uses([("linear", "weight"), ("gather", "x")], (9, 8)) == "embedding"
    assert role_of_uses([("conv", "weight"), ("add", "y")], (9, 8, 1, 1)) == "linear"
    assert role_of_uses([], (9, 8)) == "other"


def test_small_constants_on_request(tmp_path: Path) -> None:
    package = saved(tmp_path, plain, target.iOS16)
    assert {w.name for w in stored_weights(package)} == {"w"}
    smaller = stored_weights(package, minimum=32)
    assert {w.shape for w in smaller} == {(32, 64), (32,)}  # with the bias of zeros
    assert not stored_weights(package, minimum=N + 1)
