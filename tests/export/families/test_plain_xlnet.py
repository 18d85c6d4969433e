"""XLNet written out equals transformers' own forward, padding, batches and vectors included."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import family_classifier

from export.embedding_reference import reference_of_vectors
from export.families.plain import plain_of
from export.pooling import EmbeddingSettings
from export.reference import reference_from_model
from runtime.errors import UserError


def batch(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows, padded on the left by 0, a few and all but one id."""
    random = torch.Generator().manual_seed(length)
    ids = torch.randint(3, 200, (3, length), generator=random, dtype=torch.int32)
    mask = torch.ones_like(ids)
    mask[1, : length // 3] = 0
    mask[2, : length - 1] = 0
    return ids, mask


def difference(reference: Any, length: int) -> float:
    """Largest difference in float64, and the outputs must not all be alike."""
    double = copy.deepcopy(reference.module).double()
    ids, mask = batch(length)
    with torch.inference_mode():
        want = double(ids, mask)
        got = plain_of(type("R", (), {"module": double, "family": reference.family})()).module(
            ids, mask
        )
    assert float(want.std(dim=0).min()) > 1e-3
    return float((got - want).abs().max())


@pytest.mark.parametrize("changes", [{}, {"clamp_len": 4}, {"ff_activation": "relu"}])
@pytest.mark.parametrize("length", [2, 7, 40])
def test_it_gives_transformers_logits(length: int, changes: dict[str, Any]) -> None:
    model = family_classifier("xlnet", **changes)
    assert difference(reference_from_model(model), length) < 1e-12


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_it_gives_transformers_vectors(pooling: Any) -> None:
    settings = EmbeddingSettings(pooling=pooling, normalize=True)
    reference = reference_of_vectors(family_classifier("xlnet"), settings)
    assert difference(reference, 9) < 1e-12


def test_parameters_go_there_and_back() -> None:
    reference = reference_from_model(family_classifier("xlnet"))
    plain = plain_of(reference)
    state = reference.module.model.state_dict()
    restored = plain.restored(plain.parameters)
    assert {*restored, *plain.unused} == set(state)
    assert plain.unused == ("transformer.mask_emb",)
    for name, values in restored.items():
        np.testing.assert_array_equal(values, state[name].numpy())
    matrices = {n: v for n, v in plain.parameters.items() if ".rel_attn." in n and ".weight" in n}
    assert {v.ndim for n, v in matrices.items() if "norm" not in n} == {2}


def test_every_parameter_has_memory_of_its_own() -> None:
    """litert-torch tells parameters apart by their address, and copies what is not contiguous."""
    module = plain_of(reference_from_model(family_classifier("xlnet"))).module
    parameters = list(module.parameters())
    assert all(parameter.is_contiguous() for parameter in parameters)
    assert len({parameter.data_ptr() for parameter in parameters}) == len(parameters)


@pytest.mark.parametrize(
    "changes", [{"attn_type": "uni"}, {"bi_data": True}, {"summary_type": "mean"}]
)
def test_what_no_published_checkpoint_has_is_refused(changes: dict[str, Any]) -> None:
    reference = reference_from_model(family_classifier("xlnet", **changes))
    with pytest.raises(UserError, match=f"{next(iter(changes))}.*can be exported"):
        plain_of(reference)
