from __future__ import annotations

import pytest

from export.awkward import AWKWARD_TEXTS
from runtime.bundle import Bundle
from runtime.classify import TextClassifier

PATHS = (
    "model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite", "model.mlpackage",
    "model_int8.mlpackage",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_artifact_gives_the_right_answers(bundle: Bundle, path: str) -> None:
    classifier = TextClassifier(bundle, bundle.artifact(path))
    texts = {
        "our street is soaked through today": "rainy",
        "the lake is frozen over again": "snowy",
        "My garden is cloudless since noon": "sunny",
    }
    for text, label in texts.items():
        answer = classifier.classify(text)
        assert answer.labels == (label,)
        assert next(iter(answer.probabilities)) == label
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
        assert not answer.truncated


@pytest.mark.parametrize("path", PATHS)
def test_awkward_texts_get_an_answer(bundle: Bundle, path: str) -> None:
    classifier = TextClassifier(bundle, bundle.artifact(path))
    answers = list(classifier.classify_all(AWKWARD_TEXTS.values()))
    assert all(len(answer.labels) == 1 for answer in answers)
    cut = {name for name, a in zip(AWKWARD_TEXTS, answers, strict=True) if a.truncated}
    assert "ten_thousand_characters" in cut
    assert "empty" not in cut
