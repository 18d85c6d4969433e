from __future__ import annotations

import numpy as np
import pytest

from runtime.decisions import decisions, margins, probabilities
from runtime.manifest import TaskSpec

SINGLE = TaskSpec("single_label", "softmax", ("a", "b", "c"))
MULTI = TaskSpec("multi_label", "sigmoid", ("a", "b"), (0.5, 0.9))


def test_softmax_and_sigmoid_in_extremes() -> None:
    p = probabilities([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]], SINGLE)
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    q = probabilities([[1000.0, -1000.0], [0.0, np.log(3.0)]], MULTI)
    np.testing.assert_allclose(q, [[1, 0], [0.5, 0.75]])


def test_decisions_follow_ties_and_thresholds() -> None:
    assert decisions([[2.0, 2.0, 1.0]], SINGLE).tolist() == [[True, False, False]]
    logit = float(np.log(9.0))
    rows = [[0.0, logit + 1e-9], [-1e-9, logit - 1e-6]]
    assert decisions(rows, MULTI).tolist() == [[True, True], [False, False]]


def test_margins_are_distances_in_logits() -> None:
    np.testing.assert_allclose(margins([[3.0, 1.0, 2.5]], SINGLE), [[0.5]])
    np.testing.assert_allclose(margins([[1.0, np.log(9.0) - 2]], MULTI), [[1.0, 2.0]])
    one = TaskSpec("single_label", "softmax", ("a",))
    assert margins([[3.0]], one)[0, 0] == np.inf


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_nan_stays_nan(task: TaskSpec) -> None:
    assert np.isnan(probabilities([[np.nan] * len(task.labels)], task)).all()
