from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.manifest import TaskSpec
from runtime.parity.metrics import flips, one_hot, task_metric, tensor_figures

SINGLE = TaskSpec("single_label", "softmax", ("a", "b"))
MULTI = TaskSpec("multi_label", "sigmoid", ("a", "b"), (0.5, 0.5))


def f32(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_tensor_figures_by_hand() -> None:
    figures = tensor_figures(f32([[3, 4], [0, 0]]), f32([[3, 4], [0, 1]]))
    assert figures["max_abs"] == 1.0
    assert figures["mean_abs"] == 0.25
    assert figures["max_rel"] == pytest.approx(1 / math.sqrt(25 / 4))
    assert figures["cosine"] == pytest.approx(25 / (5 * math.sqrt(26)))
    assert figures["sqnr_db"] == pytest.approx(10 * math.log10(25 / 1))
    assert figures["p99_abs"] == pytest.approx(np.quantile([0, 0, 0, 1], 0.99))


def test_equal_logits() -> None:
    x = f32([[1, -2]])
    figures = tensor_figures(x, x)
    assert figures["max_abs"] == 0
    assert figures["sqnr_db"] == math.inf
    assert figures["cosine"] == pytest.approx(1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_poisons_every_figure(value: float) -> None:
    figures = tensor_figures(f32([[1, 2], [3, 4]]), f32([[1, 2], [value, 4]]))
    assert figures.pop("non_finite") == 1
    assert all(math.isnan(v) for v in figures.values())
    found = flips(f32([[1, 2], [3, 4]]), f32([[1, 2], [value, 4]]), SINGLE)
    assert found.large.tolist() == found.flipped.tolist() == [[False], [True]]


def test_a_zero_reference_matches_nothing() -> None:
    figures = tensor_figures(f32([[0, 0]]), f32([[0, 0]]))
    assert math.isnan(figures["cosine"])
    assert math.isnan(figures["max_rel"])


def test_flips_and_their_margins() -> None:
    reference = f32([[0, 9], [0, 8], [0, 0.1], [0, 0.2]])
    unsure = f32([[0, 9], [0, 8], [0.2, 0.1], [0, 0.2]])
    sure = f32([[9.5, 9], [0, 8], [0, 0.1], [0, 0.2]])
    found = flips(reference, unsure, SINGLE)
    assert found.flipped.ravel().tolist() == [False, False, True, False]
    assert not found.large.any()
    assert found.margin.ravel() == pytest.approx([9, 8, 0.1, 0.2])
    assert flips(reference, sure, SINGLE).large.ravel().tolist() == [True, False, False, False]


def test_multi_label_flips_count_label_by_label() -> None:
    found = flips(f32([[1, -1], [1, 1]]), f32([[1, 1], [1, 1]]), MULTI)
    assert found.flipped.tolist() == [[False, True], [False, False]]


def test_task_metrics() -> None:
    targets = one_hot([(0,), (1,), (1,), (0,)], 2)
    chosen = one_hot([(0,), (1,), (0,), (0,)], 2)
    assert task_metric(chosen, targets, SINGLE) == 0.75
    truth, given = one_hot([(0, 1), ()], 2), one_hot([(0,), (1,)], 2)
    assert task_metric(given, truth, MULTI) == pytest.approx(2 * 1 / (2 + 1 + 1))
    nothing = one_hot([(), ()], 2)
    assert task_metric(nothing, nothing, MULTI) == 0.0
