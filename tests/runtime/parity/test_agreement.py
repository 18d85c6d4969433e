from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.golden import AWKWARD, BOUNDARY, UNLABELLED, VALIDATION
from runtime.manifest import TaskSpec
from runtime.parity.agreement import agreement, texts_note
from runtime.parity.metrics import one_hot

SINGLE = TaskSpec("single_label", "softmax", ("a", "b"))
MULTI = TaskSpec("multi_label", "sigmoid", ("a", "b"), (0.5, 0.5))


def _two(texts: int, flipped: int, *, size: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Reference logits, and the same with the first `flipped` decisions turned round."""
    reference = np.tile(np.array([[size, -size]], dtype=np.float32), (texts, 1))
    artifact = reference.copy()
    artifact[:flipped] *= -1
    return reference, artifact


def test_bounds_of_flips_are_those_of_clopper_and_pearson() -> None:
    reference, artifact = _two(872, 3)
    targets = one_hot([(0,)] * 872, 2)
    found = agreement(reference, artifact, (VALIDATION,) * 872, targets, SINGLE)
    assert found.figures["flips"] == 3
    assert found.figures["flip_rate_bound"] == pytest.approx(0.0089, abs=5e-5)
    assert found.figures["flip_rate_bound_floor"] == pytest.approx(0.0034, abs=5e-5)
    assert 0 < found.figures["flip_rate_bound_lower"] < 3 / 872
    assert found.figures["metric_drop"] == pytest.approx(3 / 872)
    assert found.figures["metric_drop_p"] == pytest.approx(0.125)  # 3 losses, no gain: 1/8
    assert found.figures["metric_drop_bound"] > 3 / 872


def test_each_set_counts_where_it_belongs() -> None:
    sets = (VALIDATION, UNLABELLED, BOUNDARY, BOUNDARY, AWKWARD)
    for place, name in enumerate(sets):
        reference, artifact = _two(5, 0)
        artifact[place] *= -1
        figures = agreement(reference, artifact, sets, one_hot([(0,)] * 5, 2), SINGLE).figures
        natural = name in (VALIDATION, UNLABELLED)
        assert figures["decisions"] == 2
        assert figures["flips"] == natural
        assert figures["other_flips"] == (not natural)
        assert figures["boundary_flip_rate"] == (0.5 if name == BOUNDARY else 0)
        assert figures["metric_drop"] == (name == VALIDATION)


def test_a_label_that_flips_is_not_hidden_among_the_others() -> None:
    """5 of 100 on one label of two: 2.5% of all decisions, and 5% of that label's."""
    reference, artifact = _two(100, 0)
    artifact[:5, 1] *= -1
    found = agreement(reference, artifact, (VALIDATION,) * 100, one_hot([(0,)] * 100, 2), MULTI)
    assert [(entry.label, entry.flips) for entry in found.per_label] == [("a", 0), ("b", 5)]
    assert found.figures["flip_rate"] == 0.05
    assert found.figures["flip_rate_bound"] == found.per_label[1].bound > 0.05
    assert "the label 'b'" in texts_note(found, 0.06)


def test_the_note_says_how_many_texts_are_needed() -> None:
    reference, artifact = _two(50, 0)
    found = agreement(reference, artifact, (UNLABELLED,) * 50, one_hot([()] * 50, 2), SINGLE)
    assert texts_note(found, 0.01).startswith("0 of 50 texts flip; 299 texts")
    reference, artifact = _two(50, 25)
    found = agreement(reference, artifact, (UNLABELLED,) * 50, one_hot([()] * 50, 2), SINGLE)
    assert "no number of texts" in texts_note(found, 0.01)


def test_confidence_without_a_flip_moves_divergence_and_calibration() -> None:
    """A wrong temperature flips nothing and is not the same model."""
    reference, _ = _two(100, 0, size=0.5)
    targets = one_hot([(0,)] * 70 + [(1,)] * 30, 2)
    found = agreement(reference, reference * 4, (VALIDATION,) * 100, targets, SINGLE)
    assert found.figures["flips"] == 0
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-4))
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert found.figures["kl_mean"] == pytest.approx(kl)
    assert found.figures["ece_change"] == pytest.approx(abs(q - 0.7) - abs(p - 0.7))


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_broken_logits_and_no_texts_meet_no_limit(task: TaskSpec) -> None:
    reference, artifact = _two(4, 0)
    artifact[1, 0] = math.nan
    found = agreement(reference, artifact, (VALIDATION,) * 4, one_hot([(0,)] * 4, 2), task)
    assert found.figures["flips"] == found.figures["large_margin_flips"] == 1
    assert math.isnan(found.figures["kl_mean"])
    assert math.isnan(found.figures["ece_change"])
    empty = np.zeros((0, 2), dtype=np.float32)
    nothing = agreement(empty, empty, (), one_hot([], 2), task).figures
    assert nothing["flip_rate_bound"] == 1.0
    assert math.isnan(nothing["metric_drop_bound"])
    assert math.isnan(nothing["kl_mean"])
