from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from export.families import families
from export.recipes import WeightsRule, parse_recipe, recipes
from export.targets import targets
from export.targets.base import Description, WeightInfo, resolve_options
from export.targets.precision import check_precision, summarise
from runtime.errors import UserError
from runtime.parity.gates import FIGURES, REQUIRED

ALL = [recipe for target in targets() for recipe in recipes(target).values()]


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: f"{r.target}-{r.name}")
def test_every_recipe_has_a_whole_gate_beside_what_was_observed(recipe: Any) -> None:
    for architecture, limits in recipe.gate.items():
        assert set(REQUIRED) <= set(limits) <= set(FIGURES)
        for name, limit in limits.items():
            seen = recipe.observed[architecture][name]
            good = seen <= limit if FIGURES[name].bound == "max" else seen >= limit
            assert good, f"{name}: observed {seen}, limit {limit}"


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: f"{r.target}-{r.name}")
def test_a_familys_limits_stand_in_for_general_ones(recipe: Any) -> None:
    assert recipe.for_family("distilbert") == recipe
    for name, own in recipe.families.items():
        assert name in families()
        found = recipe.for_family(name)
        for architecture, limits in own.gate.items():
            # A misspelt figure would change nothing.
            assert set(limits) <= set(recipe.gate[architecture])
            for figure, limit in limits.items():
                assert found.gate[architecture][figure] == limit
                assert found.gate[architecture][figure] != recipe.gate[architecture][figure]
                seen = found.observed[architecture][figure]
                assert seen == own.observed[architecture][figure]
                assert seen <= limit if FIGURES[figure].bound == "max" else seen >= limit
        assert {k: set(v) for k, v in found.gate.items()} == {
            k: set(v) for k, v in recipe.gate.items()
        }


def test_every_target_has_default_recipes_for_float_and_int8() -> None:
    for target, module in targets().items():
        found = recipes(target)
        usual = {name for name, recipe in found.items() if recipe.default}
        floats = {"coreml": "float16"}.get(target, "float32")
        assert usual == ({floats} if module.EXPERIMENTAL else {floats, "int8"})
        assert len({recipe.file for recipe in found.values()}) == len(found)
        assert all(recipe.file.endswith(module.SUFFIX) for recipe in found.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "int8"', "name =", "is not TOML"),
        ('name = "int8"', 'title = "int8"', "missing or unknown fields"),
        ("[weights.embedding]", "[weights.embeddings]", "is incomplete"),
        ("granularity =", "grain =", "is incomplete"),
        ("observed =", "seen =", "is incomplete"),
    ],
)
def test_broken_recipes_are_refused(old: str, new: str, message: str) -> None:
    text = (files("export.recipes") / "onnx_int8.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(UserError, match=message):
        parse_recipe(text.replace(old, new), "x.toml")


def _described(*weights: WeightInfo) -> Description:
    return Description((), (), None, {}, weights, {})


LINEAR = WeightInfo("w", (256, 128), "int8", "linear", 128)
TABLE = WeightInfo("t", (1000, 64), "int8", "embedding", 1000)


def test_a_silently_skipped_weight_is_found() -> None:
    recipe = recipes("onnx")["int8"]
    check_precision(_described(LINEAR, TABLE), recipe, "a")
    for bad in (
        WeightInfo("x", (256, 128), "float32", "linear", 0),
        WeightInfo("x", (1000, 64), "float32", "embedding", 0),
        WeightInfo("x", (1000, 64), "float32", "other", 0),
        WeightInfo("x", (256, 128), "int8", "linear", 1),
        WeightInfo("x", (1000, 64), "int8", "embedding", 1),
    ):
        with pytest.raises(UserError, match="the recipe int8 left x"):
            check_precision(_described(LINEAR, TABLE, bad), recipe, "a")
    with pytest.raises(UserError, match="no large weight"):
        check_precision(_described(WeightInfo("b", (8,), "float32", "other", 0)), recipe, "a")


BLOCKS = WeightsRule("uint4", "block", "minmax", block=32)
GROUPS = WeightsRule("lut4", "group", "kmeans", block=16)
SPARSE = WeightsRule("int8", "channel", "minmax", sparsity=0.5)


@pytest.mark.parametrize(
    ("rule", "weight", "good"),
    [
        (BLOCKS, WeightInfo("w", (64, 128), "uint4", "linear", 256), True),
        (BLOCKS, WeightInfo("w", (64, 128), "uint4", "linear", 64), False),
        (BLOCKS, WeightInfo("w", (64, 128), "int4", "linear", 256), False),
        (GROUPS, WeightInfo("w", (64, 128), "lut4", "linear", 4), True),
        (GROUPS, WeightInfo("w", (64, 128), "lut4", "linear", 1), False),
        (SPARSE, WeightInfo("w", (64, 128), "int8", "linear", 64, sparsity=0.5001), True),
        (SPARSE, WeightInfo("w", (64, 128), "int8", "linear", 64, sparsity=0.4), False),
        (SPARSE, WeightInfo("w", (64, 128), "int8", "linear", 64), False),
    ],
)
def test_blocks_groups_and_zeros_are_checked(
    rule: WeightsRule, weight: WeightInfo, good: bool
) -> None:
    recipe = replace(recipes("onnx")["int8"], linear=rule)
    if good:
        check_precision(_described(weight, TABLE), recipe, "a")
    else:
        with pytest.raises(UserError, match="the recipe int8 left w"):
            check_precision(_described(weight, TABLE), recipe, "a")


def test_options_are_the_targets_own() -> None:
    coreml = targets()["coreml"]
    recipe = recipes("coreml")["float32"]
    assert resolve_options(coreml, recipe, {})["compute_precision"] == "float32"
    chosen = resolve_options(coreml, recipe, {"layout": "ane", "strange": "x"})
    assert chosen["layout"] == "ane"
    assert set(chosen) == set(coreml.OPTIONS)
    with pytest.raises(UserError, match="unknown layout 'x' for the target coreml"):
        resolve_options(coreml, recipe, {"layout": "x"})
    with pytest.raises(UserError, match="has the option 'layot'"):
        resolve_options(coreml, replace(recipe, options={"layot": "ane"}), {})


def test_a_float_recipe_refuses_integers() -> None:
    with pytest.raises(UserError, match="the recipe float32 left w"):
        check_precision(_described(LINEAR), recipes("onnx")["float32"], "a")


def test_summary_counts_elements() -> None:
    small = WeightInfo("b", (300,), "float32", "other", 0)
    big = WeightInfo("f", (300, 300), "float32", "linear", 0)
    summary = summarise(_described(LINEAR, TABLE, small, big))
    assert summary.elements == {"float32": 90_300, "int8": 256 * 128 + 64_000}
    assert summary.float_weights == ("f",)
