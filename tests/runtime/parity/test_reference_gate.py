from __future__ import annotations

import numpy as np
import pytest

from runtime.manifest import TaskSpec
from runtime.parity.metrics import one_hot, task_metric
from runtime.parity.reference_gate import constant_answer_metric, doubts_about_reference

SINGLE = TaskSpec("single_label", "softmax", ("a", "b"))
MULTI = TaskSpec("multi_label", "sigmoid", ("a", "b"), (0.5, 0.5))
TRUTH = one_hot([(i % 2,) for i in range(100)], 2)
MULTI_TRUTH = one_hot([((0,), (1,), (0, 1), ())[i % 4] for i in range(100)], 2)


def logits_of(truth: np.ndarray) -> np.ndarray:
    return np.where(truth, 3.0, -3.0).astype(np.float32)


@pytest.mark.parametrize(("task", "truth"), [(SINGLE, TRUTH), (MULTI, MULTI_TRUTH)])
def test_a_good_reference_raises_no_doubt(task: TaskSpec, truth: np.ndarray) -> None:
    assert doubts_about_reference(logits_of(truth), truth, task) == ()


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(("task", "truth"), [(SINGLE, TRUTH), (MULTI, MULTI_TRUTH)])
def test_a_constant_answer_is_doubted(task: TaskSpec, truth: np.ndarray, column: int) -> None:
    constant = np.full(truth.shape, -3.0, dtype=np.float32)
    constant[:, column] = 3.0
    doubts = doubts_about_reference(constant, truth, task)
    assert any("has not learned the task" in doubt for doubt in doubts)
    assert any("to every text" in doubt for doubt in doubts)
    assert any("never gives" in doubt for doubt in doubts)


def test_guessing_is_doubted() -> None:
    guesses = np.random.default_rng(3).normal(size=TRUTH.shape).astype(np.float32)
    assert doubts_about_reference(guesses, TRUTH, SINGLE)


def test_an_unused_common_label_is_doubted_and_a_rare_one_is_not() -> None:
    task = TaskSpec("single_label", "softmax", ("a", "b", "c"))
    for rare, doubted in ((20, True), (2, False)):
        truth = one_hot([(2,) if i < rare else (i % 2,) for i in range(100)], 3)
        logits = logits_of(truth)
        logits[:, 2] = -9.0
        assert bool(doubts_about_reference(logits, truth, task)) is doubted


def test_no_texts_and_no_numbers() -> None:
    empty = np.zeros((0, 2), dtype=np.float32)
    assert doubts_about_reference(empty, np.zeros((0, 2), dtype=bool), SINGLE)
    broken = logits_of(TRUTH)
    broken[5, 1] = np.nan
    assert "not finite" in doubts_about_reference(broken, TRUTH, SINGLE)[0]


def test_the_best_constant_answer_is_the_best() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((200, 4)) < np.array([0.6, 0.3, 0.1, 0.05])
    task = TaskSpec("multi_label", "sigmoid", tuple("abcd"), (0.5,) * 4)
    answers = [
        np.tile(np.array([bool(bits >> i & 1) for i in range(4)]), (200, 1))
        for bits in range(1, 16)
    ]
    best = max(task_metric(answer, truth, task) for answer in answers)
    assert constant_answer_metric(truth, task) == pytest.approx(best)
