"""Matrix products, attention and einsum."""

from __future__ import annotations

import math

import numpy as np

from runtime.coreml_reference.kernels.registry import Arrays, Context, floats, kernel
from runtime.coreml_reference.program import Array, CoreMLError


@kernel("linear")
def linear(context: Context, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x·weightᵀ + bias.

    Args:
        context: the mode.
        x: (…, in).
        weight: (out, in).
        bias: (out,).
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise CoreMLError(f"x {x.shape} and weight {weight.shape} do not fit together")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise CoreMLError(f"bias {bias.shape} and weight {weight.shape} do not fit together")
    _same_type(x, weight)
    shape = (*x.shape[:-1], weight.shape[0])
    context.allow(shape)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    result = context.numerics.matmul(rows, weight.T)
    if bias is not None:
        _same_type(x, bias)
        result += bias
    return result.reshape(shape)


@kernel("matmul")
def matmul(
    context: Context, x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False
) -> Array:
    """Matrix product over the last two axes, the others broadcast; vectors as in numpy."""
    _same_type(x, y)
    if not x.ndim or not y.ndim:
        raise CoreMLError("a scalar has no matrix product")
    left = x[None, :] if x.ndim == 1 else np.swapaxes(x, -1, -2) if transpose_x else x
    right = y[:, None] if y.ndim == 1 else np.swapaxes(y, -1, -2) if transpose_y else y
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    if left.shape[-1] != right.shape[-2]:
        raise CoreMLError(f"{left.shape} and {right.shape} do not fit together")
    context.allow((*batch, left.shape[-2], right.shape[-1]))
    result = context.numerics.matmul(left, right)
    if y.ndim == 1:
        result = result[..., 0]
    return (
        result[..., 0, :]
        if x.ndim == 1 and y.ndim > 1
        else result[..., 0]
        if x.ndim == 1
        else result
    )


@kernel("einsum")
def einsum(context: Context, values: Arrays, equation: str) -> Array:
    """The two contractions that Apple's text allows, under any letters.

    ``nchw,nwhu->nchu`` and ``chw,whu->chu``: a matrix product over axes −3 and −1, the others being
    batch axes that are broadcast.
    """
    if len(values) != 2 or _pattern(equation) not in ("abcd,adce->abce", "abc,cbd->abd"):
        raise CoreMLError(f"einsum {equation!r} of {len(values)} tensors is unknown")
    x, y = values
    floats(x, y)
    rank = len(equation.replace(" ", "").split(",")[0])
    if x.ndim != rank or y.ndim != rank or x.shape[-1] != y.shape[-3]:
        raise CoreMLError(f"{x.shape} and {y.shape} do not fit einsum {equation!r}")
    left, right = np.swapaxes(x, -3, -2), np.swapaxes(y, -3, -2)
    return np.swapaxes(matmul(context, left, right), -3, -2)


@kernel("scaled_dot_product_attention")
def attention(
    context: Context, query: Array, key: Array, value: Array, attn_mask: Array | None = None
) -> Array:
    """softmax(query·keyᵀ/√E + mask)·value.

    Args:
        context: the mode.
        query: (B, …, L, E).
        key: (B, …, S, E).
        value: (B, …, S, V).
        attn_mask: broadcast to (B, …, L, S); floats are added, False shuts an element out.
    """
    numerics = context.numerics
    floats(query)
    _same_type(query, key)
    _same_type(query, value)
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if not query.ndim == key.ndim == value.ndim >= 3:
        raise CoreMLError(f"{shapes} are not of one rank of at least 3")
    if not (query.shape[:-2] == key.shape[:-2] == value.shape[:-2]):
        raise CoreMLError(f"{shapes} have different batches")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise CoreMLError(f"{shapes} do not fit together")
    scores_shape = (*query.shape[:-1], key.shape[-2])
    context.allow(scores_shape)
    scores = numerics.matmul(query, np.swapaxes(key, -1, -2))
    scores *= 1 / math.sqrt(query.shape[-1])
    scores = numerics.inner(scores)
    if attn_mask is not None:
        if np.broadcast_shapes(attn_mask.shape, scores_shape) != scores_shape:
            raise CoreMLError(f"the mask {attn_mask.shape} does not fit the scores {scores_shape}")
        if attn_mask.dtype == np.bool_:
            scores = np.where(attn_mask, scores, -np.inf).astype(scores.dtype, copy=False)
        else:
            _same_type(query, attn_mask)
            scores += attn_mask
            scores = numerics.inner(scores)
    return numerics.matmul(numerics.softmax(scores, -1), value)


def _pattern(equation: str) -> str:
    """The equation with its letters renamed in the order in which they occur."""
    names: dict[str, str] = {}
    renamed = ""
    for letter in equation.replace(" ", ""):
        if letter.isalpha():
            renamed += names.setdefault(letter, chr(ord("a") + len(names)))
        else:
            renamed += letter
    return renamed


def _same_type(x: Array, y: Array) -> None:
    if x.dtype != y.dtype:
        raise CoreMLError(f"operands of types {x.dtype} and {y.dtype} are mixed")
