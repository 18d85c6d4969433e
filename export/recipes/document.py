"""A recipe of the user's own: a file that is named where a recipe's name is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from export.recipes import Recipe, WeightsRule, parse_recipe
from runtime.errors import UserError

SUFFIX = ".toml"
_STRINGS = ("target", "name", "precision", "file", "summary", "activations", "outliers")
Numbers = Mapping[str, Mapping[str, float]]


def read_recipe(path: Path, target: str) -> Recipe:
    """Read a recipe's file.

    Args:
        path: the file.
        target: the format that it has to be for.

    Raises:
        UserError: it cannot be read, is no recipe, is for another target, or would write its
            artifact elsewhere than into the bundle.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"the recipe {path} cannot be read", why=why) from error
    recipe = parse_recipe(text, path.name)
    for name in _STRINGS:
        if not isinstance(getattr(recipe, name), str):
            raise UserError(f"recipe {path.name}: {name} is no string")
    if recipe.target != target:
        raise UserError(
            f"the recipe {path} is for {recipe.target}, not for {target}",
            todo=f"export it with TARGET={recipe.target}",
        )
    if Path(recipe.file).name != recipe.file or recipe.file.startswith("."):
        raise UserError(
            f"recipe {path.name} writes {recipe.file!r}",
            why="an artifact's file lies in the bundle",
        )
    return recipe


def recipe_toml(recipe: Recipe, *, comment: str = "") -> str:
    """A recipe as TOML, ASCII, of which `parse_recipe` makes the same recipe.

    Args:
        recipe: what to write.
        comment: lines for the head of the file, without ``#``.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    names = (*_STRINGS, "version", "default")
    lines += [f"{name} = {_value(getattr(recipe, name))}" for name in names]
    lines += _table("options", recipe.options)
    lines += _table("weights.linear", _rule(recipe.linear))
    lines += _table("weights.embedding", _rule(recipe.embedding))
    for name, rule in sorted(recipe.layers.items()):
        lines += _table(f"weights.layers.{_value(name)}", _rule(rule))
    # A recipe that nobody has measured has no limits, and says so.
    lines += _gate("gate", recipe.gate, recipe.observed) or ["", "[gate]"]
    lines += _gate("vector_gate", recipe.vector_gate, recipe.vector_observed)
    for family, own in sorted(recipe.families.items()):
        lines += _gate(f"family_gate.{_value(family)}", own.gate, own.observed)
    return "\n".join(lines) + "\n"


def _rule(rule: WeightsRule) -> dict[str, Any]:
    """Its fields, without those that have their default."""
    values = {entry.name: (getattr(rule, entry.name), entry.default) for entry in fields(rule)}
    return {name: value for name, (value, usual) in values.items() if value != usual}


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    return ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values.items())]


def _gate(name: str, limits: Numbers, observed: Numbers) -> list[str]:
    lines = []
    for architecture, numbers in limits.items():
        lines += ["", f"[{name}.{architecture}]"]
        for figure, limit in numbers.items():
            seen = _value(observed[architecture][figure])
            lines.append(f"{figure} = {{ limit = {_value(limit)}, observed = {seen} }}")
    return lines


def _value(value: Any) -> str:
    """A TOML value: JSON's strings, whole numbers and booleans are TOML's, its floats are not."""
    return repr(value) if isinstance(value, float) else json.dumps(value)
