"""Clipping never makes the error larger, and what it gives is on its own grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rule_support import for_every

from export.recipes import WeightsRule
from export.rounding.clip import clipped, squared_error
from export.rounding.grid import grid_of

RULES = [
    WeightsRule("int8", "channel", "mse"),
    WeightsRule("int8", "channel", "mse", reduce_range=True),
    WeightsRule("int8", "tensor", "mse"),
    WeightsRule("int4", "tensor", "mse"),
    WeightsRule("int4", "row", "mse"),
    WeightsRule("int4", "block", "mse", block=16),
    WeightsRule("int4", "block", "mse", block=16, scale="float16"),
    WeightsRule("int4", "block", "mse", block=16, scale="bfloat16"),
    WeightsRule("int4", "block", "mse", block=16, scale="multiple"),
]
every_rule = for_every(RULES)


def heavy_tails(rows: int = 300, columns: int = 64) -> Any:
    """A normal distribution with a large weight here and there, zeros and tiny rows."""
    random = np.random.default_rng(2)
    weight = random.normal(0, 0.05, (rows, columns))
    weight[random.random(weight.shape) < 0.01] *= 6
    weight[3] = 0
    weight[4, :16] = 0
    weight[5] *= 1e-9
    weight[6] *= 1e-42
    return weight.astype(np.float32)


def error(weight: Any, dense: Any, importance: Any = 1.0) -> float:
    return float((np.square(weight.astype(np.float64) - dense) * importance).sum())


@every_rule
@pytest.mark.parametrize("weighted", [False, True])
def test_the_result_is_on_its_own_grid(rule: WeightsRule, *, weighted: bool) -> None:
    weight = heavy_tails()
    importance = np.random.default_rng(4).exponential(1, 64).astype(np.float32)
    found = clipped(weight, rule, importance if weighted else None)
    again = grid_of(found.dense(), rule)
    assert np.array_equal(again.codes, found.codes)
    assert np.array_equal(again.scales, found.scales)


@every_rule
def test_the_error_is_smaller(rule: WeightsRule) -> None:
    weight = heavy_tails()
    plain = error(weight, grid_of(weight, rule).dense())
    best = error(weight, clipped(weight, rule).dense())
    assert best <= plain
    if rule.precision == "int4":
        assert best < (0.97 if rule.granularity != "tensor" else 0.85) * plain


@every_rule
def test_important_columns_are_kept_better(rule: WeightsRule) -> None:
    weight = heavy_tails()
    importance = np.ones(64, np.float32)
    importance[::8] = 1000
    plain, best = (
        error(weight, clipped(weight, rule, i).dense(), importance) for i in (None, importance)
    )
    assert best <= plain
    if rule.precision == "int4" and rule.granularity != "tensor":
        assert best < 0.98 * plain


def test_the_share_is_the_best_of_all() -> None:
    """Against a plain search over one row."""
    weight = heavy_tails()[:1]
    rule = WeightsRule("int4", "row", "mse")
    found = clipped(weight, rule)
    peak = np.abs(weight).max()
    tried = [peak * share / 7 for share in np.linspace(0.34, 1, 400)]
    errors = [error(weight, np.clip(np.rint(weight / s), -7, 7) * s) for s in tried]
    assert error(weight, found.dense()) < 1.02 * min(errors)


def test_the_error_is_that_of_the_grid() -> None:
    weight = heavy_tails()
    rule = WeightsRule("int4", "block", "mse", block=16)
    grid = grid_of(weight, rule)
    expected = np.square(weight - grid.dense()).reshape(300, 4, 16).sum(axis=2)
    assert np.allclose(squared_error(weight, grid.scales, 7, None), expected, rtol=1e-5, atol=1e-12)


def test_no_importance_at_all_is_as_none() -> None:
    weight, rule = heavy_tails(), WeightsRule("int4", "row", "mse")
    assert np.array_equal(
        clipped(weight, rule, np.zeros(64, np.float32)).codes, clipped(weight, rule).codes
    )
