from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from export.training.evaluation import Evaluation, evaluate
from export.training.metrics import metrics_of_logits
from runtime.decisions import probabilities
from runtime.errors import UserError
from runtime.files import canonical_json
from runtime.manifest import TaskSpec

NAMES = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _silence_is_kept() -> None:
    """A warning on standard error is a failure."""
    warnings.simplefilter("error")


def _single(seed: int = 3, texts: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 4, texts)
    logits = random.normal(size=(texts, 4))
    logits[np.arange(texts), targets] += 1.0
    return logits, targets


def _multi(seed: int = 4, texts: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = random.random((texts, 4)) < (0.5, 0.2, 0.1, 0.05)
    return random.normal(size=(texts, 4)) + 2.0 * targets - 1.0, targets.astype(np.float32)


def test_single_label_figures_are_those_of_scikit_learn() -> None:
    logits, targets = _single()
    found = evaluate(logits, targets, NAMES, multi_label=False)
    chosen = logits.argmax(axis=1)
    p = probabilities(logits, TaskSpec("single_label", "softmax", NAMES))
    report = sk.classification_report(targets, chosen, output_dict=True, target_names=NAMES)
    assert found.figures["accuracy"] == report["accuracy"] == found.figures["micro_f1"]
    for average in ("macro", "weighted"):
        for ours, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            expected = report[f"{average} avg"][theirs]
            assert found.figures[f"{average}_{ours}"] == pytest.approx(expected)
    for row in found.per_label:
        assert row.precision == pytest.approx(report[row.label]["precision"])
        assert row.recall == pytest.approx(report[row.label]["recall"])
        assert row.f1 == pytest.approx(report[row.label]["f1-score"])
        assert row.support == report[row.label]["support"]
    assert found.figures["log_loss"] == pytest.approx(sk.log_loss(targets, p))
    ovr = sk.roc_auc_score(targets, p, multi_class="ovr", average="macro")
    assert found.figures["roc_auc"] == pytest.approx(ovr)
    assert found.confusion is not None
    assert np.array(found.confusion).tolist() == sk.confusion_matrix(targets, chosen).tolist()
    assert found.undefined == {}


def test_multi_label_figures_by_hand() -> None:
    targets = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]])
    given = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]])
    found = evaluate(np.where(given, 2.0, -2.0), targets, NAMES[:3], multi_label=True)
    figures = found.figures
    # 3 hits, 1 false alarm, 1 miss.
    assert figures["micro_precision"] == pytest.approx(3 / 4)
    assert figures["micro_recall"] == pytest.approx(3 / 4)
    assert figures["hamming_score"] == pytest.approx(10 / 12)
    assert figures["exact_match"] == pytest.approx(2 / 4)
    # 1/2, nothing of nothing, 1/2, 1/1.
    assert figures["jaccard_samples"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 1) / 4)
    assert figures["samples_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3 + 1) / 4)
    # The third label is never true but given: it counts, with 0.
    assert figures["macro_f1"] == pytest.approx((1.0 + 2 / 3 + 0.0) / 3)
    assert [row.f1 for row in found.per_label] == pytest.approx([1.0, 2 / 3, 0.0])
    # Two thirds of 12 claims are off by sigmoid(-2), the others by its complement.
    p = 1 / (1 + np.exp(-2.0))
    assert figures["log_loss"] == pytest.approx(-(10 * np.log(p) + 2 * np.log(1 - p)) / 12)
    # Claims of p(2) are right 3 times of 4, claims of p(-2) are true once in 8.
    assert figures["ece"] == pytest.approx((4 * abs(p - 3 / 4) + 8 * abs((1 - p) - 1 / 8)) / 12)


def test_multi_label_figures_are_those_of_scikit_learn() -> None:
    logits, targets = _multi()
    thresholds = (0.3, 0.6, 0.5, 0.2)
    found = evaluate(logits, targets, NAMES, multi_label=True, thresholds=thresholds)
    p = 1 / (1 + np.exp(-logits))
    given = p >= thresholds
    for average in ("micro", "macro", "weighted"):
        expected = sk.f1_score(targets, given, average=average)
        assert found.figures[f"{average}_f1"] == pytest.approx(expected)
    assert found.figures["hamming_score"] == pytest.approx(1 - sk.hamming_loss(targets, given))
    expected = sk.jaccard_score(targets, given, average="samples", zero_division=1.0)
    assert found.figures["jaccard_samples"] == pytest.approx(expected)
    assert found.figures["roc_auc"] == pytest.approx(sk.roc_auc_score(targets, p, average="macro"))
    expected = sk.average_precision_score(targets, p, average="macro")
    assert found.figures["average_precision"] == pytest.approx(expected)
    assert found.figures["log_loss"] == pytest.approx(
        np.mean([sk.log_loss(targets[:, i], p[:, i]) for i in range(4)])
    )
    assert tuple(row.threshold for row in found.per_label) == thresholds
    assert found.confusion is None


def test_thresholds_decide() -> None:
    logits, targets = np.array([[0.0, 0.0]]), np.array([[1, 0]])
    low = evaluate(logits, targets, NAMES[:2], multi_label=True, thresholds=(0.4, 0.6))
    high = evaluate(logits, targets, NAMES[:2], multi_label=True, thresholds=(0.6, 0.4))
    assert (low.figures["exact_match"], high.figures["exact_match"]) == (1.0, 0.0)


def test_a_label_of_its_own_is_no_task_of_two_classes() -> None:
    """scikit-learn takes a single column for a binary task and would average over 0 and 1."""
    targets = np.array([[1], [1], [0], [0], [0]])
    logits = np.array([[1.0], [-1.0], [1.0], [-1.0], [-1.0]])
    figures = evaluate(logits, targets, ("spam",), multi_label=True).figures
    assert figures["micro_f1"] == figures["macro_f1"] == pytest.approx(1 / 2)
    assert figures["samples_f1"] == pytest.approx(3 / 5)
    assert figures["exact_match"] == figures["hamming_score"] == pytest.approx(3 / 5)


def test_a_class_that_no_text_has_is_left_out_and_named() -> None:
    logits, targets = _single()
    kept = targets != 2
    logits[:, 2] = -9.0
    found = evaluate(logits[kept], targets[kept], NAMES, multi_label=False)
    row = found.per_label[2]
    assert (row.support, row.given, row.f1, row.roc_auc) == (0, 0, None, None)
    assert "'c'" in found.undefined["roc_auc"]
    assert "3 of 4" in found.undefined["roc_auc"]
    others = [r.roc_auc for i, r in enumerate(found.per_label) if i != 2]
    assert found.figures["roc_auc"] == pytest.approx(np.mean(others))  # type: ignore[arg-type]
    # The mean is over the classes that exist, as scikit-learn has it.
    expected = sk.f1_score(targets[kept], logits[kept].argmax(axis=1), average="macro")
    assert found.figures["macro_f1"] == pytest.approx(expected)


@pytest.mark.parametrize("labels", [1, 2, 4])
def test_no_label_anywhere_is_not_defined(labels: int) -> None:
    found = evaluate(
        np.full((6, labels), -3.0), np.zeros((6, labels)), NAMES[:labels], multi_label=True
    )
    assert found.figures["micro_f1"] is None
    assert found.figures["roc_auc"] is None
    assert found.figures["exact_match"] == found.figures["samples_f1"] == 1.0
    assert {"micro_f1", "roc_auc"} <= found.undefined.keys()
    assert "micro_f1" not in found.flat
    canonical_json(found.to_json())


def test_one_class_only() -> None:
    found = evaluate(np.zeros((5, 1)), np.zeros(5), ("all",), multi_label=False)
    assert found.figures["accuracy"] == 1.0
    assert found.figures["log_loss"] == 0.0
    assert found.figures["roc_auc"] is None
    assert found.confusion == ((5,),)


def test_logits_that_are_no_numbers_are_refused() -> None:
    logits, targets = _single()
    logits[7, 1], logits[9, 0] = np.nan, np.inf
    with pytest.raises(UserError, match="not finite for 2 of 200 texts"):
        evaluate(logits, targets, NAMES, multi_label=False)
    with pytest.raises(UserError, match="no text"):
        evaluate(np.zeros((0, 4)), np.zeros(0), NAMES, multi_label=False)


def test_calibrated_and_overconfident() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(scale=2.0, size=(20_000, 2))
    p = probabilities(logits, TaskSpec("single_label", "softmax", NAMES[:2]))
    targets = (random.random(20_000) < p[:, 1]).astype(int)
    honest = evaluate(logits, targets, NAMES[:2], multi_label=False)
    loud = evaluate(4 * logits, targets, NAMES[:2], multi_label=False)
    # 20 000 claims: a bin's share is off by 1 % at most.
    assert honest.figures["ece"] < 0.01  # type: ignore[operator]
    assert loud.figures["ece"] > 0.1  # type: ignore[operator]
    assert sum(part.count for part in honest.bins) == 20_000
    assert loud.figures["accuracy"] == honest.figures["accuracy"]


@pytest.mark.parametrize("multi_label", [False, True])
def test_json_and_back(multi_label: bool) -> None:
    logits, targets = _multi() if multi_label else _single()
    found = evaluate(logits, targets, NAMES, multi_label=multi_label)
    assert Evaluation.from_json(json.loads(canonical_json(found.to_json()))) == found


def test_the_order_of_labels_changes_nothing_but_the_order() -> None:
    logits, targets = _multi()
    order = [2, 0, 3, 1]
    there = evaluate(logits, targets, NAMES, multi_label=True)
    back = evaluate(
        logits[:, order], targets[:, order], [NAMES[i] for i in order], multi_label=True
    )
    assert back.figures == pytest.approx(there.figures)
    assert {row.label: row for row in back.per_label} == {r.label: r for r in there.per_label}


def test_a_huge_confusion_matrix_is_left_out() -> None:
    names = [str(i) for i in range(201)]
    found = evaluate(np.eye(201), np.arange(201), names, multi_label=False)
    assert found.confusion is None
    assert found.figures["accuracy"] == 1.0


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_epochs_figures_are_the_evaluations(multi_label: bool) -> None:
    logits, targets = _multi() if multi_label else _single()
    few = metrics_of_logits(
        logits.astype(np.float32), targets.astype(np.float32), multi_label=multi_label
    )
    all_of_them = evaluate(logits.astype(np.float32), targets, NAMES, multi_label=multi_label)
    wanted = {"micro_f1", "macro_f1", "exact_match"} if multi_label else {"accuracy", "macro_f1"}
    assert few == {name: all_of_them.figures[name] for name in wanted}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_epoch_of_broken_weights_has_figures(value: float) -> None:
    """The loss stops the run; its metrics must not crash before that."""
    logits = np.full((4, 2), value, dtype=np.float32)
    targets = np.array([[1, 0]] * 4, dtype=np.float32)
    assert 0.0 <= metrics_of_logits(logits, targets, multi_label=True)["micro_f1"] <= 1.0
    assert metrics_of_logits(logits, targets[:, 0], multi_label=False)["accuracy"] in (0.0, 1.0)
