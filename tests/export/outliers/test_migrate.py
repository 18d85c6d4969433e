"""Outliers move into weights: exact for every family, and nothing that is forgotten slips by."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from coreml_support import family_classifier
from outlier_support import plant_exact, plant_inner, plant_residual

from export.embedding_reference import reference_of_vectors
from export.families.base import ScalePair
from export.families.plain.one_position import query_and_key
from export.outliers.measure import LinearInput, linear_inputs
from export.outliers.migrate import check_same, difference, migrated, pairs_of
from export.pooling import EmbeddingSettings
from export.reference import Reference, reference_from_model
from runtime.errors import UserError

FAMILIES = ("bert", "distilbert", "electra", "roberta")
RANDOM = np.random.default_rng(5)
TEXTS = [tuple(int(i) for i in RANDOM.integers(5, 190, n)) for n in (3, 9, 17, 30, 8, 4, 21, 12)]


def reference_of(name: str) -> Reference:
    return reference_from_model(family_classifier(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_plant_is_exact_and_real(name: str) -> None:
    before = reference_of(name)
    after = plant_exact(before)
    assert difference(before, after, TEXTS) < 1e-12
    readers = {reader for pair in pairs_of(before.family, before) for reader in pair.readers}
    for plain, planted in zip(
        linear_inputs(before, TEXTS), linear_inputs(after, TEXTS), strict=True
    ):
        if set(planted.readers) <= readers:
            assert _spread(planted.texts) > 5 * _spread(plain.texts)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("divide", [False, True])
def test_the_migration_is_exact_and_evens_out(name: str, *, divide: bool) -> None:
    planted = plant_exact(reference_of(name))
    state = copy.deepcopy(planted.module.model.state_dict())
    found = migrated(planted, TEXTS, divide=divide)
    # One more in the last block: its queries, and the keys that they are multiplied with.
    assert len(found.folded) == len(pairs_of(planted.family, planted)) + 1
    assert difference(planted, found.reference, TEXTS) < 1e-12
    for plain, moved in zip(
        linear_inputs(planted, TEXTS), linear_inputs(found.reference, TEXTS), strict=True
    ):
        if set(plain.readers) <= found.folded.keys():
            assert moved.error() * 2 < plain.error()
    after = planted.module.model.state_dict()
    assert all(torch.equal(state[name], after[name]) for name in state)  # the original's own


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("divide", [False, True])
def test_the_last_blocks_queries_are_evened_out(name: str, *, divide: bool) -> None:
    """Targets multiply them with the transposed keys: with a scale for all of their channels."""
    planted = plant_exact(reference_of(name))
    moved = migrated(planted, TEXTS, divide=divide)
    before, after = (_read_by_last_keys(one) for one in (planted, moved.reference))
    assert before.readers == after.readers
    assert after.error() * 10 < before.error()
    assert _spread(after.texts) * 10 < _spread(before.texts)
    assert not {*moved.divisors} & {*before.readers}


def test_without_the_last_blocks_pair_its_scores_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.outliers.migrate.query_and_key", lambda _module: None)
    planted = plant_exact(reference_of("distilbert"))
    after = _read_by_last_keys(migrated(planted, TEXTS, divide=True).reference)
    assert after.error() * 2 > _read_by_last_keys(planted).error()


def test_vectors_of_all_positions_have_no_such_pair() -> None:
    model = family_classifier("bert")
    for pooling, is_pair in (("mean", False), ("cls", True)):
        vectors = reference_of_vectors(model, EmbeddingSettings(pooling=pooling))
        assert (query_and_key(vectors.module) is not None) == is_pair


@pytest.mark.parametrize("name", FAMILIES)
def test_names_and_shapes_stay(name: str) -> None:
    planted = plant_exact(reference_of(name))
    moved = migrated(planted, TEXTS, divide=True).reference.module.model.state_dict()
    original = planted.module.model.state_dict()
    assert {k: v.shape for k, v in moved.items()} == {k: v.shape for k, v in original.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_float32_logits_stay_to_the_last_bit(name: str) -> None:
    planted = plant_exact(reference_of(name))
    moved = migrated(planted, TEXTS, divide=False).reference
    for ids in TEXTS:
        row = torch.tensor([ids], dtype=torch.int32)
        mask = torch.ones_like(row)
        assert torch.equal(planted.module(row, mask), moved.module(row, mask))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_residuals_outliers_are_divided_not_folded(name: str) -> None:
    """What the residual reads too cannot move into the LayerNorm."""
    planted = plant_residual(reference_of(name))
    assert migrated(planted, TEXTS, divide=False).divisors == {}
    found = migrated(planted, TEXTS, divide=True)
    queries = [reader for reader in found.divisors if reader.endswith(("q_lin", "query"))]
    assert queries
    assert not {*found.divisors} & {*found.folded}
    for divisor in found.divisors.values():
        assert np.array_equal(np.log2(divisor), np.rint(np.log2(divisor)))


def test_a_forgotten_reader_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The residual reads this LayerNorm as well as lin1."""
    reference = plant_residual(reference_of("distilbert"))
    layer = "distilbert.transformer.layer.{layer}"
    wrong = ScalePair(f"{layer}.sa_layer_norm", (f"{layer}.ffn.lin1",))
    family = replace(reference.family, scale_pairs=(wrong,))
    monkeypatch.setattr(reference.module, "family", family)
    with pytest.raises(UserError, match="changed the model"):
        migrated(reference, TEXTS, divide=False)


def test_gelu_lets_no_factor_through(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = plant_inner(reference_of("bert"))
    layer = "bert.encoder.layer.{layer}"
    wrong = ScalePair(f"{layer}.intermediate.dense", (f"{layer}.output.dense",))
    monkeypatch.setattr(reference.module, "family", replace(reference.family, scale_pairs=(wrong,)))
    with pytest.raises(UserError, match="changed the model"):
        migrated(reference, TEXTS, divide=False)


def test_a_pair_that_lacks_a_reader_is_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values read one tensor: none of them alone may be rescaled."""
    reference = plant_residual(reference_of("distilbert"))
    wrong = ScalePair(
        "distilbert.embeddings.LayerNorm", ("distilbert.transformer.layer.0.attention.q_lin",)
    )
    monkeypatch.setattr(reference.module, "family", replace(reference.family, scale_pairs=(wrong,)))
    assert migrated(reference, TEXTS, divide=False).reference is reference


def test_nan_is_no_equality() -> None:
    reference = reference_of("distilbert")
    model = copy.deepcopy(reference.module.model)
    with torch.no_grad():
        model.classifier.bias[0] = torch.nan
    with pytest.raises(UserError, match="changed the model"):
        check_same(reference, reference.around(model), TEXTS)


def test_without_outliers_nothing_moves(checkpoint_reference: Reference) -> None:
    found = migrated(checkpoint_reference, TEXTS, divide=True)
    assert (found.reference, found.folded, found.divisors) == (checkpoint_reference, {}, {})


def test_without_texts_nothing_moves() -> None:
    reference = plant_exact(reference_of("bert"))
    assert migrated(reference, (), divide=True).reference is reference


@pytest.mark.parametrize("name", ["albert", "mobilebert", "xlnet"])
def test_families_without_pairs_are_left_alone(name: str) -> None:
    reference = reference_of(name)
    found = migrated(reference, TEXTS, divide=True)
    assert (found.reference, found.divisors) == (reference, {})


def _read_by_last_keys(reference: Reference) -> LinearInput:
    """What the last block's keys read in the model that targets convert."""
    last = query_and_key(reference.module)
    assert last is not None
    inputs = linear_inputs(replace(reference, module=last.module), TEXTS)
    return next(found for found in inputs if last.key in found.readers)


def _spread(texts: list[torch.Tensor]) -> float:
    """The largest channel over the median one."""
    peaks = torch.cat(texts).abs().amax(dim=0)
    return float(peaks.max() / peaks.median())


@pytest.fixture(scope="module")
def checkpoint_reference(checkpoint_folder: object) -> Reference:
    from pathlib import Path

    from export.checkpoint import load_classifier, read_checkpoint

    path = Path(str(checkpoint_folder))
    return reference_from_model(load_classifier(read_checkpoint(path, name="w", revision=None)))
