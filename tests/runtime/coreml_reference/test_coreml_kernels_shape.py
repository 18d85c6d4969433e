"""Kernels that move values, against numpy and torch: shapes, slices, gathers, fills."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from coreml_programs import call
from hypothesis import given
from hypothesis import strategies as st

from runtime.coreml_reference.kernels.registry import KERNELS, Context
from runtime.coreml_reference.numerics import Numerics
from runtime.coreml_reference.program import Array, CoreMLError


def _numbers(*shape: int) -> Array:
    return np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)


def _same(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_reshape_by_ios_version() -> None:
    x = _numbers(2, 3, 4)
    _same(call("reshape", x=x, shape=(0, -1)), x.reshape(3, 8))
    _same(call("reshape", ios=16, x=x, shape=(0, -1, 0)), x)
    with pytest.raises(CoreMLError, match="equal ranks before iOS 17"):
        call("reshape", ios=16, x=x, shape=(0, -1))
    # The example of Apple's text: zeros count from the back, and are 1 where nothing is left.
    _same(call("reshape", x=_numbers(2, 50), shape=(1, 0, -1, 0)), _numbers(1, 1, 2, 50))
    _same(call("reshape", x=np.array(5.0), shape=(1, 1)), np.array([[5.0]]))
    _same(call("reshape", x=np.array([[5.0]]), shape=()), np.array(5.0))


@pytest.mark.parametrize("shape", [(5, -1), (-1, -1), (4, 5), (-2, 12), (0, 0, 0, 24)])
def test_reshape_that_does_not_come_out(shape: tuple[int, ...]) -> None:
    with pytest.raises(CoreMLError):
        call("reshape", ios=17, x=_numbers(2, 3, 4), shape=shape)


def test_axes_moved_added_and_dropped() -> None:
    x = _numbers(2, 1, 3, 1)
    _same(call("transpose", x=x, perm=(3, -2, 0, 1)), x.transpose(3, 2, 0, 1))
    _same(call("expand_dims", x=x, axes=(-1, 0)), x[None, ..., None])
    _same(call("squeeze", x=x), x[:, 0, :, 0])
    # Axes longer than 1 stay, as Apple's text says.
    _same(call("squeeze", x=x, axes=(0, -1)), x[..., 0])
    _same(call("shape", x=x), np.array([2, 1, 3, 1], np.int32))
    for kind, wrong in (("transpose", {"perm": (0, 1)}), ("expand_dims", {"axes": (9,)})):
        with pytest.raises(CoreMLError):
            call(kind, x=x, **wrong)
    with pytest.raises(CoreMLError, match="twice"):
        call("transpose", x=x, perm=(0, 0, 1, 2))


def test_joined_and_parted() -> None:
    x, y = _numbers(2, 3), -_numbers(2, 3)
    _same(call("concat", values=(x, y), axis=-1), np.concatenate([x, y], -1))
    for axis in (0, 1):
        found = call("concat", values=(x, y), axis=axis, interleave=True)
        _same(np.moveaxis(found, axis, 0)[0::2], np.moveaxis(x, axis, 0))
        _same(np.moveaxis(found, axis, 0)[1::2], np.moveaxis(y, axis, 0))
    scalars = (np.array(1, np.int32), np.array([2, 3], np.int32))
    _same(call("concat", values=scalars, axis=0), np.array([1, 2, 3], np.int32))
    _same(call("stack", values=(x, y), axis=1), np.stack([x, y], 1))
    parts = call("split", x=x, axis=1, split_sizes=(1, 2))
    assert [part.tolist() for part in parts] == [x[:, :1].tolist(), x[:, 1:].tolist()]
    assert len(call("split", x=x, axis=-1, num_splits=3)) == 3
    for wrong in ({"num_splits": 2}, {"num_splits": 0}, {"split_sizes": (1, 1)}, {}):
        with pytest.raises(CoreMLError):
            call("split", x=x, axis=1, **wrong)
    with pytest.raises(CoreMLError, match="mixed"):
        call("concat", values=(x, x.astype(np.float32)), axis=0)


def _padded(x: Array, **arguments: Any) -> Array:
    """`call` has a mode of its own."""
    return np.asarray(KERNELS["pad"].run(Context(Numerics("f32"), 17), x=x, **arguments))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_padded_as_torch_and_coremltools_have_it(mode: str) -> None:
    from coreml_packages import quiet

    x = _numbers(2, 3, 4).astype(np.float32)
    # Apple names the axes from the first of those that are padded, torch from the last.
    found = _padded(x, pad=(1, 2, 0, 3), mode=mode, constant_val=0.5)
    value = {"value": 0.5} if mode == "constant" else {}
    torchs = "replicate" if mode == "replicate" else mode
    wanted = torch.nn.functional.pad(torch.from_numpy(x), (0, 3, 1, 2), mode=torchs, **value)
    _same(found, wanted.numpy())
    with quiet():
        from coremltools.converters.mil._deployment_compatibility import AvailableTarget
        from coremltools.converters.mil.mil import Builder, Function

        with Function({}, opset_version=AvailableTarget.iOS16):
            given = {"pad": np.int32([1, 2, 0, 3]), "mode": mode, "constant_val": np.float32(0.5)}
            theirs = Builder.pad(x=x, **given).val
    _same(found, theirs)


def test_padding_that_does_not_fit() -> None:
    x = _numbers(2, 3)
    _same(_padded(x, pad=(1, 0)), np.pad(x, ((0, 0), (1, 0))))
    wrong: list[dict[str, Any]] = [
        {"pad": (1,)},
        {"pad": (1, 0, 0, 0, 0, 0)},
        {"pad": (-1, 0)},
        {"pad": (1 << 30, 0)},
        {"pad": (3, 0), "mode": "reflect"},
        {"pad": (4, 0), "mode": "replicate"},
        {"pad": (1, 0), "mode": "wrap"},
    ]
    for arguments in wrong:
        with pytest.raises(CoreMLError):
            _padded(x, **arguments)
    with pytest.raises(CoreMLError, match="floats only"):
        _padded(np.int32([1]), pad=(1, 0))


def test_repeated_and_filled() -> None:
    x = _numbers(2, 3)
    _same(call("tile", x=x, reps=(2, 1)), np.tile(x, (2, 1)))
    _same(call("fill", shape=(2, 2), value=np.array(7, np.int32)), np.full((2, 2), 7, np.int32))
    _same(call("fill", shape=(3,)), np.zeros(3))
    _same(call("fill_like", ref_tensor=x, value=np.array(True)), np.ones((2, 3), np.bool_))
    ends = {k: np.array(v, np.int32) for k, v in (("start", 2), ("end", 11), ("step", 4))}
    _same(call("range_1d", **ends), np.array([2, 6, 10], np.int32))
    _same(
        call("range_1d", start=np.array(1.0), end=np.array(0.0), step=np.array(-0.25)),
        np.arange(1, 0, -0.25),
    )
    with pytest.raises(CoreMLError, match="no length"):
        call("range_1d", **(ends | {"step": np.array(0, np.int32)}))


def test_band_part_equals_torch() -> None:
    x = _numbers(2, 4, 5) + 1
    t = torch.from_numpy(x)
    _same(call("band_part", x=x, lower=0, upper=-1), torch.triu(t).numpy())
    _same(call("band_part", x=x, lower=-1, upper=0), torch.tril(t).numpy())
    _same(call("band_part", x=x, lower=1, upper=2), t.triu(-1).tril(2).numpy())
    _same(call("band_part", x=x), x)


@given(st.data())
def test_slices_mean_what_numpys_mean(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    x, index, given_ = _numbers(*shape), [], {}
    names = ("begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask")
    columns: list[list[int]] = [[] for _ in names]
    for length in shape:
        begin, end = (data.draw(st.integers(-length, length - 1)) for _ in range(2))
        stride = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
        masks = [data.draw(st.booleans()) for _ in range(3)]
        for column, number in zip(columns, (begin, end, stride, *masks), strict=True):
            column.append(int(number))
        first, last = None if masks[0] else begin, None if masks[1] else end
        index.append((first or 0) if masks[2] else slice(first, last, stride))
    given_ = {name: tuple(column) for name, column in zip(names, columns, strict=True)}
    _same(call("slice_by_index", x=x, **given_), np.asarray(x[tuple(index)]))


def test_slices_that_do_not_fit() -> None:
    x = _numbers(3, 4)
    with pytest.raises(CoreMLError, match="do not fit"):
        call("slice_by_index", x=x, begin=(0,), end=(1,))
    _same(call("slice_by_size", x=x, begin=(1, -3), size=(-1, 2)), x[1:, 1:3])
    for begin, size in (((0, 3), (1, 2)), ((4, 0), (0, 1)), ((0, 0), (-2, 1)), ((-9, 0), (1, 1))):
        with pytest.raises(CoreMLError, match="leave the tensor"):
            call("slice_by_size", x=x, begin=begin, size=size)


def test_gather_along_every_axis() -> None:
    x, indices = _numbers(3, 4, 5), np.array([[2, 0], [1, 1]], np.int32)
    for axis in range(-3, 3):
        _same(call("gather", x=x, indices=indices, axis=axis), np.take(x, indices, axis))
    _same(call("gather", x=x, indices=np.array(2, np.uint16)), x[2])


@pytest.mark.parametrize(("axis", "batch_dims"), [(1, 1), (2, 1), (2, 2), (3, 2), (3, 1)])
def test_gather_with_batches(axis: int, batch_dims: int) -> None:
    x = _numbers(2, 3, 4, 5)
    generator = np.random.default_rng(axis)
    tail = (2, 3)
    indices = generator.integers(0, x.shape[axis], (*x.shape[:batch_dims], *tail), np.int32)
    found = call("gather", x=x, indices=indices, axis=axis, batch_dims=batch_dims)
    expected = np.empty((*x.shape[:axis], *tail, *x.shape[axis + 1 :]))
    for batch in np.ndindex(*x.shape[:batch_dims]):
        expected[batch] = np.take(x[batch], indices[batch], axis - batch_dims)
    _same(found, expected)


def test_gather_in_the_type_in_which_a_table_is_stored() -> None:
    table = _numbers(5, 2).astype(np.float16)
    found = call("gather", "f32", x=table, indices=np.array([4, 0], np.int32))
    _same(found, table[[4, 0]].astype(np.float32))


def test_other_gathers() -> None:
    x = _numbers(3, 4, 5)
    along = np.random.default_rng(1).integers(0, 4, (3, 7, 5), np.int32)
    expected = torch.gather(torch.from_numpy(x), 1, torch.from_numpy(along).long()).numpy()
    _same(call("gather_along_axis", x=x, indices=along, axis=1), expected)
    points = np.array([[0, 3], [2, 1]], np.int32)
    _same(call("gather_nd", x=x, indices=points), x[[0, 2], [3, 1]])
    batched = np.array([[[0], [3]], [[1], [1]], [[2], [0]]], np.int32)
    expected = np.stack([x[k, batched[k, :, 0]] for k in range(3)])
    _same(call("gather_nd", x=x, indices=batched, batch_dims=1), expected)
    for kind, indices in (("gather_along_axis", along[:2]), ("gather_nd", np.zeros((1, 4), int))):
        with pytest.raises(CoreMLError):
            call(kind, x=x, indices=indices)


def test_indices_outside_a_table() -> None:
    x = _numbers(4, 2)
    negative = np.array([-1, -4], np.int32)
    _same(call("gather", ios=16, x=x, indices=negative), x[[3, 0]])
    cases = [(17, -1), (16, -5), (16, 4), (17, 4), (17, 40000)]
    for ios, index in cases:
        for kind in ("gather", "gather_nd", "gather_along_axis"):
            indices = np.full((1, 2) if kind == "gather_along_axis" else (1, 1), index, np.int32)
            with pytest.raises(CoreMLError, match=f"the index {index} is outside a table of 4"):
                call(kind, ios=ios, x=x, indices=indices)
    with pytest.raises(CoreMLError, match="not integers"):
        call("gather", x=x, indices=np.array([0.0]))


def test_results_that_are_too_large_are_refused_before_they_are_allocated() -> None:
    wide, tall = np.zeros((1, 1 << 16)), np.zeros((1 << 16, 1))
    huge = (1 << 20, 1 << 20)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("fill", {"shape": huge}),
        ("fill", {"shape": (-1, 5)}),
        ("tile", {"x": wide, "reps": huge}),
        ("add", {"x": wide, "y": tall}),
        ("select", {"cond": wide > 0, "a": tall, "b": tall}),
        ("matmul", {"x": tall, "y": wide}),
        ("linear", {"x": tall, "weight": np.zeros((1 << 16, 1))}),
        ("conv", {"x": np.zeros((1, 1, 1)), "weight": np.zeros((1, 1, 1)), "pad_type": "custom",
                  "pad": (1 << 30, 0)}),
        ("gather", {"x": wide, "indices": np.zeros(1 << 16, np.int32)}),
        ("gather_nd", {"x": wide, "indices": np.zeros((1 << 16, 1), np.int32)}),
        ("range_1d", {k: np.array(v) for k, v in (("start", 0.0), ("end", 1e18), ("step", 1.0))}),
    ]  # fmt: skip
    for kind, arguments in cases:
        with pytest.raises(CoreMLError, match="is refused"):
            call(kind, **arguments)
