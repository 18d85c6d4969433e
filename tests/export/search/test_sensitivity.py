"""The noise of single weights, measured in PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from export.outliers.migrate import Migrated
from export.recipes import WeightsRule
from export.reference import Reference, reference_from_model, reference_logits
from export.search.ladder import Weight, weights_of_model
from export.search.sensitivity import key_of, measure_noise, rounded

from support import seeded_classifier

FLOAT = WeightsRule("float32", "none", "none")
INT8 = WeightsRule("int8", "channel", "minmax")
ROW8 = WeightsRule("int8", "row", "minmax")
INT4 = WeightsRule("int4", "block", "minmax", block=32)
ODD = WeightsRule("int4", "block", "minmax", block=48)
RUNGS = {"linear": (FLOAT, INT8, INT4), "embedding": (FLOAT, ROW8)}
TEXTS = [[2, *range(5, 5 + length), 3] for length in range(1, 30)]
SPOILED = "distilbert.transformer.layer.1.ffn.lin2.weight"


def _measured(reference: Reference, rungs: dict, **known: float) -> dict[str, float]:  # type: ignore[type-arg]
    noise = dict(known)
    weights, _ = weights_of_model(reference.module.model)
    measure_noise(
        Migrated(reference), "keep", weights, rungs, TEXTS,
        known=known, found=noise.__setitem__, progress=lambda done, total: None,
    )  # fmt: skip
    return noise


def spoil(model: torch.nn.Module, hidden: int = 3, size: float = 50.0) -> None:
    """The same function, but one matrix has no good scale.

    A unit of the feed-forward layer is switched off (GELU of -100 is 0), so that what it is
    multiplied with changes nothing, except for the largest magnitude of every row.
    """
    layer = model.get_submodule("distilbert.transformer.layer.1.ffn")
    with torch.no_grad():
        layer.lin1.weight[hidden] = 0
        layer.lin1.bias[hidden] = -100
        layer.lin2.weight[:, hidden] = size


def test_one_weight_at_a_time_and_nothing_remains_changed() -> None:
    reference = reference_from_model(seeded_classifier(5))
    before = reference_logits(reference, TEXTS)
    noise = _measured(reference, RUNGS)
    weights, rest = weights_of_model(reference.module.model)
    assert {w.kind for w in weights} == {"linear", "embedding"}
    assert len(noise) == sum(len(RUNGS[w.kind]) for w in weights)
    parameters = dict(reference.module.model.named_parameters())
    assert rest == 4 * sum(
        p.numel() for n, p in parameters.items() if n not in {w.name for w in weights}
    )
    for weight in weights:
        rules = RUNGS[weight.kind]
        found = [noise[key_of(weight.name, rule, "keep")] for rule in rules]
        assert found[0] == 0.0
        assert found == sorted(found), "coarser is noisier"
        assert 0 < found[1] < 1e-2
    assert (reference_logits(reference, TEXTS) == before).all()


def test_the_noise_of_one_weight_is_that_of_the_model_with_it() -> None:
    reference = reference_from_model(seeded_classifier(5))
    name = "distilbert.transformer.layer.0.ffn.lin1.weight"
    noise = _measured(reference, RUNGS)[key_of(name, INT4, "keep")]
    chosen = sorted(TEXTS, key=len)[:32]
    exact = reference_logits(reference, chosen).astype(np.float64)
    other = seeded_classifier(5)
    weight = other.get_submodule(name.removesuffix(".weight")).weight
    with torch.no_grad():
        weight.copy_(torch.from_numpy(rounded(weight.numpy(), INT4, name)))
    coarse = reference_logits(reference_from_model(other), chosen)
    assert noise == pytest.approx(
        np.square(coarse - exact).sum() / np.square(exact).sum(), rel=1e-3
    )


def test_a_matrix_without_a_good_scale_is_found() -> None:
    model = seeded_classifier(5)
    plain = _measured(reference_from_model(seeded_classifier(5)), RUNGS)
    spoil(model)
    noise = _measured(reference_from_model(model), RUNGS)
    worst = max((k for k in noise if "int8" in k), key=noise.__getitem__)
    assert worst.startswith(SPOILED)
    assert noise[worst] > 20 * plain[key_of(SPOILED, INT8, "keep")]


def test_what_is_known_is_not_measured_again() -> None:
    reference = reference_from_model(seeded_classifier(5))
    weights, _ = weights_of_model(reference.module.model)
    known = {key_of(w.name, rule, "keep"): -1.0 for w in weights for rule in RUNGS[w.kind]}
    fresh = key_of(SPOILED, INT8, "keep")
    del known[fresh]
    found: list[str] = []
    measure_noise(
        Migrated(reference), "keep", weights, RUNGS, TEXTS,
        known=known, found=lambda key, noise: found.append(key), progress=lambda done, total: None,
    )  # fmt: skip
    assert found == [fresh]


def test_a_rule_that_a_weight_cannot_follow_has_no_noise() -> None:
    noise = _measured(
        reference_from_model(seeded_classifier(5)), {"linear": (ODD,), "embedding": ()}
    )
    assert noise
    assert all(math.isnan(value) for value in noise.values())


def test_rounding_behind_a_divisor() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(8, 64)).astype(np.float32)
    weight[:, 5] *= 64
    divisor = np.ones(64, np.float32)
    divisor[5] = 1 / 64
    plain, divided = (
        np.abs(np.delete(rounded(weight, INT8, "w", by) - weight, 5, axis=1)).max()
        for by in (None, divisor)
    )
    assert divided < plain / 20


def test_large_matrices_of_a_model() -> None:
    weights, _ = weights_of_model(seeded_classifier(1))
    table = next(w for w in weights if w.name.endswith("word_embeddings.weight"))
    assert table == Weight(table.name, "embedding", 200, 64)
    assert Weight("pre_classifier.weight", "linear", 64, 64) in weights
    assert not any("bias" in w.name or w.name == "classifier.weight" for w in weights)
