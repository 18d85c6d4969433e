from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from export.data.task import Example, TextDataset
from export.training.baselines import run_baselines
from export.training.baselines.bag_of_words import BagOfWords
from export.training.baselines.targets import label_matrix
from runtime.errors import UserError
from runtime.files import canonical_json


def _noisy(labels: int, kind: str, seed: int = 0) -> TextDataset:
    """Texts of random words; each label prefers some of them."""
    random = np.random.default_rng(seed)
    words = np.array([f"w{i}" for i in range(30)])
    rows = []
    for _ in range(240):
        if kind == "multi_label":
            chosen = tuple(np.flatnonzero(random.random(labels) < 0.4).tolist())
        else:
            chosen = (int(random.integers(labels)),)
        weight = np.ones(30)
        for label in chosen:
            weight[label * 5 : label * 5 + 5] += 2.0
        text = " ".join(random.choice(words, size=8, p=weight / weight.sum()))
        rows.append(Example(text, chosen))
    splits = {"train": rows[:120], "validation": rows[120:180], "test": rows[180:]}
    return TextDataset(
        "noisy", kind, tuple("abcdef"[:labels]), {k: tuple(v) for k, v in splits.items()}, (), ()
    )  # type: ignore[arg-type]


def _texts(dataset: TextDataset, split: str) -> list[str]:
    return [row.text for row in dataset.splits[split]]


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
@pytest.mark.parametrize("labels", [2, 4])
def test_it_answers_as_scikit_learns_own_pipeline(labels: int, kind: str) -> None:
    dataset = _noisy(labels, kind)
    truth = label_matrix(dataset.splits["train"], labels)
    classifier = LogisticRegression(C=10.0, max_iter=1000)
    many = kind == "multi_label"
    theirs = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        OneVsRestClassifier(classifier) if many else classifier,
    )
    theirs.fit(_texts(dataset, "train"), truth if many else truth.argmax(axis=1))
    ours = BagOfWords(dataset, class_weights=None)
    ours.fit(dataset)
    texts = [*_texts(dataset, "test"), "nothing known", ""]
    logits = ours.logits(texts)
    expected = theirs.predict(texts)
    assert logits.shape == (62, labels)
    if many:
        assert ((logits >= 0) == expected).all()
    else:
        assert (logits.argmax(axis=1) == expected).all()
        # And with the same confidence: two classes share one row of weights.
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = powers / powers.sum(axis=1, keepdims=True)
        assert np.allclose(p, theirs.predict_proba(texts), atol=1e-9)


def test_class_weights_find_more_of_a_rare_label() -> None:
    random = np.random.default_rng(5)

    def row(rare: bool) -> Example:
        words = random.choice(["x", "y", "z", "u"], size=6, p=[0.4 if rare else 0.2] + [0.2] * 2 + [
            0.2 if rare else 0.4])  # fmt: skip
        return Example(" ".join(words), (1 if rare else 0,))

    rows = tuple(row(i % 12 == 0) for i in range(1200))
    dataset = TextDataset(
        "rare", "single_label", ("no", "yes"),
        {"train": rows[:600], "validation": rows[600:900], "test": rows[900:]}, (), (),
    )  # fmt: skip
    multi = replace(
        dataset,
        kind="multi_label",
        labels=("yes",),
        splits={
            name: tuple(Example(e.text, (0,) if e.labels == (1,) else ()) for e in part)
            for name, part in dataset.splits.items()
        },
    )
    for data, weights in ((dataset, (1.0, 11.0)), (multi, (11.0,))):
        found = []
        for chosen in (None, weights):
            model = BagOfWords(data, class_weights=chosen)
            model.fit(data)
            logits = model.logits([e.text for e in data.splits["test"]])
            yes = logits.argmax(axis=1) == 1 if data is dataset else logits[:, 0] >= 0
            truth = np.array([e.labels == (1,) for e in dataset.splits["test"]])
            found.append((yes & truth).sum() / truth.sum())
        plain, weighted = found
        assert weighted > plain + 0.3


def test_labels_that_training_never_or_always_has() -> None:
    rows = tuple(Example(f"word{i % 3}", (0, 1) if i % 2 else (0,)) for i in range(20))
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    dataset = TextDataset("d", "multi_label", ("always", "half", "never"), splits, (), ())
    model = BagOfWords(dataset, class_weights=None)
    model.fit(dataset)
    logits = model.logits(["word1", "else"])
    assert (logits[:, 0] > 20).all()
    assert (logits[:, 2] < -20).all()

    single = tuple(Example(f"word{i % 3}", (1,)) for i in range(9))
    splits = dict.fromkeys(("train", "validation", "test"), single)
    dataset = TextDataset("d", "single_label", ("a", "b", "c"), splits, (), ())
    model = BagOfWords(dataset, class_weights=(1.0, 1.0, 1.0))
    model.fit(dataset)
    assert model.logits(["word1", "else"]).argmax(axis=1).tolist() == [1, 1]


def test_texts_without_a_word() -> None:
    rows = (Example("!!!", (0,)), Example("???", (1,)))
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    dataset = TextDataset("d", "single_label", ("a", "b"), splits, (), ())
    with pytest.raises(UserError, match="hold no word"):
        BagOfWords(dataset, class_weights=None).fit(dataset)


@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
def test_the_result_is_complete(kind: str) -> None:
    dataset = _noisy(3, kind)
    (found,) = run_baselines(dataset, seed=1, which=("bag_of_words",))
    assert json.loads(canonical_json(found.to_json()))["name"] == "bag_of_words"
    assert set(found.metrics) == {"validation", "test"}
    name = "micro_f1" if kind == "multi_label" else "accuracy"
    assert 0.5 < found.metrics["test"][name] <= 1.0
    words = found.settings["words"]
    assert found.parameters == 3 * (words + 1)
    # Float32 weights and idf, and the words with their line ends: w0 … w29.
    assert found.bytes == 4 * (found.parameters + words) + 10 * 3 + 20 * 4
    assert found.training_seconds > 0
    assert 0 < found.prediction_ms_per_text < 1000


def test_thresholds_are_tuned_for_the_baseline_as_well() -> None:
    dataset = _noisy(3, "multi_label")
    (tuned,) = run_baselines(dataset, seed=1, which=("bag_of_words",))
    (half,) = run_baselines(dataset, seed=1, which=("bag_of_words",), thresholds="half")
    assert tuned.settings["thresholds"] == "tuned"
    assert half.settings["thresholds"] == "half"
    better = tuned.metrics["validation"]["micro_f1"] - half.metrics["validation"]["micro_f1"]
    assert better > 0.0
    # What does not hang on thresholds is the same.
    assert tuned.metrics["test"]["roc_auc"] == half.metrics["test"]["roc_auc"]


def test_none_is_run_where_none_is_wanted() -> None:
    assert run_baselines(_noisy(2, "single_label"), seed=1, which=()) == ()
