"""Recipes as files of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export.recipes import Recipe, WeightsRule, parse_recipe, recipes
from export.recipes.choice import chosen_recipes
from export.recipes.document import read_recipe, recipe_toml
from export.targets import targets
from export.targets.base import Description, WeightInfo
from export.targets.precision import check_layers, check_precision, parameter_of
from runtime.errors import UserError

ALL = [recipe for target in targets() for recipe in recipes(target).values()]
FLOAT = WeightsRule("float32", "none", "none")


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: f"{r.target}-{r.name}")
def test_every_recipe_is_written_as_it_was_read(recipe: Recipe) -> None:
    layered = replace(recipe, layers={'a."b".weight': FLOAT, "c": recipe.linear}, default=False)
    for each in (recipe, layered):
        assert parse_recipe(recipe_toml(each), "x.toml") == each


def test_a_file_is_taken_where_a_name_is(tmp_path: Path) -> None:
    own = replace(recipes("onnx")["int8"], name="mine", file="mine.onnx")
    path = tmp_path / "mine.toml"
    path.write_text(recipe_toml(own))
    assert chosen_recipes("onnx", ["float32", str(path)]) == [recipes("onnx")["float32"], own]
    assert [r.name for r in chosen_recipes("onnx", [])] == ["float32", "int8"]
    assert chosen_recipes("onnx", [], every=True) == list(recipes("onnx").values())
    with pytest.raises(UserError, match=r"is for onnx, not for tflite.*TARGET=onnx"):
        chosen_recipes("tflite", [str(path)])
    with pytest.raises(UserError, match="two of the recipes have the name mine"):
        other = tmp_path / "other.toml"
        other.write_text(path.read_text())
        chosen_recipes("onnx", [str(path), str(other)])
    with pytest.raises(UserError, match=r"unknown RECIPE 'mine'.*\.toml file"):
        chosen_recipes("onnx", ["mine"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model_int8.onnx", "../model.onnx", "writes '../model.onnx'"),
        ("model_int8.onnx", ".hidden", "writes '.hidden'"),
        ('name = "int8"', "name = 8", "name is no string"),
        ("[weights.linear]", "[weights.lines]", "is incomplete"),
        ("target = ", "target ", "is not TOML"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = recipe_toml(recipes("onnx")["int8"])
    assert old in text
    path = tmp_path / "x.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_recipe(path, "onnx")


def test_a_missing_file_and_one_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read\. No such file"):
        read_recipe(tmp_path / "none.toml", "onnx")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read_recipe(tmp_path / "bad.toml", "onnx")


def test_a_layer_that_the_model_lacks_is_an_error() -> None:
    recipe = replace(recipes("onnx")["int8"], layers={"clasifier.weight": FLOAT})
    check_layers(recipe, ["clasifier.weight"])
    with pytest.raises(UserError, match=r"a rule for clasifier\.weight.*no such parameter"):
        check_layers(recipe, ["classifier.weight"])


@pytest.mark.parametrize("name", ["coreml", "coreai"])
def test_formats_without_rules_for_layers_refuse_them(name: str) -> None:
    target = targets()[name]
    recipe = recipes(name)["float32"]
    options = {key: values[0] for key, values in target.OPTIONS.items()}
    target.check(recipe, options, (32, 64))
    with pytest.raises(UserError, match=r"rules for single layers.*onnx or tflite"):
        target.check(replace(recipe, layers={"classifier.weight": FLOAT}), options, (32, 64))


def test_each_layer_is_held_to_its_own_rule() -> None:
    """A target that leaves rules for single layers out in silence is found."""
    recipe = replace(recipes("onnx")["int8"], layers={"spared": FLOAT})
    table = WeightInfo("t/int8_rows", (1000, 64), "int8", "embedding", 1000)
    spared = WeightInfo("spared", (256, 128), "float32", "linear", 0)
    coarse = WeightInfo("spared/int8", (256, 128), "int8", "linear", 128)
    assert parameter_of("spared/int8") == "spared"

    def described(*weights: WeightInfo) -> Description:
        return Description((), (), None, {}, weights, {})

    check_precision(described(table, spared), recipe, "a")
    with pytest.raises(UserError, match=r"left spared/int8 .* should be float32"):
        check_precision(described(table, coarse), recipe, "a")
    with pytest.raises(UserError, match=r"left other .* should be int8"):
        check_precision(described(table, replace(spared, name="other")), recipe, "a")
