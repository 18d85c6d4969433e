"""Which recipe a choice of rules is, and whose limits it gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export.recipes import Recipe, WeightsRule, parse_recipe, recipes
from export.recipes.document import recipe_toml
from export.search.ladder import Weight, rungs_of, stored_bytes
from export.search.mixture import NAME, mixture, summary_of
from runtime.errors import UserError

FLOAT = WeightsRule("float32", "none", "none")
INT8 = WeightsRule("int8", "channel", "minmax")
ROW8 = WeightsRule("int8", "row", "minmax")
INT4 = WeightsRule("int4", "block", "minmax", block=32, scale="multiple")
ROW4 = WeightsRule("int4", "row", "minmax")

WEIGHTS = (
    Weight("table", "embedding", 1000, 64),
    Weight("a", "linear", 64, 64),
    Weight("b", "linear", 64, 64),
    Weight("c", "linear", 128, 64),
)


def _recipe(name: str, linear: WeightsRule, embedding: WeightsRule, outliers: str) -> Recipe:
    real = recipes("onnx")["int8"]
    # No two have the same limits.
    mark = float(sum(name.encode()))
    gate, observed = (
        {"x86_64": columns["x86_64"] | {"sqnr_db": mark}} for columns in (real.gate, real.observed)
    )
    return replace(
        real, name=name, file=f"{name}.onnx", linear=linear, embedding=embedding, gate=gate,
        observed=observed, outliers=outliers, families={}, vector_gate={}, vector_observed={},
    )  # fmt: skip


WHOLE = [
    _recipe("float32", FLOAT, FLOAT, "keep"),
    _recipe("int8", INT8, ROW8, "divide"),
    _recipe("int8_int4emb", INT8, ROW4, "divide"),
    _recipe("int4", INT4, ROW8, "fold"),
]


def _mixed(table: WeightsRule, a: WeightsRule, b: WeightsRule, c: WeightsRule) -> Recipe:
    return mixture({"table": table, "a": a, "b": b, "c": c}, WEIGHTS, WHOLE, ".onnx")


def _judged_like(recipe: Recipe) -> str:
    return next(whole.name for whole in WHOLE if whole.gate == recipe.gate)


def test_rungs_come_from_the_recipes_from_fine_to_coarse() -> None:
    rungs = rungs_of(WHOLE, WEIGHTS)
    assert rungs == {"linear": (FLOAT, INT8, INT4), "embedding": (FLOAT, ROW8, ROW4)}
    reduced = _recipe("avx2", replace(INT8, reduce_range=True), ROW8, "keep")
    octav = _recipe("octav", replace(INT8, algorithm="octav"), ROW8, "keep")
    assert rungs_of([*WHOLE, reduced, octav], WEIGHTS) == rungs


def test_bytes_count_the_scales() -> None:
    assert stored_bytes(FLOAT, 10, 64) == 2560
    assert stored_bytes(INT8, 10, 64) == 640 + 40
    assert stored_bytes(INT4, 10, 64) == 320 + 20 + 40
    assert stored_bytes(replace(INT4, scale="float16"), 10, 64) == 320 + 40
    assert stored_bytes(WeightsRule("lut6", "tensor", "kmeans"), 10, 64) == 480


def test_a_choice_that_is_a_whole_recipe_is_that_recipe() -> None:
    assert _mixed(ROW8, INT8, INT8, INT8) is WHOLE[1]
    assert _mixed(ROW4, INT8, INT8, INT8) is WHOLE[2]


def test_the_commonest_rule_is_the_base_and_the_others_are_named() -> None:
    recipe = _mixed(ROW8, INT8, FLOAT, INT4)
    assert (recipe.name, recipe.file, recipe.precision) == (NAME, "model_search.onnx", "mixed")
    assert recipe.linear == INT4, "it has the most elements"
    assert recipe.layers == {"a": INT8, "b": FLOAT}
    assert recipe.embedding == ROW8
    assert recipe.rule_for("c", "linear") == INT4
    assert recipe.outliers == "divide", "as much as any of its rules' recipes does"
    assert recipe.summary == "1 × float32, 1 × int4 per 32, 2 × int8"


@pytest.mark.parametrize(
    ("rules", "judged_by"),
    [
        ((FLOAT, INT8, FLOAT, FLOAT), "int8"),
        ((ROW8, INT8, FLOAT, INT8), "int8"),
        ((ROW4, INT8, FLOAT, INT8), "int8_int4emb"),
        ((ROW8, INT8, INT4, INT8), "int4"),
        # Nobody measured int4 everywhere; here most is saved on the table.
        ((ROW4, INT8, INT4, INT8), "int8_int4emb"),
        ((ROW4, INT4, INT4, FLOAT), "int8_int4emb"),
    ],
)
def test_whose_limits(rules: tuple[WeightsRule, ...], judged_by: str) -> None:
    """Of the finest recipe that stores nothing more finely, or else of the coarsest of them."""
    assert _judged_like(_mixed(*rules)) == judged_by


def test_a_mixture_is_never_judged_by_looser_limits_than_the_coarsest_of_its_recipes() -> None:
    everywhere = [*WHOLE, _recipe("int4_int4emb", INT4, ROW4, "fold")]
    rules = {"table": ROW4, "a": INT4, "b": INT4, "c": INT8}
    found = mixture(rules, WEIGHTS, everywhere, ".onnx")
    assert found.gate == everywhere[-1].gate


def test_a_rule_of_no_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="no recipe has linear weights as int8"):
        _mixed(ROW8, INT8, FLOAT, replace(INT8, algorithm="octav"))


def test_a_mixture_is_a_file_that_reads_back() -> None:
    recipe = _mixed(ROW8, INT8, FLOAT, INT4)
    text = recipe_toml(recipe, comment="Found by\n\na search.")
    assert text.isascii()
    assert text.startswith("# Found by\n#\n# a search.\n")
    assert parse_recipe(text, "x.toml") == recipe


def test_summary_counts_rules() -> None:
    assert summary_of({"a": INT8, "b": INT8, "c": INT4}) == "1 × int4 per 32, 2 × int8"
