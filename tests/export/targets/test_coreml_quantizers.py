"""The quantizers against their definitions, and against coremltools' own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from coremltools.models.neural_network.quantization_utils import _get_kmeans_lookup_table_and_weight
from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from export.targets.coreml._affine import quantize_affine
from export.targets.coreml._palette import kmeans, nearest, palettize
from export.targets.coreml._prune import largest

Halves = npt.NDArray[np.float16]


def weight(seed: int, shape: tuple[int, ...] = (48, 96), tails: float = 4.0) -> Halves:
    random = np.random.default_rng(seed)
    return (random.standard_t(tails, shape) * 0.04).astype(np.float16)


def repeated(blocks: npt.NDArray[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    out = blocks.astype(np.float64)
    for axis, size in enumerate(shape):
        out = np.repeat(out, size // out.shape[axis], axis)
    return out


@pytest.mark.parametrize(
    ("precision", "blocks", "codes"),
    [("int8", (48, 1), 127), ("int8", (1, 96), 127), ("uint4", (48, 3), 15)],
)
def test_affine_is_better_than_coremltools(
    precision: str, blocks: tuple[int, ...], codes: int
) -> None:
    values = weight(1)
    ours = quantize_affine(values, blocks, precision)
    offset = 0.0 if ours.offset is None else repeated(ours.offset, values.shape)
    dense = (ours.codes - offset) * repeated(ours.scale, values.shape)
    sizes = [
        0 if count == 1 else size // count for size, count in zip((48, 96), blocks, strict=True)
    ]
    mode = "LINEAR_SYMMETRIC" if precision == "int8" else "LINEAR"
    theirs = linear_quantize_weights.blockwise_compress_by_dtype(values, precision, mode, sizes)
    other = linear_quantize_weights.decompress(theirs).astype(np.float64)
    error, other_error = (np.square(each - values).sum() for each in (dense, other))
    # An offset that rounds the other way may cost a block a little.
    assert error <= other_error * (1.0 if precision == "int8" else 1.001)
    assert error > 0.8 * other_error
    assert ours.codes.max() <= codes
    assert ours.scale.dtype == np.float16


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float16,
        (4, 8),
        elements=st.floats(-60000, 60000, width=16, allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from(["int8", "uint4"]),
)
def test_no_code_could_be_better(values: Halves, precision: str) -> None:
    made = quantize_affine(values, (4, 2), precision)
    assert (made.scale > 0).all()
    low, high = (-127, 127) if precision == "int8" else (0, 15)
    scale = repeated(made.scale, values.shape)
    offset = 0.0 if made.offset is None else repeated(made.offset, values.shape)
    every = (np.arange(low, high + 1)[:, None, None] - offset) * scale
    best = np.abs(every - values.astype(np.float64)).min(axis=0)
    chosen = np.abs((made.codes - offset) * scale - values.astype(np.float64))
    assert (chosen <= best + 1e-5 * scale).all()


@pytest.mark.parametrize("bits", [4, 6])
@pytest.mark.parametrize("tails", [2.5, 30.0])
@pytest.mark.parametrize("size", [300, 20_000])
def test_kmeans_is_as_good_as_coremltools(bits: int, tails: float, size: int) -> None:
    values = weight(2, (size,), tails)
    table = palettize(values, (1,), bits).tables.reshape(-1)
    theirs, _ = _get_kmeans_lookup_table_and_weight(bits, values)
    other = np.sort(theirs.reshape(-1).astype(np.float16))
    exact = values.astype(np.float64)

    def inertia(entries: Halves) -> float:
        return float(np.square(exact - entries[nearest(values, entries)].astype(np.float64)).sum())

    assert inertia(table) <= 1.02 * inertia(other)


def test_kmeans_finds_the_clusters_there_are() -> None:
    centres = np.array([-3.0, -0.5, 0.25, 8.0])
    values = np.sort((centres[:, None] + np.array([-0.01, 0.0, 0.01])).reshape(-1))
    found = kmeans(values, np.ones(12), 4, np.dtype(np.float64))
    np.testing.assert_allclose(found, centres, atol=1e-12)


def test_kmeans_with_fewer_values_than_clusters() -> None:
    few = np.array([[0.5, -1.0, 0.5, 2.0]], dtype=np.float16)
    made = palettize(few, (1, 1), 4)
    assert np.array_equal(made.tables.reshape(-1)[made.codes], few)
    assert made.tables.shape == (1, 1, 16)
    nothing = palettize(few, (1, 1), 4, np.zeros(few.shape, dtype=np.bool_))
    assert not nothing.tables.any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_tables_are_means_of_their_nearest_values(dtype: type) -> None:
    values = weight(3, (32, 80)).astype(dtype)
    made = palettize(values, (2, 1), 4)
    for group, codes, table in zip(
        np.split(values, 2), np.split(made.codes, 2), made.tables.reshape(2, 16), strict=True
    ):
        distance = np.abs(group[..., None].astype(np.float64) - table.astype(np.float64))
        chosen = np.take_along_axis(distance, codes[..., None].astype(np.int64), -1)[..., 0]
        np.testing.assert_array_equal(chosen, distance.min(axis=-1))
        for code, entry in enumerate(table):
            mean = group[codes == code].astype(np.float64).mean()
            assert abs(float(entry) - mean) <= np.spacing(np.abs(entry))


def test_large_and_small_halves_go_the_same_way() -> None:
    values = weight(4, (300, 300))
    half, single = palettize(values, (1, 1), 4), palettize(values.astype(np.float32), (1, 1), 4)
    np.testing.assert_allclose(half.tables, single.tables, rtol=2e-3, atol=1e-5)
    assert (half.codes != single.codes).mean() < 0.01


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float16, (7, 9), elements=st.sampled_from([0.0, -0.5, 0.5, 1.0, -2.0, 3.0])),
    st.floats(0, 0.99),
)
def test_the_smallest_are_dropped_and_no_more(values: Halves, share: float) -> None:
    kept = largest(values, share)
    assert np.count_nonzero(~kept) == round(share * values.size)
    if kept.any() and not kept.all():
        assert np.abs(values[~kept]).max() <= np.abs(values[kept]).min()
