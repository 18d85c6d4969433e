from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from runtime.decisions import probabilities
from runtime.manifest import TaskSpec
from runtime.parity.calibration import (
    claims,
    expected_calibration_error,
    js_divergence,
    kl_divergence,
    reliability,
)

ONE = TaskSpec("single_label", "softmax", ("a", "b", "c"))
MANY = TaskSpec("multi_label", "sigmoid", ("a", "b", "c"), (0.5, 0.4, 0.6))
TASKS = pytest.mark.parametrize("task", [ONE, MANY], ids=["softmax", "sigmoid"])
PAIRS = st.tuples(*[arrays(np.float64, (4, 3), elements=st.floats(-30, 30))] * 2)


# --- calibration error ---


def test_a_small_case_by_hand() -> None:
    confidence = [0.05, 0.1, 0.55, 0.6, 0.9, 1.0]
    correct = [False, False, True, False, True, False]
    # Halves: 0.05 and 0.1, none true; four of mean 0.7625, half of them true.
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(
        (2 * 0.075 + 4 * 0.2625) / 6
    )
    table = reliability(confidence, correct, bins=2)
    assert table.edges.tolist() == [0.0, 0.5, 1.0]
    assert table.counts.tolist() == [2, 4]
    assert table.confidence == pytest.approx([0.075, 0.7625])
    assert table.accuracy == pytest.approx([0.0, 0.5])


def test_a_bin_is_closed_on_its_right() -> None:
    assert reliability([0.0, 0.25, 0.250001, 1.0], [True] * 4, bins=4).counts.tolist() == [
        2, 1, 0, 1,
    ]  # fmt: skip


def test_an_empty_bin_is_no_error() -> None:
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0.0
    assert math.isnan(reliability([1.0], [True]).accuracy[0])


@given(arrays(np.float64, 40, elements=st.floats(0, 1)), arrays(np.bool_, 40), st.integers(1, 20))
def test_it_is_the_sum_over_bins(confidence: Any, correct: Any, bins: int) -> None:
    expected = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for k in range(bins):
        inside = (confidence <= edges[k + 1]) & ((confidence > edges[k]) | (k == 0))
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(expected)


def test_a_calibrated_model_has_little_and_an_overconfident_one_much() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(0.3, 1.0, 20_000)
    correct = rng.random(20_000) < p
    assert expected_calibration_error(p, correct) < 0.01
    assert expected_calibration_error(np.sqrt(p), correct) > 0.1


def test_what_is_not_a_number_stays_so() -> None:
    assert math.isnan(expected_calibration_error([0.5, math.nan], [True, False]))
    assert math.isnan(expected_calibration_error([], []))


def test_claims_of_one_label_a_text() -> None:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    targets = np.array([[True, False, False], [True, False, False]])
    confidence, correct = claims(logits, targets, ONE)
    assert confidence == pytest.approx([math.e**2 / (math.e**2 + 2), math.e / (math.e + 2)])
    assert correct.tolist() == [True, False]


def test_claims_of_several_labels_a_text() -> None:
    logits = np.array([[0.0, 30.0, -30.0]])
    targets = np.array([[True, True, False]])
    confidence, correct = claims(logits, targets, MANY)
    assert confidence == pytest.approx([0.5, 1.0, 0.0])
    assert correct.tolist() == [True, True, False]


@TASKS
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_broken_logits_make_no_claim(task: TaskSpec, broken: float) -> None:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, broken, 1.0]])
    confidence, correct = claims(logits, np.ones((2, 3), dtype=np.bool_), task)
    assert math.isnan(expected_calibration_error(confidence, correct))


# --- divergences ---


@given(PAIRS)
def test_softmax_divergences_are_scipys(pair: Any) -> None:
    p, q = (probabilities(z, ONE) for z in pair)
    assert kl_divergence(*pair, ONE) == pytest.approx(entropy(p, q, axis=1), abs=1e-9)
    expected = jensenshannon(p, q, axis=1) ** 2
    assert js_divergence(*pair, ONE) == pytest.approx(np.nan_to_num(expected), abs=1e-9)


@given(PAIRS)
def test_sigmoid_divergences_are_means_over_labels(pair: Any) -> None:
    p, q = (np.stack([probabilities(z, MANY), probabilities(-z, MANY)], axis=-1) for z in pair)
    expected = entropy(p, q, axis=-1).mean(axis=1)
    assert kl_divergence(*pair, MANY) == pytest.approx(expected, abs=1e-9)
    # scipy takes the root of what rounding made a little less than 0.
    js = np.nan_to_num(jensenshannon(p, q, axis=-1) ** 2).mean(axis=1)
    assert js_divergence(*pair, MANY) == pytest.approx(js, abs=1e-9)


@TASKS
def test_equal_logits_have_none(task: TaskSpec) -> None:
    logits = np.random.default_rng(0).normal(0, 50, (20, 3))
    assert (kl_divergence(logits, logits, task) == 0).all()
    assert np.abs(js_divergence(logits, logits, task)).max() < 1e-12


@TASKS
def test_extreme_logits_stay_finite(task: TaskSpec) -> None:
    reference = np.array([[900.0, -900.0, 0.0]])
    artifact = -reference
    (kl,) = kl_divergence(reference, artifact, task)
    # Softmax: the reference is sure of a label to which the artifact gives e^-1800.
    assert kl == pytest.approx(1800.0 if task is ONE else 2 * 900 / 3)
    (js,) = js_divergence(reference, artifact, task)
    assert js == pytest.approx(math.log(2) * (1.0 if task is ONE else 2 / 3))


@TASKS
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_broken_logits_have_no_divergence(task: TaskSpec, broken: float) -> None:
    reference = np.zeros((2, 3))
    artifact = reference.copy()
    artifact[1, 2] = broken
    for divergence in (kl_divergence, js_divergence):
        for pair in ((reference, artifact), (artifact, reference)):
            assert np.isnan(divergence(*pair, task)).tolist() == [False, True]


@TASKS
def test_small_changes_give_small_divergences_of_second_order(task: TaskSpec) -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(0, 2, (50, 3))
    step = rng.normal(0, 1, (50, 3))
    near = kl_divergence(reference, reference + 1e-3 * step, task).mean()
    nearer = kl_divergence(reference, reference + 5e-4 * step, task).mean()
    assert near / nearer == pytest.approx(4, rel=0.01)
