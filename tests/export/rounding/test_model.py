"""A whole model is rounded in the order that it runs, and only where its recipe says."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import family_classifier
from outlier_support import plant_residual

from export.outliers.migrate import migrated
from export.recipes import Recipe, WeightsRule, recipes
from export.reference import Reference, reference_from_model, reference_logits
from export.rounding.gradients import gradient_moments
from export.rounding.grid import grid_of
from export.rounding.model import is_rounded, rounded
from export.rounding.moments import linear_layers, order_of_run, second_moments
from runtime.errors import UserError

RANDOM = np.random.default_rng(5)
TEXTS = [tuple(int(i) for i in RANDOM.integers(5, 190, n)) for n in (3, 9, 17, 30, 8, 4, 21, 12)]
FAMILIES = ("albert", "bert", "distilbert", "electra", "mobilebert", "roberta", "xlnet")
BLOCKS = WeightsRule("int4", "block", "gptq", block=16)
ROWS = WeightsRule("int4", "row", "mse")


def reference_of(name: str) -> Reference:
    return reference_from_model(family_classifier(name))


def recipe_of(linear: str = "gptq", embedding: str = "mse", **values: Any) -> Recipe:
    rules = {"linear": replace(BLOCKS, algorithm=linear)}
    rules["embedding"] = replace(ROWS, algorithm=embedding)
    return replace(recipes("onnx")["int8"], **(rules | values))


def distance(reference: Reference, other: Reference, texts: Any = TEXTS) -> float:
    before, after = (reference_logits(r, texts).astype(np.float64) for r in (reference, other))
    return float(np.square(after - before).sum() / np.square(before).sum())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("embedding", ["mse", "gptq"])
def test_every_weight_of_a_rule_ends_on_its_grid(name: str, embedding: str) -> None:
    reference, recipe = reference_of(name), recipe_of(embedding=embedding)
    before = copy.deepcopy(reference.module.model.state_dict())
    after = rounded(reference, recipe, TEXTS, {}, smallest=1000)
    assert all(torch.equal(before[n], v) for n, v in reference.module.model.state_dict().items())
    changed = 0
    for path, module in after.module.model.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            continue
        key, weight = f"{path}.weight", module.weight.numpy()
        if module.weight.numel() < 1000:
            assert torch.equal(module.weight, before[key])
            continue
        rule = recipe.linear if isinstance(module, torch.nn.Linear) else recipe.embedding
        assert np.array_equal(grid_of(weight, rule).dense(), weight), key
        changed += not torch.equal(module.weight, before[key])
    assert changed > 3
    for key, value in after.module.model.state_dict().items():
        if "norm" in key.lower() or key.endswith("bias"):
            assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta"])
def test_compensation_is_nearer_than_clipping(name: str) -> None:
    reference = reference_of(name)
    by = {
        algorithm: distance(
            reference,
            rounded(reference, recipe_of(algorithm, "none"), TEXTS, {}, smallest=1000),
        )
        for algorithm in ("mse", "gptq")
    }
    assert by["gptq"] < 0.8 * by["mse"]


def test_embeddings_rounded_by_what_outputs_make_of_them_are_nearer_on_other_texts() -> None:
    random = np.random.default_rng(6)
    seen, unseen = (
        [tuple(int(i) for i in random.integers(5, 190, n)) for n in random.integers(3, 30, 64)]
        for _ in range(2)
    )
    gains = {}
    for name in FAMILIES:
        reference, ways = reference_of(name), {}
        for algorithm in ("mse", "gptq"):
            rule = WeightsRule("int8", "row", algorithm)
            recipe = replace(recipe_of("none"), embedding=rule)
            after = rounded(reference, recipe, seen, {}, smallest=1000)
            ways[algorithm] = distance(reference, after, unseen)
        gains[name] = 10 * math.log10(ways["mse"] / ways["gptq"])
    # Decibels; with random weights outputs hang on every direction about alike.
    assert sum(gains.values()) / len(gains) > 3.0, gains
    assert min(gains.values()) > -1.5, gains


def test_embeddings_hang_on_no_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order of summing would make another file of the same checkpoint."""
    seen, before = [], torch.get_num_threads()

    def look(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return gradient_moments(*arguments)

    monkeypatch.setattr("export.rounding.model.gradient_moments", look)
    torch.set_num_threads(2)
    try:
        rounded(reference_of("bert"), recipe_of("none", "gptq"), TEXTS, {}, smallest=1000)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


def test_other_rules_leave_their_weights_alone() -> None:
    reference = reference_of("distilbert")
    name = "distilbert.transformer.layer.1.ffn.lin2.weight"
    recipe = recipe_of("minmax", "minmax", layers={name: BLOCKS})
    after = rounded(reference, recipe, TEXTS, {}, smallest=1000).module.model.state_dict()
    before = reference.module.model.state_dict()
    assert [key for key in before if not torch.equal(before[key], after[key])] == [name]
    assert is_rounded(recipe)
    assert not is_rounded(replace(recipe, layers={}))


def test_a_weight_times_its_divisor_is_on_the_grid() -> None:
    moved = migrated(plant_residual(reference_of("bert")), TEXTS, divide=True)
    assert moved.divisors
    after = rounded(moved.reference, recipe_of(), TEXTS, moved.divisors, smallest=1000)
    for name, layer in linear_layers(after).items():
        if name in moved.divisors:
            scaled = layer.weight.numpy() * moved.divisors[name]
            assert np.array_equal(grid_of(scaled, BLOCKS).dense(), scaled)
    assert distance(moved.reference, after) < 0.2


def test_a_weight_that_targets_store_transposed_is_rounded_along_its_other_axis() -> None:
    reference, name = reference_of("bert"), "bert.encoder.layer.1.attention.self.key.weight"
    after = rounded(reference, recipe_of(), TEXTS, {}, smallest=1000, transposed=name)
    weight = after.module.model.state_dict()[name].numpy()
    turned = np.ascontiguousarray(weight.T)
    assert np.array_equal(grid_of(turned, BLOCKS).dense(), turned)
    assert not np.array_equal(grid_of(weight, BLOCKS).dense(), weight)


def test_without_texts_it_says_so() -> None:
    with pytest.raises(UserError, match="has no texts to round weights with"):
        rounded(reference_of("distilbert"), recipe_of(), (), {}, smallest=1000)
    # Tables need none: only their own error is made small.
    after = [
        rounded(reference_of("distilbert"), recipe_of("none", way), (), {}, smallest=1000)
        for way in ("mse", "gptq")
    ]
    assert distance(*after) == 0.0


def test_a_weight_that_is_not_finite_is_named() -> None:
    reference = reference_of("distilbert")
    reference.module.model.get_submodule("pre_classifier").weight[0, 0] = torch.nan
    with pytest.raises(UserError, match=r"pre_classifier\.weight holds numbers that are not fin"):
        rounded(reference, recipe_of(), TEXTS, {}, smallest=1000)


def test_progress_reaches_the_end() -> None:
    told: list[tuple[int, int]] = []
    rounded(
        reference_of("distilbert"), recipe_of(), TEXTS, {}, smallest=1000,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(done, told[0][1]) for done in range(1, told[0][1] + 1)]


# --- second moments ---


@pytest.mark.parametrize("name", FAMILIES)
def test_moments_are_those_of_the_inputs(name: str) -> None:
    reference = reference_of(name)
    seen: dict[str, list[torch.Tensor]] = {}

    def look(layer: str) -> Any:
        return lambda _m, inputs: seen.setdefault(layer, []).append(inputs[0].detach().clone())

    layers = linear_layers(reference)
    handles = [module.register_forward_pre_hook(look(n)) for n, module in layers.items()]
    reference_logits(reference, TEXTS)
    for handle in handles:
        handle.remove()
    groups = order_of_run(reference, TEXTS[0])
    assert sorted(n for names in groups for n in names) == sorted(seen)
    for names in groups:
        found = second_moments(reference, TEXTS, [names])
        for layer in names:
            rows = torch.cat([x.reshape(-1, x.shape[-1]) for x in seen[layer]]).double()
            assert torch.allclose(found[layer].double(), rows.T @ rows, rtol=1e-4, atol=1e-4)


def test_queries_keys_and_values_share_their_moments() -> None:
    groups = order_of_run(reference_of("distilbert"), TEXTS[0])
    layer = "distilbert.transformer.layer.0"
    assert groups[0] == tuple(f"{layer}.attention.{part}_lin" for part in "qkv")
    assert groups[1:4] == [
        (f"{layer}.attention.out_lin",), (f"{layer}.ffn.lin1",), (f"{layer}.ffn.lin2",)
    ]  # fmt: skip


def test_a_text_is_run_no_further_than_needed() -> None:
    reference = reference_of("distilbert")
    runs: list[int] = []
    last = linear_layers(reference)["classifier"]
    handle = last.register_forward_pre_hook(lambda *_: runs.append(1))
    groups = order_of_run(reference, TEXTS[0])
    runs.clear()
    second_moments(reference, TEXTS, groups[:1])
    handle.remove()
    assert len(runs) == 1, "the first shows how often each layer runs"
