"""How each format's runtime computes with quantized weights: one module a format, found by it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol, cast

import torch

from export.recipes import Recipe, WeightsRule
from runtime.errors import UserError
from runtime.plugins import modules_by

# (values [texts, …, channels], counts bool [texts, length] or None) → the same, rounded.
Rounding = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


class Arithmetic(Protocol):
    """A module of this package.

    Attributes:
        TARGET: the format's name, as in `export.targets`.
    """

    TARGET: str

    def is_stored(self, shape: tuple[int, int], kind: str) -> bool:
        """Whether a weight is worth integers to the target; smaller ones stay float.

        Args:
            shape: rows and columns.
            kind: ``linear`` or ``embedding``.
        """
        ...

    def rounding(self, rule: WeightsRule) -> Rounding | None:
        """What becomes of a product's input when its weight follows a rule; None leaves it."""
        ...


def known_targets() -> tuple[str, ...]:
    """Formats whose arithmetic is written down."""
    return tuple(modules_by(sys.modules[__name__], "TARGET"))


def arithmetic_of(recipe: Recipe) -> Arithmetic:
    """The arithmetic of a recipe's format.

    Raises:
        UserError: nobody has written it down.
    """
    known = modules_by(sys.modules[__name__], "TARGET")
    if recipe.target not in known:
        raise UserError(
            f"a model cannot be tuned for {recipe.target}'s recipe {recipe.name}",
            why=f"the arithmetic of {recipe.target}'s runtime is not known here",
            todo=f"choose a recipe of: {', '.join(known)}",
        )
    return cast("Arithmetic", known[recipe.target])
