"""Every kernel against torch on random shapes: arithmetic, activations, products, norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from coreml_programs import call

from runtime.coreml_reference.kernels.registry import KERNELS, Context
from runtime.coreml_reference.numerics import Mode, Numerics
from runtime.coreml_reference.program import Array, CoreMLError

F = torch.nn.functional
MODES: list[Mode] = ["f64", "f32"]
SHAPES = [(), (3,), (2, 5), (1, 4, 3), (2, 1, 3, 4)]
BROADCASTS = [
    ((3, 4), (3, 4)),
    ((2, 3, 4), (4,)),
    ((), (2, 2)),
    ((5, 1, 2), (3, 1)),
    ((0, 3), (3,)),
]


def _random(shape: tuple[int, ...], seed: int, mode: Mode = "f64") -> Array:
    values = np.asarray(np.random.default_rng(seed).standard_normal(shape))
    return values.astype(np.float32 if mode == "f32" else np.float64)


def _close(found: Any, expected: torch.Tensor, mode: Mode, scale: float = 1) -> None:
    want = expected.numpy()
    found = np.asarray(found)
    assert found.shape == want.shape
    assert found.dtype == want.dtype
    if want.size and want.dtype.kind == "f":
        limit = (2e-13 if mode == "f64" else 3e-6) * scale * max(1, np.nanmax(np.abs(want)))
        assert np.nanmax(np.abs(found - want), initial=0) <= limit
        assert np.array_equal(np.isnan(found), np.isnan(want))
    else:
        assert np.array_equal(found, want)


UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "gelu": F.gelu,
    "identity": torch.clone,
    "relu": F.relu,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "sin": torch.sin,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tanh": torch.tanh,
    "inverse": lambda x: 1 / (x + 1e-4),
    "log": lambda x: torch.log(x + 1e-45),
    "rsqrt": lambda x: torch.rsqrt(x + 1e-12),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", UNARY)
def test_unary(kind: str, mode: Mode) -> None:
    for seed, shape in enumerate(SHAPES):
        x = _random(shape, seed, mode) * 3
        if kind in ("sqrt", "log", "rsqrt", "inverse"):
            x = np.abs(x) + x.dtype.type(0.1)
        _close(
            call(kind, mode, x=np.asarray(x)), UNARY[kind](torch.from_numpy(np.asarray(x))), mode
        )


BINARY: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "real_div": torch.div,
    "floor_div": torch.floor_divide,
    "mod": torch.remainder,
    "pow": torch.pow,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
}
INTEGER = set(BINARY) - {"real_div", "pow"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", BINARY)
def test_binary(kind: str, mode: Mode) -> None:
    for seed, (a, b) in enumerate(BROADCASTS):
        x, y = (
            np.round(_random(a, seed, mode) * 8) / 4,
            np.round(_random(b, 99 + seed, mode) * 8) / 4,
        )
        if kind == "pow":
            x = np.abs(x)
        if kind in ("floor_div", "mod"):
            y = np.where(y == 0, y.dtype.type(1.5), y)
        x, y = np.asarray(x), np.asarray(y)
        _close(
            call(kind, mode, x=x, y=y), BINARY[kind](torch.from_numpy(x), torch.from_numpy(y)), mode
        )


@pytest.mark.parametrize("kind", sorted(INTEGER))
def test_binary_of_integers(kind: str) -> None:
    generator = np.random.default_rng(5)
    x = generator.integers(-9, 9, (4, 5), dtype=np.int32)
    y = generator.integers(1, 9, (5,), dtype=np.int32) * np.array([1, -1, 1, -1, 1], np.int32)
    _close(call(kind, x=x, y=y), BINARY[kind](torch.from_numpy(x), torch.from_numpy(y)), "f64")


@pytest.mark.parametrize("kind", ["logical_and", "logical_or", "logical_xor"])
def test_logic(kind: str) -> None:
    x, y = np.array([[True], [False]]), np.array([True, False])
    expected = getattr(torch, kind)(torch.from_numpy(x), torch.from_numpy(y))
    _close(call(kind, x=x, y=y), expected, "f64")
    assert np.array_equal(call("logical_not", x=y), ~y)


def test_integer_division() -> None:
    x = np.array([7, -7, 6], np.int32)
    assert call("real_div", x=x, y=np.array([7, 7, -2], np.int32)).tolist() == [1, -1, -3]
    with pytest.raises(CoreMLError, match="do not divide exactly"):
        call("real_div", x=x, y=np.int32([2, 2, 2]))
    for kind in ("real_div", "floor_div", "mod"):
        with pytest.raises(CoreMLError, match="divided by zero"):
            call(kind, x=x, y=np.int32([1, 0, 1]))


def test_mixed_types_are_refused() -> None:
    with pytest.raises(CoreMLError, match="mixed"):
        call("add", x=np.zeros(2), y=np.zeros(2, np.int32))
    with pytest.raises(CoreMLError, match="mixed"):
        call("linear", x=np.zeros((2, 2)), weight=np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EXACT", F.gelu),
        ("TANH_APPROXIMATION", lambda x: F.gelu(x, approximate="tanh")),
        ("SIGMOID_APPROXIMATION", lambda x: x * torch.sigmoid(1.702 * x)),
    ],
)
def test_gelu_modes(name: str, expected: Callable[[Any], Any], mode: Mode) -> None:
    x = _random((40_000,), 3, mode) * 4
    _close(_gelu(mode, x, name), expected(torch.from_numpy(x)), mode)


def _gelu(mode: Mode, x: Array, name: str) -> Array:
    # The kernel's parameter has the name of call's own.
    return np.asarray(KERNELS["gelu"].run(Context(Numerics(mode), 17), x=x, mode=name))


def test_gelu_of_an_unknown_mode() -> None:
    with pytest.raises(CoreMLError, match="'RELU' is unknown"):
        _gelu("f64", np.zeros(2), "RELU")


def test_extreme_arguments_of_activations() -> None:
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    assert call("sigmoid", x=x).tolist() == [0, 0, 1, 1]
    assert call("silu", x=x)[2:].tolist() == [800, 1e4]
    assert call("softmax", x=x)[-1] == 1


def test_clip_select_and_cast() -> None:
    x = _random((3, 4), 1)
    _close(call("clip", x=x, alpha=-0.5, beta=0.25), torch.from_numpy(x).clamp(-0.5, 0.25), "f64")
    cond = x[:1] > 0
    expected = torch.where(*(torch.from_numpy(a) for a in (cond, x, -x)))
    _close(call("select", cond=cond, a=x, b=-x), expected, "f64")
    with pytest.raises(CoreMLError, match="not bool"):
        call("select", cond=x, a=x, b=x)
    numbers = np.array([-1.9, -0.5, 0.0, 2.9])
    assert call("cast", x=numbers, dtype="int32").tolist() == [-1, 0, 0, 2]
    assert call("cast", x=numbers, dtype="bool").tolist() == [True, True, False, True]
    whole = call("cast", x=np.array([True, False]), dtype="int16")
    assert (whole.dtype, whole.tolist()) == (np.int16, [1, 0])
    assert call("cast", "f32", x=np.int32([3]), dtype="fp16").dtype == np.float32
    with pytest.raises(CoreMLError, match="a cast to fp8 is unknown"):
        call("cast", x=numbers, dtype="fp8")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.int32([5, 40000]), "int16"),
        (np.int32([-1]), "uint16"),
        (np.float64([np.nan]), "int32"),
        (np.float64([-129.0]), "int8"),
        (np.float64([3e9]), "int32"),
    ],
)
def test_a_cast_that_would_wrap_is_refused(values: Array, dtype: str) -> None:
    with pytest.raises(CoreMLError, match=f"does not fit into {dtype}"):
        call("cast", x=values, dtype=dtype)
    limits = np.iinfo(dtype)
    whole = np.array([limits.min, limits.max], np.int64)
    assert np.array_equal(call("cast", x=whole, dtype=dtype), whole)


@pytest.mark.parametrize("mode", MODES)
def test_softmax(mode: Mode) -> None:
    x = _random((2, 3, 4), 2, mode) * 20
    for axis in (-1, 0, 1):
        _close(call("softmax", mode, x=x, axis=axis), F.softmax(torch.from_numpy(x), axis), mode)
    with pytest.raises(CoreMLError, match="axis 3"):
        call("softmax", x=x, axis=3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (0, 7)])
def test_linear(mode: Mode, shape: tuple[int, ...]) -> None:
    x, weight, bias = _random(shape, 1, mode), _random((4, 7), 2, mode), _random((4,), 3, mode)
    a, w, b = (torch.from_numpy(v) for v in (x, weight, bias))
    _close(call("linear", mode, x=x, weight=weight, bias=bias), F.linear(a, w, b), mode)
    _close(call("linear", mode, x=x, weight=weight), F.linear(a, w), mode)
    with pytest.raises(CoreMLError, match="do not fit together"):
        call("linear", mode, x=x, weight=weight.T.copy())


@pytest.mark.parametrize("mode", MODES)
def test_matmul(mode: Mode) -> None:
    cases = [((4,), (4,)), ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((3, 4), (4, 2))]
    cases += [((5, 1, 3, 4), (2, 4, 6)), ((1, 2, 3, 4), (7, 1, 4, 1)), ((2, 0, 4), (4, 3))]
    for k, (a, b) in enumerate(cases):
        x, y = _random(a, k, mode), _random(b, k + 50, mode)
        expected = torch.matmul(torch.from_numpy(x), torch.from_numpy(y))
        _close(call("matmul", mode, x=x, y=y), expected, mode)
        if len(a) > 1 and len(b) > 1:
            found = call(
                "matmul",
                mode,
                x=np.swapaxes(x, -1, -2).copy(),
                y=np.swapaxes(y, -1, -2).copy(),
                transpose_x=True,
                transpose_y=True,
            )
            _close(found, expected, mode)
    with pytest.raises(CoreMLError, match="do not fit"):
        call("matmul", x=np.zeros((2, 3)), y=np.zeros((2, 3)))


@pytest.mark.parametrize("mode", MODES)
def test_einsum(mode: Mode) -> None:
    x, y = _random((2, 3, 1, 5), 1, mode), _random((1, 5, 4, 6), 2, mode)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    expected = torch.einsum("nchw,nwhu->nchu", a.expand(2, 3, 4, 5), b.expand(2, 5, 4, 6))
    for equation in ("nchw,nwhu->nchu", "bkhq, bqhc -> bkhc"):
        _close(call("einsum", mode, values=(x, y), equation=equation), expected, mode)
    found = call("einsum", mode, values=(x[0], y[0]), equation="chw,whr->chr")
    _close(found, expected[0], mode)
    for equation in ("nchw,nwhu->nuhc", "ab,bc->ac", "nonsense"):
        with pytest.raises(CoreMLError, match="is unknown"):
            call("einsum", mode, values=(x, y), equation=equation)


@pytest.mark.parametrize("mode", MODES)
def test_attention(mode: Mode) -> None:
    query, key, value = (
        _random(s, k, mode) for k, s in enumerate([(2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 6)])
    )
    tensors = [torch.from_numpy(v) for v in (query, key, value)]
    masks: list[Array | None] = [None, _random((2, 1, 4, 5), 9, mode), _random((4, 5), 9) > -0.5]
    for mask in masks:
        given = {} if mask is None else {"attn_mask": mask}
        other = None if mask is None else torch.from_numpy(mask)
        found = call(
            "scaled_dot_product_attention", mode, query=query, key=key, value=value, **given
        )
        _close(found, F.scaled_dot_product_attention(*tensors, attn_mask=other), mode)
    with pytest.raises(CoreMLError, match="the mask"):
        call(
            "scaled_dot_product_attention",
            query=query,
            key=key,
            value=value,
            attn_mask=np.zeros((7, 1, 1, 1, 1)),
        )


@pytest.mark.parametrize("mode", MODES)
def test_layer_norm(mode: Mode) -> None:
    x = _random((2, 5, 7), 1, mode) * 3 + 1
    gamma, beta = _random((5, 7), 2, mode), _random((5, 7), 3, mode)
    a, g, b = (torch.from_numpy(v) for v in (x, gamma, beta))
    found = call("layer_norm", mode, x=x, axes=(-2, -1), gamma=gamma, beta=beta, epsilon=1e-3)
    _close(found, F.layer_norm(a, (5, 7), g, b, 1e-3), mode)
    _close(call("layer_norm", mode, x=x, axes=(2,)), F.layer_norm(a, (7,)), mode)
    _close(call("layer_norm", mode, x=x), F.layer_norm(a, (2, 5, 7)), mode)
    channel = F.layer_norm(a.transpose(1, 2), (5,)).transpose(1, 2)
    _close(call("layer_norm", mode, x=x, axes=(1,)), channel, mode)
    with pytest.raises(CoreMLError, match="gamma"):
        call("layer_norm", x=x, axes=(2,), gamma=gamma)


@pytest.mark.parametrize("mode", MODES)
def test_batch_norm(mode: Mode) -> None:
    x = _random((2, 3, 4, 5), 1, mode)
    mean, gamma, beta = (_random((3,), k, mode) for k in (2, 3, 4))
    variance = np.abs(_random((3,), 5, mode)) + x.dtype.type(0.1)
    tensors = [torch.from_numpy(v) for v in (x, mean, variance, gamma, beta)]
    found = call(
        "batch_norm", mode, x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=1e-3
    )
    _close(found, F.batch_norm(*tensors, eps=1e-3), mode)
    found = call("batch_norm", mode, x=x, mean=mean, variance=variance)
    _close(found, F.batch_norm(*tensors[:3]), mode)
