"""A last block of one position gives transformers' own answer, and says less on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import family_classifier
from rewriting_support import SHORTENED, batch, double

from export.embedding_reference import reference_of_vectors
from export.families import families
from export.families.plain import one_position, plain_of
from export.families.plain.one_position import at_one_position
from export.pooling import EmbeddingSettings
from export.reference import reference_from_model

LONGEST = 40


def difference(module: Any, length: int) -> float:
    """Largest difference in float64; the output must depend on the text."""
    exact = double(module)
    ids, mask = batch(length)
    with torch.inference_mode():
        want, got = exact(ids, mask), at_one_position(exact).module(ids, mask)
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
        assert at_one_position(module).module is module
        return
    for length in range(1, LONGEST + 1):
        assert difference(module, length) < 1e-12


@pytest.mark.parametrize("name", SHORTENED)
def test_it_gives_transformers_vectors_of_one_position(name: str) -> None:
    settings = EmbeddingSettings(pooling="cls", normalize=True)
    module = reference_of_vectors(family_classifier(name), settings).module
    assert at_one_position(module).module is not module
    assert difference(module, 9) < 1e-12


@pytest.mark.parametrize("name", SHORTENED)
def test_a_mean_needs_every_position(name: str) -> None:
    settings = EmbeddingSettings(pooling="mean", normalize=True)
    module = reference_of_vectors(family_classifier(name), settings).module
    assert at_one_position(module).module is module


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
def test_the_last_block_computes_nothing_for_all_positions(name: str) -> None:
    if name == "albert":
        pytest.skip("its keys and values are those of the blocks before: see below")
    short = at_one_position(reference_from_model(family_classifier(name)).module).module
    heads = short.model.config.num_attention_heads
    found = {n: count for n, count in rows(short, 7).items() if "layer.1." in n}
    ends = ("k_lin", "v_lin", "key", "value")
    assert {n for n, count in found.items() if count == {heads}} == {
        n for n in found if n.endswith(ends)
    }
    assert sum(count == {1} for count in found.values()) == len(found) - 2 == 4


def test_alberts_last_run_needs_keys_and_values_of_all() -> None:
    short = at_one_position(reference_from_model(family_classifier("albert")).module).module
    found = {n: count for n, count in rows(short, 7).items() if "albert_layers" in n}
    # Its one block ran for all positions before.
    assert all(7 in count for count in found.values())
    assert {n.rpartition(".")[2] for n, count in found.items() if 1 not in count} == {
        "key",
        "value",
    }


@pytest.mark.parametrize("name", SHORTENED)
def test_tensors_and_names_are_the_models_own(name: str) -> None:
    reference = reference_from_model(family_classifier(name))
    before = dict(reference.module.named_modules())
    plain = plain_of(reference, one_position=True)
    own, new = (dict(m.named_parameters()) for m in (reference.module, plain.module))
    turned = at_one_position(reference.module).transposed
    assert own.keys() - new.keys() == {f"model.{n}" for n in plain.unused}
    assert new.keys() <= own.keys()
    for n in new:
        if n == f"model.{turned}":
            assert new[n].data_ptr() == own[n].data_ptr()
            assert torch.equal(new[n], own[n].T)
        else:
            assert new[n] is own[n]
    # What a file stores is given back as transformers has it.
    back = plain.restored(plain.parameters)
    assert all(np.array_equal(back[n], own[f"model.{n}"].detach().numpy()) for n in back)
    assert back.keys() | set(plain.unused) >= {n.removeprefix("model.") for n in own}
    # The reference is left as it was.
    assert dict(reference.module.named_modules()) == before
    assert plain.module is not reference.module
    assert plain_of(reference).module is reference.module


FAULTS = ("another position", "no mask", "another head's channels", "no scale")


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    base, rows_ = one_position._OnePosition, one_position._OneRowPerHead
    whole, begin = base._attend, rows_.__init__
    if request.param == "another position":
        monkeypatch.setattr(one_position, "_slice", lambda _: slice(1, 2))
    elif request.param == "no mask":
        for kind in (base, rows_):
            own = kind._attend
            monkeypatch.setattr(
                kind,
                "_attend",
                lambda self, one, x, m, own=own: own(self, one, x, torch.zeros_like(m)),
            )
    else:

        def wrong(self: Any, *arguments: Any) -> None:
            begin(self, *arguments)
            if request.param == "no scale":
                self.scale = self.own
            else:
                self.own = self.own.roll(1, dims=0)

        monkeypatch.setattr(rows_, "__init__", wrong)
        # ALBERT's has no such numbers: its query is spoilt instead.
        monkeypatch.setattr(base, "_attend", lambda self, one, x, m: -whole(self, one, x, m))
        monkeypatch.setattr(rows_, "_attend", rows_._attend)
    yield request.param


@pytest.mark.parametrize("name", SHORTENED)
def test_a_fault_is_seen(name: str, fault: str) -> None:
    assert difference(reference_from_model(family_classifier(name)).module, 9) > 1e-6
