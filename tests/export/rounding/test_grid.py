"""The grid is what the formulas say, and what is on it stays there bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rule_support import for_every

from export.recipes import WeightsRule
from export.rounding.grid import Grid, grid_of
from export.targets.coreml._affine import quantize_affine
from runtime.errors import UserError

FLOAT = [
    WeightsRule("int8", "channel", "minmax"),
    WeightsRule("int8", "row", "minmax"),
    WeightsRule("int8", "tensor", "minmax"),
    WeightsRule("int8", "channel", "minmax", reduce_range=True),
    WeightsRule("int8", "block", "minmax", block=4),
    WeightsRule("int4", "channel", "minmax"),
    WeightsRule("int4", "row", "minmax"),
    WeightsRule("int4", "tensor", "minmax"),
    WeightsRule("int4", "block", "minmax", block=4),
]
HALF = [
    WeightsRule("int8", "block", "minmax", block=4, scale="float16"),
    WeightsRule("int4", "block", "minmax", block=4, scale="float16"),
    WeightsRule("int4", "block", "minmax", block=4, scale="bfloat16"),
    WeightsRule("int4", "row", "minmax", scale="bfloat16"),
]
MULTIPLE = WeightsRule("int4", "block", "minmax", block=4, scale="multiple")
RULES = [*FLOAT, *HALF, MULTIPLE]
# Denormals, the largest float32 and everything between; float16 scales have an end of their own.
EVERY = st.floats(width=32, allow_nan=False, allow_infinity=False)
USUAL = st.floats(-2.0, 2.0, width=32)
every_rule = for_every(RULES)


def same(one: Grid, other: Grid) -> bool:
    return np.array_equal(one.codes, other.codes) and np.array_equal(one.scales, other.scales)


@every_rule
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_on_the_grid_stays_bit_for_bit(rule: WeightsRule, data: Any) -> None:
    elements = USUAL if rule in HALF else EVERY | USUAL
    weight = data.draw(arrays(np.float32, (3, 8), elements=elements))
    try:
        found = grid_of(weight, rule)
    except UserError:  # the largest float32 numbers, rounded up, are none
        assert np.abs(weight).max() > 3e38  # or it hides a fault
        return
    assert same(grid_of(found.dense(), rule), found)


@every_rule
def test_many_random_weights_stay_too(rule: WeightsRule) -> None:
    """Enough of them that every multiple and every last bit of a scale occurs."""
    random = np.random.default_rng(7)
    spread = np.exp(random.normal(0, 1.5, (4000, 2, 1)))
    weight = (random.normal(0, 0.05, (4000, 2, 4)) * spread).astype(np.float32).reshape(4000, 8)
    found = grid_of(weight, rule)
    assert same(grid_of(found.dense(), rule), found)
    # What others compute, in float32 and in double precision, is the same scale.
    if rule.scale != "multiple":
        largest = np.abs(found.codes).max()
        peaks = np.abs(found.dense().reshape(4000, found.scales.shape[1], -1)).max(axis=2)
        if rule.granularity == "tensor":
            peaks[:] = peaks.max()
        alive = peaks > 0
        assert np.array_equal((peaks / np.float32(largest))[alive], found.scales[alive])
        exact = peaks.astype(np.float64) / float(largest)
        assert np.array_equal(exact[alive], found.scales[alive])


@every_rule
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nothing_is_further_than_half_a_step(rule: WeightsRule, data: Any) -> None:
    weight = data.draw(arrays(np.float32, (3, 8), elements=st.floats(-1, 1, width=32)))
    found = grid_of(weight, rule)
    blocks = found.scales.shape[1]
    steps = np.repeat(found.scales, 8 // blocks, axis=1).astype(np.float64)
    largest = 7 if rule.precision == "int4" else 64 if rule.reduce_range else 127
    assert np.abs(found.codes).max() <= largest
    # A multiple may cut the largest of a block by up to 0.9 steps.
    slack = 0.9 if rule.scale == "multiple" else 0.52
    smallest = 2.0**-16 * largest if rule.scale in ("float16", "bfloat16") else 1e-30
    dead = np.repeat(found.scales == 1, 8 // blocks, axis=1)
    wrong = np.abs(found.dense().astype(np.float64) - weight)
    assert (wrong <= np.where(dead, smallest, slack * steps)).all()


def test_scales_by_hand() -> None:
    weight = np.array([[1.27, -0.5, 0.004, 0], [0, 0, 0, 0]], np.float32)
    found = grid_of(weight, WeightsRule("int8", "channel", "minmax"))
    assert found.codes.tolist() == [[127, -50, 0, 0], [0] * 4]
    assert found.scales[:, 0].tolist() == [pytest.approx(0.01, rel=1e-5), 1.0]
    block = grid_of(
        np.array([[14, -3, 0.7, 0.29]], np.float32), WeightsRule("int4", "block", "x", block=2)
    )
    assert block.codes.tolist() == [[7, -2, 7, 3]]
    assert block.scales.tolist() == [[2.0, pytest.approx(0.1, rel=1e-6)]]


def test_one_scale_for_a_tensor() -> None:
    weight = np.array([[127, 1], [2, 3]], np.float32)
    found = grid_of(weight, WeightsRule("int8", "tensor", "minmax"))
    assert (found.codes.tolist(), found.scales.tolist()) == ([[127, 1], [2, 3]], [[1.0], [1.0]])


def test_multiples_are_whole_and_reach_the_end() -> None:
    random = np.random.default_rng(3)
    weight = (random.normal(size=(64, 96)) * random.uniform(0.05, 1, (64, 96))).astype(np.float32)
    rule = WeightsRule("int4", "block", "minmax", block=32, scale="multiple")
    found = grid_of(weight, rule)
    row = np.abs(found.dense()).max(axis=1, keepdims=True) / 126
    multiples = found.scales / row
    assert np.array_equal(multiples, np.rint(multiples))
    assert multiples.min() >= 1
    assert multiples.max() == 18
    # Hence a code times its multiple is an int8 of a scale per row.
    assert np.abs(found.codes * np.repeat(multiples, 32, axis=1)).max() == 126


def test_bfloat16_scales_are_as_litert_rounds_them() -> None:
    """ai-edge-quantizer: the quotient to bfloat16, kept in a float16 tensor."""
    import torch

    weight = np.random.default_rng(1).normal(0, 0.05, (200, 64)).astype(np.float32)
    found = grid_of(weight, WeightsRule("int4", "block", "x", block=32, scale="bfloat16"))
    quotients = torch.from_numpy(np.abs(weight.reshape(200, 2, 32)).max(axis=2) / np.float32(7))
    expected = quotients.to(torch.bfloat16).to(torch.float16).to(torch.float32)
    assert np.array_equal(found.scales, expected.numpy())


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_core_ml_finds_the_grid_again_in_weights_that_it_keeps_in_half(kind: Any) -> None:
    """It rounds the largest code's weight to float16 and divides it by 127 again."""
    weight = np.random.default_rng(1).normal(0, 0.05, (2000, 32)).astype(np.float32)
    found = grid_of(weight, WeightsRule("int8", "row", "minmax", scale="float16"))
    again = quantize_affine(found.dense().astype(kind), (2000, 1), "int8")
    assert np.array_equal(again.codes, found.codes)
    assert np.array_equal(again.scale.astype(np.float32), found.scales)


def test_too_small_for_a_scale_is_zero() -> None:
    tiny = np.full((2, 8), 1e-44, np.float32)
    tiny[1] = 1.0
    found = grid_of(tiny, WeightsRule("int8", "channel", "minmax"))
    assert found.codes.tolist() == [[0] * 8, [127] * 8]
    assert found.scales[0] == 1
    half = grid_of(
        np.full((1, 4), 1e-7, np.float32), WeightsRule("int4", "row", "x", scale="float16")
    )
    assert (half.codes == 0).all()
    assert half.scales.tolist() == [[1.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@every_rule
def test_what_is_not_finite_is_refused(rule: WeightsRule, value: float) -> None:
    weight = np.ones((3, 8), np.float32)
    weight[1, 2] = value
    with pytest.raises(UserError, match=r"layer\.weight holds numbers that are not finite"):
        grid_of(weight, rule, "layer.weight")


@pytest.mark.parametrize("scale", ["float16", "bfloat16"])
def test_a_scale_that_float16_cannot_hold_is_refused(scale: str) -> None:
    with pytest.raises(UserError, match=f"no finite {scale}"):
        grid_of(np.full((1, 4), 1e6, np.float32), WeightsRule("int4", "row", "x", scale=scale))


def test_columns_that_are_no_whole_number_of_blocks_are_refused() -> None:
    with pytest.raises(UserError, match=r"head\.weight \[3, 10\] has no whole number of blocks"):
        grid_of(np.ones((3, 10), np.float32), WeightsRule("int4", "block", "x", 4), "head.weight")


@pytest.mark.parametrize(
    "rule",
    [
        WeightsRule("float32", "none", "none"),
        WeightsRule("lut6", "group", "kmeans", 4),
        WeightsRule("int8", "channel", "minmax", sparsity=0.5),
        WeightsRule("int8", "channel", "minmax", scale="float8"),
        WeightsRule("int4", "group", "minmax", 4),
        WeightsRule("int4", "channel", "minmax", scale="multiple"),
        WeightsRule("int4", "block", "minmax", 0),
    ],
)
def test_rules_without_a_grid_are_refused(rule: WeightsRule) -> None:
    with pytest.raises(UserError):
        grid_of(np.ones((2, 4), np.float32), rule)


def test_nothing_is_not_an_error() -> None:
    found = grid_of(np.zeros((0, 4), np.float32), WeightsRule("int4", "block", "x", 4))
    assert found.dense().shape == (0, 4)
