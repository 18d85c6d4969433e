"""The recipes that RECIPE= names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from export.recipes import Recipe, recipes
from export.recipes.document import SUFFIX, read_recipe
from runtime.errors import UserError

ALL = "all"


def chosen_recipes(target: str, names: Sequence[str], *, every: bool = False) -> list[Recipe]:
    """Recipes of one target.

    Args:
        target: its name.
        names: of recipes, or their own .toml files, or ``all``; none means the default ones.
        every: none means all.

    Raises:
        UserError: a name is unknown (the known ones are listed), a file is no recipe of this
            target, or two of them would write the same file.
    """
    available = recipes(target)
    if not names:
        return [recipe for recipe in available.values() if recipe.default or every]
    if ALL in names:
        return list(available.values())
    found = []
    for name in dict.fromkeys(names):
        if name.endswith(SUFFIX):
            found.append(read_recipe(Path(name), target))
        elif name in available:
            found.append(available[name])
        else:
            raise UserError(
                f"unknown RECIPE {name!r} for the target {target}",
                todo=f"choose among: {', '.join([*available, ALL])}, or name a recipe's .toml file",
            )
    for field in ("name", "file"):
        counts = Counter(getattr(recipe, field) for recipe in found)
        if twice := [value for value, count in counts.items() if count > 1]:
            raise UserError(
                f"two of the recipes have the {field} {twice[0]}",
                todo="export them one after the other, each into a bundle of its own",
            )
    return found
