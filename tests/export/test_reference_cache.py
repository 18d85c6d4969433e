"""PyTorch's answers of earlier runs are taken where the model, the texts and the machine agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import lively_classifier

from export import reference_cache
from export.content_cache import ContentCache
from export.reference import Reference, reference_from_model, reference_logits
from export.reference_cache import cached_logits

TEXTS = [(2, 5, 7, 3), (2, 9, 3), (2, 5, 7, 3)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences PyTorch was given, call by call."""
    calls: list[int] = []

    def logits(reference: Reference, sequences: Any, **settings: Any) -> Any:
        calls.append(len(sequences))
        return reference_logits(reference, sequences, **settings)

    monkeypatch.setattr(reference_cache, "reference_logits", logits)
    return calls


def test_the_same_question_is_asked_once(tmp_path: Path, counted: list[int]) -> None:
    cache = ContentCache(tmp_path)
    reference = reference_from_model(lively_classifier())
    first = cached_logits(reference, TEXTS, cache)
    # Another object with the same weights, as a later run has it.
    second = cached_logits(reference_from_model(lively_classifier()), TEXTS, cache)
    assert counted == [3]
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, reference_logits(reference, TEXTS))


def test_other_texts_weights_or_processors_are_other_questions(
    tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ContentCache(tmp_path)
    reference = reference_from_model(lively_classifier())
    cached_logits(reference, TEXTS, cache)
    cached_logits(reference, TEXTS[:2], cache)
    cached_logits(reference_from_model(lively_classifier(seed=4)), TEXTS, cache)
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    cached_logits(reference, TEXTS, cache)  # each text has one thread, whatever there are
    monkeypatch.setattr(reference_cache, "processor_name", lambda: "another processor")
    cached_logits(reference, TEXTS, cache)
    assert counted == [3, 2, 3, 3]


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, counted: list[int]) -> None:
    cache = ContentCache(tmp_path)
    reference = reference_from_model(lively_classifier())
    wanted = cached_logits(reference, TEXTS, cache)
    (stored,) = tmp_path.glob("*/content")
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.unlink()
    stored.write_bytes(data)
    np.testing.assert_array_equal(cached_logits(reference, TEXTS, cache), wanted)
    assert counted == [3, 3]


def test_without_a_cache_nothing_is_written(tmp_path: Path, counted: list[int]) -> None:
    reference = reference_from_model(lively_classifier())
    for _ in range(2):
        cached_logits(reference, TEXTS, ContentCache())
    assert counted == [3, 3]
    assert not list(tmp_path.iterdir())


def test_texts_run_together_are_another_question(tmp_path: Path, counted: list[int]) -> None:
    cache = ContentCache(tmp_path)
    reference = reference_from_model(lively_classifier())
    alone = cached_logits(reference, TEXTS, cache)
    for _ in range(2):
        together = cached_logits(reference, TEXTS, cache, together=True)
        np.testing.assert_array_equal(together, reference_logits(reference, TEXTS, together=True))
        np.testing.assert_allclose(together, alone, atol=2e-6)
    assert counted == [3, 3]
