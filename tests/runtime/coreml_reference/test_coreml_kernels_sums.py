"""Convolutions, reductions and quantization against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from coreml_programs import call

from runtime.coreml_reference.numerics import Mode
from runtime.coreml_reference.program import Array, CoreMLError

F = torch.nn.functional
MODES: list[Mode] = ["f64", "f32"]


def _random(shape: tuple[int, ...], seed: int, mode: Mode = "f64") -> Array:
    values = np.asarray(np.random.default_rng(seed).standard_normal(shape))
    return values.astype(np.float32 if mode == "f32" else np.float64)


def _close(found: Any, expected: torch.Tensor, mode: Mode) -> None:
    want = expected.numpy()
    assert found.shape == want.shape
    assert found.dtype == want.dtype
    limit = (1e-12 if mode == "f64" else 5e-6) * max(1, np.abs(want).max(initial=0))
    assert np.abs(found - want).max(initial=0) <= limit


CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 6, 9), (4, 6, 1), {}),
    ((2, 6, 1, 9), (4, 6, 1, 1), {}),
    ((1, 6, 9), (4, 3, 3), {"stride": 2, "groups": 2}),
    ((2, 4, 7, 8), (8, 1, 3, 2), {"padding": (2, 1), "groups": 4, "dilation": (2, 1)}),
    ((2, 4, 7, 8), (6, 2, 1, 1), {"stride": (2, 3), "groups": 2}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"stride": (1, 2, 3), "padding": (1, 0, 2)}),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("x_shape", "weight_shape", "settings"), CONVOLUTIONS)
def test_conv(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], settings: dict[str, Any], mode: Mode
) -> None:
    axes = len(x_shape) - 2
    x, weight = _random(x_shape, 1, mode), _random(weight_shape, 2, mode)
    bias = _random(weight_shape[:1], 3, mode)
    function = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    expected = function(*(torch.from_numpy(v) for v in (x, weight, bias)), **settings)

    def each(name: str, default: int) -> tuple[int, ...]:
        value = settings.get(name, default)
        return value if isinstance(value, tuple) else (value,) * axes

    found = call(
        "conv",
        mode,
        x=x,
        weight=weight,
        bias=bias,
        strides=each("stride", 1),
        dilations=each("dilation", 1),
        groups=settings.get("groups", 1),
        pad_type="custom",
        pad=tuple(n for length in each("padding", 0) for n in (length, length)),
    )
    _close(found, expected, mode)


def test_conv_pads_to_the_same_length() -> None:
    x, weight = _random((1, 2, 8, 9), 1), _random((3, 2, 4, 3), 2)
    tensors = torch.from_numpy(x), torch.from_numpy(weight)
    _close(
        call("conv", x=x, weight=weight, pad_type="same"), F.conv2d(*tensors, padding="same"), "f64"
    )
    lower = F.conv2d(F.pad(tensors[0], (1, 1, 2, 1)), tensors[1])
    _close(call("conv", x=x, weight=weight, pad_type="same_lower"), lower, "f64")
    _close(call("conv", x=x, weight=weight), F.conv2d(*tensors), "f64")
    strided = call("conv", x=x, weight=weight, pad_type="same", strides=(3, 2))
    assert strided.shape == (1, 3, 3, 5)
    # ceil(8 / 3) = 3 results reach over 2·3 + 4 = 10 places, 4·2 + 3 = 11 for ceil(9 / 2) = 5.
    _close(strided, F.conv2d(F.pad(tensors[0], (1, 1, 1, 1)), tensors[1], stride=(3, 2)), "f64")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pad_type": "reflect"},
        {"pad_type": "custom"},
        {"pad_type": "custom", "pad": (-1, 0)},
        {"groups": 3},
        {"groups": 0},
        {"strides": (0,)},
        {"strides": (1, 1)},
        {"dilations": (9,)},
        {"bias": np.zeros(9)},
    ],
)
def test_conv_that_does_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(CoreMLError):
        call("conv", x=np.zeros((1, 4, 8)), weight=np.zeros((2, 4, 3)), **wrong)


REDUCTIONS = {
    "reduce_sum": torch.sum,
    "reduce_mean": torch.mean,
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_prod": lambda x, axes, keep: x.numpy().prod(axes, keepdims=keep),
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keep).log(),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reduction(kind: str, mode: Mode) -> None:
    x = _random((2, 3, 4), 4, mode)
    if kind == "reduce_log_sum":
        x = np.abs(x)
    for axes in ((0,), (-1, 1), (0, 1, 2)):
        for keep in (False, True):
            expected = torch.as_tensor(REDUCTIONS[kind](torch.from_numpy(x), axes, keep))
            _close(call(kind, mode, x=x, axes=axes, keep_dims=keep), expected, mode)
    whole = torch.as_tensor(REDUCTIONS[kind](torch.from_numpy(x), (0, 1, 2), False))
    _close(call(kind, mode, x=x), whole, mode)
    with pytest.raises(CoreMLError, match="twice"):
        call(kind, mode, x=x, axes=(0, -3))


def test_log_sum_exp_of_extremes() -> None:
    x = np.array([[-np.inf, -np.inf], [1000.0, 1000.0], [np.inf, 0.0]])
    found = call("reduce_log_sum_exp", x=x, axes=(1,))
    assert found.tolist() == [-np.inf, 1000 + np.log(2), np.inf]


@pytest.mark.parametrize("kind", ["reduce_argmax", "reduce_argmin"])
def test_positions(kind: str) -> None:
    x = _random((3, 4, 5), 1)
    function = getattr(torch, kind.removeprefix("reduce_"))
    for axis in (-1, 0, 1):
        for keep in (False, True):
            found = call(kind, x=x, axis=axis, keep_dims=keep)
            assert found.dtype == np.int32
            assert np.array_equal(found, function(torch.from_numpy(x), axis, keep).numpy())
    assert call(kind, x=x, output_dtype="uint16").dtype == np.uint16
    with pytest.raises(CoreMLError, match="cannot give int8"):
        call(kind, x=x, output_dtype="int8")


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_cumsum(dtype: type) -> None:
    x = (_random((3, 4), 2) * 9).astype(dtype)
    t = torch.from_numpy(x)
    for axis in (0, 1):
        expected = torch.cumsum(t, axis, dtype=t.dtype)
        _close(call("cumsum", x=x, axis=axis), expected, "f64")
        _close(call("cumsum", x=x, axis=axis, exclusive=True), expected - t, "f64")
        back = torch.cumsum(t.flip(axis), axis, dtype=t.dtype).flip(axis)
        _close(call("cumsum", x=x, axis=axis, reverse=True), back, "f64")
        found = call("cumsum", x=x, axis=axis, reverse=True, exclusive=True)
        _close(found, back - t, "f64")


@pytest.mark.parametrize("name", ["int8", "uint8"])
def test_quantize_equals_torch(name: str) -> None:
    x = _random((3, 4, 5), 1).astype(np.float32) * 4
    x.reshape(-1)[:4] = [1e6, -1e6, 0.75, 1.25]
    kind, dtype = (torch.qint8, np.int8) if name == "int8" else (torch.quint8, np.uint8)
    # Torch adds the zero point before it rounds ties to even: only even ones compare.
    zero = np.array(4, dtype)
    expected = torch.quantize_per_tensor(torch.from_numpy(x), 0.5, 4, kind)
    scale = np.array(0.5, np.float32)
    found = call("quantize", "f32", input=x, scale=scale, zero_point=zero, output_dtype=name)
    assert found.dtype == dtype
    assert np.array_equal(found, expected.int_repr().numpy())
    back = call("dequantize", "f32", input=found, scale=scale, zero_point=zero)
    assert np.array_equal(back, expected.dequantize().numpy())
    scales, zeros = np.array([0.5, 0.25, 2, 1], np.float32), np.array([0, 2, 4, 6], dtype)
    expected = torch.quantize_per_channel(
        torch.from_numpy(x), torch.from_numpy(scales).double(), torch.from_numpy(zeros), 1, kind
    )
    given = {"scale": scales, "zero_point": zeros, "axis": -2}
    found = call("quantize", "f32", input=x, output_dtype=name, **given)
    assert np.array_equal(found, expected.int_repr().numpy())
    back = call("dequantize", "f32", input=found, **given)
    assert np.array_equal(back, expected.dequantize().numpy())


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_dtype": "int16"},
        {"zero_point": np.array(1, np.uint8)},
        {"scale": np.ones(3)},
        {"scale": np.ones(3), "axis": 1},
        {"scale": np.ones(4), "axis": 7},
        {"input": np.full((3, 4), np.nan)},
    ],
)
def test_quantize_that_does_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(CoreMLError):
        given = {"input": np.zeros((3, 4)), "scale": np.array(1.0), "output_dtype": "int8"}
        call("quantize", **(given | wrong))
