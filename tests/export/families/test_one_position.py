"""A last block of one position gives transformers' own answer, and says less on the way."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from coreml_support import family_classifier

from export.embedding_reference import reference_of_vectors
from export.families import families
from export.families.plain import one_position, plain_of
from export.families.plain.one_position import at_one_position
from export.pooling import EmbeddingSettings
from export.reference import reference_from_model

SHORTENED = ("albert", "bert", "distilbert", "electra", "roberta")
LONGEST = 40


def batch(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows, padded on the right by 0, a few and all but one id."""
    random = torch.Generator().manual_seed(length)
    ids = torch.randint(3, 200, (3, length), generator=random, dtype=torch.int32)
    mask = torch.ones_like(ids)
    mask[1, length - length // 3 :] = 0
    mask[2, 1:] = 0
    return ids, mask


def double(module: Any) -> Any:
    """A copy in float64; its own attention adds a float32 mask, which SDPA would refuse."""
    out = copy.deepcopy(module).double()
    out.model.set_attn_implementation("eager")
    return out


def difference(module: Any, length: int) -> float:
    """Largest difference in float64; the output must depend on the text."""
    exact = double(module)
    ids, mask = batch(length)
    with torch.inference_mode():
        want, got = exact(ids, mask), at_one_position(exact)(ids, mask)
    assert got.shape == want.shape
    assert float(want.std(dim=0).min()) > 1e-3
    return float((got - want).abs().max())


def rows(module: Any, length: int) -> dict[str, set[int]]:
    """Linear layer → for how many positions it is computed."""
    seen: dict[str, set[int]] = {}

    def note(name: str) -> Any:
        return lambda _m, inputs, _o: seen.setdefault(name, set()).add(inputs[0].shape[1])

    handles = [
        m.register_forward_hook(note(n))
        for n, m in module.model.base_model.named_modules()
        if isinstance(m, torch.nn.Linear) and "pooler" not in n
    ]
    ids, mask = batch(length)
    with torch.inference_mode():
        module(ids, mask)
    for handle in handles:
        handle.remove()
    return seen


@pytest.fixture(params=sorted(families()))
def module(request: pytest.FixtureRequest) -> Any:
    return reference_from_model(family_classifier(request.param)).module


def test_it_gives_transformers_logits_at_every_length(module: Any) -> None:
    if module.family.pad_side == "left":
        assert at_one_position(module) is module
        return
    for length in range(1, LONGEST + 1):
        assert difference(module, length) < 1e-12


@pytest.mark.parametrize("name", SHORTENED)
def test_it_gives_transformers_vectors_of_one_position(name: str) -> None:
    settings = EmbeddingSettings(pooling="cls", normalize=True)
    module = reference_of_vectors(family_classifier(name), settings).module
    assert at_one_position(module) is not module
    assert difference(module, 9) < 1e-12


@pytest.mark.parametrize("name", SHORTENED)
def test_a_mean_needs_every_position(name: str) -> None:
    settings = EmbeddingSettings(pooling="mean", normalize=True)
    module = reference_of_vectors(family_classifier(name), settings).module
    assert at_one_position(module) is module


@pytest.mark.parametrize("changes", [{"layers": 1}, {"layers": 4, "groups": 2, "inner": 2}])
def test_shared_blocks_run_as_often_as_before(changes: dict[str, int]) -> None:
    model = family_classifier(
        "albert",
        num_hidden_layers=changes["layers"],
        num_hidden_groups=changes.get("groups", 1),
        inner_group_num=changes.get("inner", 1),
    )
    assert difference(reference_from_model(model).module, 11) < 1e-12


@pytest.mark.parametrize("name", SHORTENED)
def test_only_keys_and_values_are_computed_for_all(name: str) -> None:
    short = at_one_position(reference_from_model(family_classifier(name)).module)
    found = rows(short, 7)
    blocks = {n: count for n, count in found.items() if "layer.1." in n or "albert_layers" in n}
    whole = {n for n, count in blocks.items() if 7 in count}
    once = {n for n, count in blocks.items() if 1 in count}
    ends = ("k_lin", "v_lin", "key", "value")
    assert {n for n in blocks if n.endswith(ends)} == blocks.keys() - once
    # ALBERT's one block ran for all positions before.
    assert whole == (set(blocks) if name == "albert" else blocks.keys() - once)
    assert len(once) == 4


@pytest.mark.parametrize("name", SHORTENED)
def test_tensors_and_names_are_the_models_own(name: str) -> None:
    reference = reference_from_model(family_classifier(name))
    before = dict(reference.module.named_modules())
    plain = plain_of(reference, one_position=True)
    own, new = (dict(m.named_parameters()) for m in (reference.module, plain.module))
    assert own.keys() == new.keys()
    assert all(new[n] is own[n] for n in own)
    assert reference.module.state_dict().keys() == plain.module.state_dict().keys()
    # The reference is left as it was.
    assert dict(reference.module.named_modules()) == before
    assert plain.module is not reference.module
    assert plain_of(reference).module is reference.module


@pytest.fixture(params=["another position", "no mask", "a block less"])
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "another position":
        monkeypatch.setattr(one_position, "_slice", lambda _: slice(1, 2))
    elif request.param == "no mask":
        whole = one_position._attend
        monkeypatch.setattr(
            one_position, "_attend", lambda q, k, v, m, d: whole(q, k, v, torch.zeros_like(m), d)
        )
    else:
        monkeypatch.setattr(one_position, "_attend", lambda q, k, v, m, d: q)
    yield request.param


@pytest.mark.parametrize("name", SHORTENED)
def test_a_fault_is_seen(name: str, fault: str) -> None:
    assert difference(reference_from_model(family_classifier(name)).module, 9) > 1e-6
