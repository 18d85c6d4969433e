from __future__ import annotations

import numpy as np
import pytest
import torch

from export.artifacts import effective_reference, split_rows
from export.reference import reference_from_model, reference_logits
from export.targets.base import Effective
from runtime.golden import AWKWARD, BOUNDARY, VALIDATION, Golden, GoldenCase

from support import seeded_classifier

IDS = [[2, 5, 7, 3], [2, 9, 3]]


def _golden(validation: int, awkward: int) -> Golden:
    cases = [GoldenCase(f"v{i}", VALIDATION, "", (2, 3), (1, 1), (0,)) for i in range(validation)]
    cases += [GoldenCase(f"a{i}", AWKWARD, "", (2, 3), (1, 1), None) for i in range(awkward)]
    return Golden(tuple(cases), np.zeros((len(cases), 3), dtype=np.float32))


def test_every_awkward_case_and_some_of_the_others_are_split() -> None:
    assert split_rows(_golden(3, 2)) == (0, 1, 2, 3, 4)
    many = split_rows(_golden(1000, 5))
    assert many[-5:] == (1000, 1001, 1002, 1003, 1004)
    assert 50 <= len(many) - 5 <= 64
    assert len(set(np.diff(many[:-5]))) == 1
    assert split_rows(_golden(0, 1)) == (0,)


@pytest.mark.parametrize(("cases", "some"), [(64, 32), (3, 3), (33, 17)])
def test_some_boundary_cases_are_split_too(cases: int, some: int) -> None:
    plain = _golden(1000, 5)
    boundary = [GoldenCase(f"b{i}", BOUNDARY, "", (2, 3), (1, 1), None) for i in range(cases)]
    golden = Golden((*boundary, *plain.cases), np.zeros((cases + 1005, 3), dtype=np.float32))
    rows = split_rows(golden)
    assert [row for row in rows if row < cases] == list(range(0, cases, 1 if cases < 32 else 2))
    assert len(rows) - some == len(split_rows(plain))


def test_the_effective_reference_is_another_model_with_those_weights() -> None:
    reference = reference_from_model(seeded_classifier(3))
    before = reference_logits(reference, IDS)
    state = reference.module.model.state_dict()
    tensors = {name: value.numpy().astype(np.float32) for name, value in state.items()}
    same = Effective(tensors, 1e-12)
    assert (reference_logits(effective_reference(reference, same), IDS) == before).all()

    bias = tensors["classifier.bias"] + np.float32(1.5)
    moved = Effective(tensors | {"classifier.bias": bias}, 1e-12)
    after = reference_logits(effective_reference(reference, moved), IDS)
    assert np.allclose(after, before + 1.5, atol=1e-6)

    coarse = effective_reference(reference, Effective(tensors, 0.5))
    assert np.abs(reference_logits(coarse, IDS) - before).max() > 1e-3
    norms = [m for m in coarse.module.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {0.5}

    assert (reference_logits(reference, IDS) == before).all(), "the original is left alone"
