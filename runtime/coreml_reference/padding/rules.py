"""Rules for operations that compute: bounds for their results."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from runtime.coreml_reference.padding.facts import ROUNDING, Edit, Fact, Unproven
from runtime.coreml_reference.padding.norms import largest_of, row_norms, spectral_bound
from runtime.coreml_reference.padding.registry import Call, rule
from runtime.coreml_reference.program import Array

# A mask's levels are as computed here, but for their rounding.
_LEVELS = 0.99
# exp(−800) is zero in float64, and in float32.
_NOTHING_LEFT = 800.0
# What a softmax's shares add up to at most after rounding to fp16, if they are 40,000 or fewer.
_SHARES = 1.002


_FUNCTIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


@rule(*_FUNCTIONS)
def arithmetic(call: Call) -> Fact:
    """Sum, difference or product; either operand may be constant."""
    kind = call.step.operation.kind
    call.only("x", "y")
    if len(call.operands) == 1:
        return _with_constant(call)
    x, y = _aligned(call, call.fact("x")), _aligned(call, call.fact("y"))
    positions = x.positions | y.positions
    for one in (x, y):
        if any(one.shape[axis] != 1 for axis in positions - one.positions):
            raise Unproven("positions meet an axis that counts something else")
    if kind == "mul":
        return replace(Fact(call.shape, positions, x.largest * y.largest), zero=_masked(x, y))
    found = Fact(call.shape, positions, x.largest + y.largest)
    if x.norm and y.norm and x.norm[0] == y.norm[0] and x.shape == y.shape == call.shape:
        found = replace(found, norm=(x.norm[0], x.norm[1] + y.norm[1]))
    if y.levels and not x.levels and len(y.positions) == 1:
        at_text, at_padding = y.levels if kind == "add" else (-y.levels[0], -y.levels[1])
        gap = (at_text - at_padding) * _LEVELS - 2 * x.largest
        found = replace(found, hidden=(next(iter(y.positions)), gap))
    return found


def _masked(x: Fact, y: Fact) -> int | None:
    """The axis along which a product is zero at padding; its factors are finite, as all are."""
    axes = {axis for one in (x, y) if one.is_mask for axis in one.positions}
    return axes.pop() if len(axes) == 1 else None


def _with_constant(call: Call) -> Fact:
    kind = call.step.operation.kind
    name = next(iter(call.operands))
    other = "y" if name == "x" else "x"
    x, constant = _aligned(call, call.fact(name)), np.asarray(call.constant(other))
    _cut_constant(call, x, other, constant)
    size = largest_of(constant)
    if kind == "mul":
        found = Fact(call.shape, x.positions, x.largest * size)
        if x.norm and x.shape == call.shape:
            found = replace(found, norm=(x.norm[0], x.norm[1] * size))
    else:
        found = Fact(call.shape, x.positions, x.largest + size)
        axis = len(call.shape) - 1
        whole = constant.ndim and constant.shape[-1] == x.shape[-1] == call.shape[-1]
        if whole and axis not in x.positions:
            rows = row_norms(constant.reshape(-1, constant.shape[-1]))
            found = replace(found, norm=(axis, x.norm_along(axis) + rows))
    if x.levels and constant.size == 1:
        value = np.full(2, constant.item(), np.float64)
        left, right = (x.levels, value) if name == "x" else (value, x.levels)
        at_text, at_padding = map(float, _FUNCTIONS[kind](left, right))
        largest = max(abs(at_text), abs(at_padding))
        found = replace(found, levels=(at_text, at_padding), largest=largest)
    return found


def _aligned(call: Call, x: Fact) -> Fact:
    """An operand's fact with as many axes as the result, as broadcasting sees it."""
    more = len(call.shape) - len(x.shape)
    return replace(
        x,
        shape=(1,) * more + x.shape,
        positions=frozenset(axis + more for axis in x.positions),
        norm=x.norm and (x.norm[0] + more, x.norm[1]),
        hidden=None,
        zero=None,
        silent=None,
    )


def _cut_constant(call: Call, x: Fact, name: str, constant: Array) -> None:
    """In a shorter run a constant loses its last positions."""
    more = len(call.shape) - constant.ndim
    if more < 0:
        raise Unproven("the constant has more axes than the result")
    for axis in x.positions:
        if axis >= more and constant.shape[axis - more] != 1:
            if name in call.edits:
                raise Unproven("the constant counts positions twice")
            call.edits[name] = _first_of_axis(axis - more)
    for axis, length in enumerate(constant.shape):
        if length != 1 and x.shape[axis + more] == 1 and length == call.length:
            raise Unproven("a constant may bring positions with it")


def _first_of_axis(axis: int) -> Edit:
    def first(values: Array, count: int) -> Array:
        return values[(slice(None),) * axis + (slice(0, count),)]

    return first


@rule("linear")
def linear(call: Call) -> Fact:
    """x·Wᵀ + b: ‖Wx‖ ≤ ‖W‖‖x‖, and an element is at most its row's length times x's."""
    call.only("x", "weight", "bias")
    x, weight = call.fact("x"), call.constant("weight")
    last = len(x.shape) - 1
    if last in x.positions:
        raise Unproven("it sums over positions")
    bias = call.constant("bias")
    bias = np.zeros(1) if bias is None else bias
    length = x.norm_along(last)
    if x.normalised:
        gamma, beta, length = x.normalised
        # Rounding moves β's part by at most this.
        moved = ROUNDING * (np.abs(weight) @ np.abs(beta))
        weight, bias = weight * gamma, np.abs(bias + weight @ beta) + moved
    return replace(
        call.like(x, largest=length * row_norms(weight) + largest_of(bias)),
        norm=(last, length * spectral_bound(weight) + float(np.linalg.norm(bias))),
    )


@rule("layer_norm")
def layer_norm(call: Call) -> Fact:
    """What is normalised is at most √n long, whatever it was."""
    call.only("x", "axes", "gamma", "beta", "epsilon")
    x = call.fact("x")
    last = len(x.shape) - 1
    axes = call.constant("axes")
    if axes is None or [axis % len(x.shape) for axis in axes] != [last] or last in x.positions:
        raise Unproven("only the last axis is normalised")
    if not call.constant("epsilon", 1e-5) > 0:
        raise Unproven("a row of equal numbers has no normal form")
    features = x.shape[last]
    gamma, beta = call.constant("gamma"), call.constant("beta")
    gamma = np.ones(features) if gamma is None else gamma
    beta = np.zeros(features) if beta is None else beta
    size, root = largest_of(gamma), math.sqrt(features)
    return replace(
        call.like(x, largest=root * size + largest_of(beta)),
        norm=(last, root * size + float(np.linalg.norm(beta))),
        normalised=(gamma, beta, root * (1 + ROUNDING)),
    )


@rule("gelu", "relu", "silu")
def smaller(call: Call) -> Fact:
    """|f(x)| ≤ |x|, element by element."""
    call.only("x", "mode")
    x = call.fact("x")
    return replace(call.like(x, largest=x.largest), norm=x.norm)


@rule("tanh")
def tanh(call: Call) -> Fact:
    """|tanh x| ≤ 1 and ≤ |x|."""
    call.only("x")
    x = call.fact("x")
    return replace(call.like(x, largest=min(1.0, x.largest)), norm=x.norm)


@rule("sigmoid")
def sigmoid(call: Call) -> Fact:
    """A share, as classifiers of several labels give it."""
    call.only("x")
    return call.like(call.fact("x"), largest=1.0)


@rule("softmax")
def softmax(call: Call) -> Fact:
    """Along positions: padding must get exactly nothing."""
    call.only("x", "axis")
    x = call.fact("x")
    axis = call.constant("axis", -1) % len(x.shape)
    found = call.like(x, largest=1.0)
    if axis not in x.positions:
        return found
    _shut_out(x.hidden[1] if x.hidden and x.hidden[0] == axis else 0.0)
    return replace(found, silent=axis)


def _shut_out(gap: float) -> None:
    if not gap > _NOTHING_LEFT:
        raise Unproven("the mask does not keep padding out whatever the scores are")


@rule("matmul")
def matmul(call: Call) -> Fact:
    """Over positions: one factor must be zero at padding; the other is finite, as all are."""
    call.only("x", "y", "transpose_x", "transpose_y")
    x, y = call.fact("x"), call.fact("y")
    rank = len(x.shape)
    if len(y.shape) != rank or len(call.shape) != rank:
        raise Unproven("the factors have unlike ranks")
    back, front = (rank - 2, rank - 1), (rank - 1, rank - 2)
    summed_x, row = back if call.constant("transpose_x", default=False) else front
    summed_y, column = front if call.constant("transpose_y", default=False) else back
    if (summed_x in x.positions) != (summed_y in y.positions):
        raise Unproven("positions meet an axis that counts something else")
    positions = {axis for axis in x.positions | y.positions if axis < rank - 2}
    if positions:
        raise Unproven("positions are a batch axis")
    if row in x.positions:
        positions.add(rank - 2)
    if column in y.positions:
        positions.add(rank - 1)
    where = frozenset(positions)
    if summed_x not in x.positions:
        return call.like(
            x, positions=where, largest=x.norm_along(summed_x) * y.norm_along(summed_y)
        )
    if x.silent != summed_x:
        raise Unproven("it sums over padding")
    # A mean of y's rows, weighted with shares that add up to 1.
    found = call.like(x, positions=where, largest=_SHARES * y.largest)
    return replace(found, norm=(rank - 1, _SHARES * y.norm_along(column)))


@rule("scaled_dot_product_attention")
def attention(call: Call) -> Fact:
    """Scores, mask, softmax and the mean of values in one; rounded once."""
    call.only("query", "key", "value", "attn_mask")
    query, key, value, mask = (call.fact(n) for n in ("query", "key", "value", "attn_mask"))
    rank = len(call.shape)
    counted = frozenset({rank - 2})
    if any(len(x.shape) != rank for x in (query, key, value, mask)):
        raise Unproven("its operands have unlike ranks")
    if key.positions != counted or value.positions != counted or not query.positions <= counted:
        raise Unproven("positions are not where attention has them")
    if mask.positions != {rank - 1} or mask.shape[:-1] != (1,) * (rank - 1) or not mask.levels:
        raise Unproven("its mask is not made of attention_mask alone")
    features = query.shape[-1]
    scores = query.norm_along(rank - 1) * key.norm_along(rank - 1) / math.sqrt(features)
    _shut_out((mask.levels[0] - mask.levels[1]) * _LEVELS - 2 * scores)
    found = call.like(query, largest=_SHARES * value.largest)
    return replace(found, norm=(rank - 1, _SHARES * value.norm_along(rank - 1)))
