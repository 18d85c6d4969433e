"""Blocks with the length as their first axis give transformers' own answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from coreml_support import family_classifier
from rewriting_support import SHORTENED, batch, double

from export.embedding_reference import reference_of_vectors
from export.families import families
from export.families.plain import plain_of, sequence_first
from export.pooling import EmbeddingSettings
from export.reference import reference_from_model

TURNED = [name for name in SHORTENED if name != "albert"]


def difference(module: Any, length: int, *, one_position: bool) -> float:
    """Largest difference in float64; the output must depend on the text."""
    exact = type("Exact", (), {"module": double(module), "family": module.family})()
    ids, mask = batch(length)
    plain = plain_of(exact, one_position=one_position, sequence_first=True)
    with torch.inference_mode():
        want, got = exact.module(ids, mask), plain.module(ids, mask)
    assert got.shape == want.shape
    assert float(want.std(dim=0).min()) > 1e-3
    return float((got - want).abs().max())


@pytest.mark.parametrize("one_position", [True, False])
@pytest.mark.parametrize("name", TURNED)
def test_it_gives_transformers_logits(name: str, one_position: bool) -> None:
    module = reference_from_model(family_classifier(name)).module
    for length in (1, 2, 9, 40):
        assert difference(module, length, one_position=one_position) < 1e-12


def test_it_gives_transformers_mean_vectors() -> None:
    settings = EmbeddingSettings(pooling="mean", normalize=True)
    module = reference_of_vectors(family_classifier("distilbert"), settings).module
    assert difference(module, 9, one_position=True) < 1e-12


def test_a_model_of_one_block_has_nothing_to_turn() -> None:
    module = reference_from_model(family_classifier("distilbert", n_layers=1)).module
    assert difference(module, 9, one_position=True) < 1e-12


@pytest.mark.parametrize("name", sorted({*families()} - {*TURNED}))
def test_other_families_stay_as_they_are(name: str) -> None:
    module = reference_from_model(family_classifier(name)).module
    assert sequence_first.sequence_first(module) is module


def test_tensors_are_the_models_own() -> None:
    reference = reference_from_model(family_classifier("bert"))
    before = dict(reference.module.named_modules())
    plain = plain_of(reference, sequence_first=True)
    own, new = (dict(m.named_parameters()) for m in (reference.module, plain.module))
    assert own.keys() == new.keys()
    assert all(new[n] is own[n] for n in own)
    assert dict(reference.module.named_modules()) == before


@pytest.mark.parametrize("fault", ["no mask", "another head", "not turned back"])
def test_a_fault_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sequence_first._SequenceFirst
    attend, begin = run._attend, run.__init__
    if fault == "no mask":
        monkeypatch.setattr(run, "_attend", lambda s, x, m: attend(s, x, torch.zeros_like(m)))
    elif fault == "another head":
        monkeypatch.setattr(run, "_attend", lambda s, x, m: attend(s, x, m).roll(8, dims=2))
    else:

        def wrong(self: Any, block: Any, heads: int, is_first: bool, is_last: bool) -> None:
            begin(self, block, heads, is_first, False)

        monkeypatch.setattr(run, "__init__", wrong)
    module = reference_from_model(family_classifier("distilbert")).module
    try:
        found = difference(module, 3, one_position=False)
    except (AssertionError, RuntimeError):
        return  # shapes that do not fit are seen, too
    assert found > 1e-6
