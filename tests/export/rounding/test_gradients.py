"""Gradients of looked-up rows: those of finite differences, for every family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import family_classifier
from torch import nn

from export.embedding_reference import EmbeddingSettings, reference_of_vectors
from export.reference import Reference, reference_from_model
from export.rounding import gradients
from export.rounding.gradients import gradient_moments

RANDOM = np.random.default_rng(5)
TEXTS = [tuple(int(i) for i in RANDOM.integers(5, 190, n)) for n in (3, 9, 17)]
# Where float32 and the curvature disturb about equally little.
STEP = 2e-3
FAMILIES = ("albert", "bert", "distilbert", "electra", "mobilebert", "roberta", "xlnet")


def tables_of(reference: Reference) -> dict[str, nn.Embedding]:
    model: Any = reference.module.model
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Embedding)}


@pytest.mark.parametrize("name", FAMILIES)
def test_moments_are_those_of_finite_differences(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "_MOST_OUTPUTS", 8)
    reference, text = reference_from_model(family_classifier(name)), (7, 9, 31, 23)
    (word,) = [n for n in tables_of(reference) if "word_embedding" in n]
    table = tables_of(reference)[word].weight
    found = gradient_moments(reference, [text], [word])[word]
    direction = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(3))
    slopes = 0.0
    for word_id in text:  # each but once, so that a row of the table is one row looked up
        before, ends = table[word_id].clone(), []
        for sign in (1, -1):
            with torch.no_grad():
                table[word_id] = before + sign * STEP * direction
                row = torch.tensor([text], dtype=torch.int32)
                ends.append(reference.module(row, torch.ones_like(row))[0].double())
                table[word_id] = before
        slopes += float(((ends[0] - ends[1]) / (2 * STEP)).square().sum())
    assert float(direction @ found @ direction) == pytest.approx(slopes, rel=0.03)


def test_random_sums_are_outputs_on_average() -> None:
    outputs = torch.tensor([3.0, -1.0, 0.5, 2.0, 0.0])
    signs = torch.Generator().manual_seed(1)
    squares = [torch.stack(gradients._sums(outputs, signs)).square().mean() for _ in range(4_000)]
    assert float(torch.stack(squares).mean()) == pytest.approx(float(outputs @ outputs), rel=0.05)


def test_vectors_have_gradients_too() -> None:
    model: Any = family_classifier("bert").bert
    reference = reference_of_vectors(model, EmbeddingSettings(pooling="mean", normalize=True))
    tables = list(tables_of(reference))
    found = gradient_moments(reference, TEXTS, tables)
    assert all(m.isfinite().all() for m in found.values())
    assert any("word" in name for name in found)


def test_a_model_that_overflows_has_none_and_is_not_changed() -> None:
    reference = reference_from_model(family_classifier("distilbert"))
    model: Any = reference.module.model
    before = {n: v.clone() for n, v in model.state_dict().items()}
    assert gradient_moments(reference, TEXTS, list(tables_of(reference)))
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    with torch.no_grad():
        model.get_submodule("pre_classifier").weight[0, 0] = torch.nan
    assert gradient_moments(reference, TEXTS, list(tables_of(reference))) == {}
