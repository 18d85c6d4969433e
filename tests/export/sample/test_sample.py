"""The embedded sample: reproducible, balanced, without leaks, two tasks beyond a bag of words."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from export import sample
from export.sample import sentiment, support, topic
from export.sample.grammar import frames
from export.sample.splits import distribute, is_held_out, wording

SPLITS = {"train": 4000, "validation": 600, "test": 600}
PHENOMENA = {
    "plain",
    "negation",
    "double_negation",
    "contrast",
    "concession",
    "comparison",
    "hedged",
    "irrelevant_mention",
    "question",
}
SHA256 = {
    "sentiment": "7bfde0bad474c1501e1c84295823d55721c137a7255678b5e3e8b7cf10068522",
    "support": "8328b57bc919b8b0b3090ee1aab8ffdc105a1833c908dfac97c195abb4f96b64",
    "topic": "b7f737506f04adea630b1579e57c17d57ec86d22fed98ae339eff98cf5311638",
}
# Main metric of tf-idf unigrams and a logistic regression on the validation split.
CEILING = {"sentiment": 0.83, "support": 0.83, "topic": 1.0}
CHANCE = {"sentiment": 0.34, "support": 0.37, "topic": 0.7}


def _split(task: str, split: str) -> list[sample.SampleText]:
    return [text for text in sample.texts(task) if text.split == split]


@pytest.mark.parametrize("task", sample.TASKS)
def test_the_texts_are_the_same_everywhere(task: str) -> None:
    lines = (f"{t.split}\t{t.phenomenon}\t{t.labels}\t{t.text}\n" for t in sample.texts(task))
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == SHA256[task]


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    for ask in (sample.texts, sample.labels, sample.is_multi_label):
        with pytest.raises(ValueError, match=r"'weather'.*sentiment, support, topic"):
            ask("weather")


@pytest.mark.parametrize("task", sample.TASKS)
def test_sizes_and_labels(task: str) -> None:
    assert Counter(text.split for text in sample.texts(task)) == pytest.approx(SPLITS, abs=2)
    order = sample.labels(task)
    assert len(set(order)) == len(order)
    for text in sample.texts(task):
        assert list(text.labels) == [label for label in order if label in text.labels]
        assert len(text.labels) <= 3 if sample.is_multi_label(task) else len(text.labels) == 1


@pytest.mark.parametrize("task", ["sentiment", "topic"])
@pytest.mark.parametrize("split", SPLITS)
def test_single_labels_are_equally_frequent(task: str, split: str) -> None:
    counts = Counter(text.labels[0] for text in _split(task, split))
    assert set(counts) == set(sample.labels(task))
    assert max(counts.values()) - min(counts.values()) <= 0.02 * SPLITS[split]


@pytest.mark.parametrize("split", SPLITS)
def test_multi_labels_are_balanced_and_some_texts_have_none(split: str) -> None:
    rows = _split("support", split)
    counts = Counter(label for text in rows for label in text.labels)
    for label in sample.labels("support"):
        assert 0.15 <= counts[label] / len(rows) <= 0.35, label
    by_size = Counter(len(text.labels) for text in rows)
    assert by_size[0] >= 0.1 * len(rows)
    assert by_size[2] + by_size[3] >= 0.3 * len(rows)


@pytest.mark.parametrize("task", ["sentiment", "support"])
@pytest.mark.parametrize("split", SPLITS)
def test_every_phenomenon_is_there(task: str, split: str) -> None:
    rows = _split(task, split)
    counts = Counter(text.phenomenon for text in rows)
    assert set(counts) == (PHENOMENA | {"context"} if task == "sentiment" else PHENOMENA)
    assert min(counts.values()) >= 0.02 * len(rows)
    assert max(counts.values()) <= 0.25 * len(rows)


def test_every_polar_phenomenon_comes_with_both_verdicts() -> None:
    counts = Counter((text.phenomenon, text.labels[0]) for text in _split("sentiment", "train"))
    for phenomenon in PHENOMENA | {"context"}:
        pair = counts[phenomenon, "negative"], counts[phenomenon, "positive"]
        assert min(pair) >= 0.7 * max(pair), phenomenon


@pytest.mark.parametrize("task", sample.TASKS)
def test_no_text_is_there_twice(task: str) -> None:
    counts = Counter(wording(text.text) for text in sample.texts(task))
    assert max(counts.values()) == 1


def test_validation_and_test_hold_combinations_that_training_lacks() -> None:
    sizes = {split: {"negative": 60, "neutral": 60} for split in SPLITS}
    trained: set[tuple[str, str]] = set()
    for split, made in distribute("a test", sizes, sentiment.draft):
        pairs = {(made.frame.text, phrase) for phrase in made.phrases}
        if split == "train":
            trained |= pairs
        else:
            assert any(is_held_out(*pair) for pair in pairs)
            assert not pairs <= trained


@pytest.mark.parametrize("task", sample.TASKS)
def test_every_word_of_validation_and_test_is_in_training(task: str) -> None:
    known = {word for text in _split(task, "train") for word in wording(text.text).split()}
    for split in ("validation", "test"):
        words = Counter(word for text in _split(task, split) for word in wording(text.text).split())
        unknown = {word for word in words if word not in known}
        # One fact about apps is kept out of every sentence that facts stand in.
        share = 0.003 if task == "topic" else 0.002
        assert sum(words[word] for word in unknown) <= share * words.total(), unknown


@pytest.mark.parametrize("task", sample.TASKS)
def test_texts_read_like_typed_ones(task: str) -> None:
    for text in sample.texts(task):
        assert text.text == text.text.strip()
        assert not re.search(r"[{}_]|  |\s[.,;?!]|\ba [aeio]|\ban [^aeiouAEIOU]", text.text), text
        assert 2 <= len(text.text.split()) <= 45, text


def test_topics_are_told_by_words_and_say_nothing_of_verdicts() -> None:
    sizes = {split: dict.fromkeys(topic.topics(), 20) for split in SPLITS}
    made = [draft for _, draft in distribute("a test", sizes, topic.draft)]
    assert Counter(draft.labels[0] for draft in made) == dict.fromkeys(topic.topics(), 60)
    assert {frame.label for frame in frames("sentiment")} == {draft.frame.label for draft in made}


def test_frames_name_known_slots() -> None:
    assert all(sentiment.fits(frame) for frame in frames("sentiment"))
    assert {support.label_count(frame) for frame in frames("support")} == {0, 1, 2, 3}


@pytest.mark.parametrize("task", sample.TASKS)
def test_a_bag_of_words_falls_short_and_is_no_chance(task: str) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.multiclass import OneVsRestClassifier

    names = sample.labels(task)
    train, rows = _split(task, "train"), _split(task, "validation")
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    x_train = vectorizer.fit_transform([text.text for text in train])
    x_rows = vectorizer.transform([text.text for text in rows])
    scores = []
    for c in (1.0, 10.0):
        classifier = LogisticRegression(C=c, max_iter=1000)
        if sample.is_multi_label(task):
            targets = [
                np.array([[label in text.labels for label in names] for text in part], dtype=int)
                for part in (train, rows)
            ]
            model = OneVsRestClassifier(classifier).fit(x_train, targets[0])
            scores.append(f1_score(targets[1], model.predict(x_rows), average="micro"))
        else:
            model = classifier.fit(x_train, [text.labels[0] for text in train])
            scores.append(model.score(x_rows, [text.labels[0] for text in rows]))
    assert CHANCE[task] + 0.2 < max(scores) <= CEILING[task]
