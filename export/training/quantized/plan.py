"""Which weights of a model a recipe turns into integers, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from export.families.plain.one_position import at_one_position
from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.reference import LogitsOnly
from export.rounding.grid import blocks_of, largest_code
from export.training.quantized.runtimes import (
    Arithmetic,
    Rounding,
    arithmetic_of,
)
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rounded while a model learns.

    Attributes:
        weights: parameter of the transformers model → its rule; integers only.
        inputs: name of a linear layer → how its input is rounded.
        transposed: parameters that the artifact holds transposed: their grid's rows are columns.
    """

    weights: dict[str, WeightsRule]
    inputs: dict[str, Rounding]
    transposed: frozenset[str] = frozenset()

    @property
    def changed(self) -> list[str]:
        """Parameters that are not used as they are."""
        return list(dict.fromkeys((*self.weights, *sorted(self.transposed))))

    def stored(self, name: str, weight: Floats) -> Floats:
        """A weight with the rows that the artifact gives it."""
        return np.ascontiguousarray(weight.T) if name in self.transposed else weight


def plan_of(model: PreTrainedModel, recipe: Recipe) -> Plan:
    """Go through a model's weights.

    Raises:
        UserError: the recipe leaves every weight in float or has rules that training does not
            know, its blocks do not fit a weight, or the model has large weights outside of linear
            layers and embeddings.
    """
    arithmetic = arithmetic_of(recipe)
    if recipe.activations != "float":
        raise UserError(
            f"a model cannot be tuned for the recipe {recipe.name}",
            why="its activations are rounded with ranges that the export measures",
            todo="choose a recipe whose activations are quantized as they come",
        )
    turned = at_one_position(LogitsOnly(model)).transposed
    transposed = frozenset({turned} if turned else ())
    weights: dict[str, WeightsRule] = {}
    inputs: dict[str, Rounding] = {}
    seen: set[int] = set()
    for layer, module in model.named_modules():
        name = f"{layer}.weight"
        kind = _kind(module)
        if kind is None:
            continue
        parameter = module.weight
        seen.add(id(parameter))
        rule = recipe.rule_for(name, kind)
        if not _is_integer(arithmetic, tuple(parameter.shape), kind, rule):
            continue
        largest_code(rule)
        shape = tuple(reversed(parameter.shape)) if name in transposed else parameter.shape
        blocks_of(np.broadcast_to(np.float32(0), shape), rule, name)
        weights[name] = rule
        rounding = arithmetic.rounding(rule) if kind == "linear" else None
        if rounding is not None:
            inputs[layer] = rounding
    if not weights:
        raise UserError(
            f"the recipe {recipe.name} stores every weight of this model in float",
            why="there is no rounding to get used to",
            todo="choose a recipe such as int4",
        )
    _refuse_others(model, seen)
    return Plan(weights, inputs, transposed)


def _kind(module: Any) -> str | None:
    if isinstance(module, nn.Linear):
        return "linear"
    return "embedding" if isinstance(module, nn.Embedding) else None


def _is_integer(
    arithmetic: Arithmetic, shape: tuple[int, ...], kind: str, rule: WeightsRule
) -> bool:
    rows, columns = shape
    return not rule.precision.startswith("float") and arithmetic.is_stored((rows, columns), kind)


def _refuse_others(model: PreTrainedModel, seen: set[int]) -> None:
    """Weights that a converter might quantize, and nothing here would."""
    for name, parameter in model.named_parameters():
        matrix = parameter.dim() > 1 and parameter.numel() >= LARGE_WEIGHT_ELEMENTS
        if matrix and id(parameter) not in seen:
            raise UserError(
                f"a {model.config.model_type} cannot be tuned for a recipe",
                why=f"{name} is neither a linear layer's weight nor an embedding",
                todo="export it with the recipe as it is",
            )
