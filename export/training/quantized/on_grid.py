"""Whether a model's weights are numbers of a recipe's grid, so that rounding changes none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.recipes import Recipe
from export.rounding.grid import grid_of
from export.training.quantized.plan import plan_of
from export.training.quantized.runtimes import known_targets
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def lies_on_grid(model: PreTrainedModel, recipe: Recipe) -> bool:
    """Whether every weight that a recipe turns into integers comes back bit for bit.

    So it is after a tuning for the recipe, and next to never otherwise.
    """
    if recipe.target not in known_targets():
        return False
    try:
        plan = plan_of(model, recipe)
        state = model.state_dict()
        for name, rule in plan.weights.items():
            weight = plan.stored(name, state[name].numpy())
            if not np.array_equal(grid_of(weight, rule, name).dense(), weight):
                return False
    except UserError:  # a rule, or a weight, that has no such grid: whoever needs one says so
        return False
    return True
