"""Rounding with compensation: nearer to the layer's outputs, and still on the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rule_support import for_every

from export.recipes import WeightsRule
from export.rounding.clip import clipped
from export.rounding.gptq import compensated
from export.rounding.grid import grid_of

RULES = [
    WeightsRule("int8", "channel", "gptq"),
    WeightsRule("int8", "channel", "gptq", reduce_range=True),
    WeightsRule("int4", "channel", "gptq"),
    WeightsRule("int4", "tensor", "gptq"),
    WeightsRule("int4", "block", "gptq", block=16),
    WeightsRule("int4", "block", "gptq", block=16, scale="float16"),
    WeightsRule("int4", "block", "gptq", block=16, scale="bfloat16"),
    WeightsRule("int4", "block", "gptq", block=16, scale="multiple"),
]
every_rule = for_every(RULES)
# More columns than are worked on together, and no whole number of times as many.
ROWS, COLUMNS = 48, 160


def layer(texts: int = 600) -> tuple[Any, Any]:
    """A weight, [rows, columns], and inputs whose channels go together, [texts, columns]."""
    random = np.random.default_rng(8)
    weight = random.normal(0, 0.05, (ROWS, COLUMNS))
    weight[random.random(weight.shape) < 0.01] *= 6
    weight[5] = 0
    weight[7, :16] = 0
    mixed = random.normal(size=(texts, 24)) @ random.normal(size=(24, COLUMNS))
    inputs = mixed + random.normal(0, 0.5, (texts, COLUMNS)) + 0.3
    inputs[:, 3] *= 20
    inputs[:, 11] = 0
    return weight.astype(np.float32), inputs.astype(np.float32)


def output_error(weight: Any, dense: Any, inputs: Any) -> float:
    return float(np.square((dense - weight).astype(np.float64) @ inputs.T).sum())


@every_rule
def test_outputs_of_texts_that_it_has_not_seen_are_nearer(rule: WeightsRule) -> None:
    weight, inputs = layer(1200)
    seen, unseen = torch.from_numpy(inputs[:600]), inputs[600:]
    start = clipped(weight, rule)
    found = compensated(weight, start, seen.T @ seen)
    assert output_error(weight, found.dense(), unseen) < 0.5 * output_error(
        weight, start.dense(), unseen
    )


@every_rule
def test_the_result_is_on_its_own_grid(rule: WeightsRule) -> None:
    weight, inputs = layer()
    moments = torch.from_numpy(inputs.T @ inputs)
    found = compensated(weight, clipped(weight, rule), moments)
    again = grid_of(found.dense(), rule)
    assert np.array_equal(again.codes, found.codes)
    assert np.array_equal(again.scales, found.scales)


@pytest.mark.parametrize("texts", [0, 1, 3])
def test_too_few_texts_to_tell_directions_apart(texts: int) -> None:
    """As those of a head that only sees the first token."""
    weight, inputs = layer()
    rule = WeightsRule("int4", "block", "gptq", block=16)
    rows = torch.from_numpy(inputs[:texts])
    found = compensated(weight, clipped(weight, rule), rows.T @ rows)
    assert np.abs(found.dense() - weight).max() < 2 * found.scales.max()
    if not texts:
        assert np.array_equal(found.codes, clipped(weight, rule).codes)


def test_by_hand_the_second_column_makes_up_for_the_first() -> None:
    """Two inputs that are always equal: only the sum of the two weights matters."""
    weight = np.array([[7, 1.4, 1.4, 0]], np.float32)
    start = grid_of(weight, WeightsRule("int4", "row", "gptq"))
    assert start.codes.tolist() == [[7, 1, 1, 0]]
    inputs = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    found = compensated(weight, start, inputs.T @ inputs)
    assert found.codes.tolist() == [[7, 1, 2, 0]]


@every_rule
def test_rows_know_nothing_of_each_other(
    rule: WeightsRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, inputs = layer()
    start, moments = grid_of(weight, rule), torch.from_numpy(inputs.T @ inputs)
    whole = compensated(weight, start, moments)
    monkeypatch.setattr("export.rounding.gptq.ROWS", 20)
    parts = compensated(weight, start, moments)
    assert np.array_equal(parts.codes, whole.codes)
    assert np.array_equal(parts.scales, whole.scales)
