"""A model whose weights lie on the grids of a recipe, so that storing them changes nothing more."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from export.recipes import Recipe, WeightsRule
from export.reference import Reference
from export.rounding import SEARCHED
from export.rounding.clip import clipped
from export.rounding.gptq import compensated
from export.rounding.gradients import gradient_moments
from export.rounding.grid import Floats
from export.rounding.moments import linear_layers, order_of_run, second_moments
from export.threads import one_thread
from runtime.errors import UserError

Divisors = Mapping[str, Floats]


def is_rounded(recipe: Recipe) -> bool:
    """Whether a recipe leaves it to this package which integers a weight becomes."""
    rules = (recipe.linear, recipe.embedding, *recipe.layers.values())
    return any(rule.algorithm in SEARCHED for rule in rules)


def rounded(
    reference: Reference,
    recipe: Recipe,
    calibration: Sequence[Sequence[int]],
    divisors: Divisors,
    *,
    smallest: int,
    transposed: str = "",
    gradients: dict[str, torch.Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reference:
    """The model with every weight that the recipe has rounded by search on its grid.

    Linear layers are rounded in the order that they run, a block of the encoder at a time; each
    block sees what those before it make of the texts. Embeddings come first, by what the outputs
    make of their rows; without texts only their own error is looked at.

    Args:
        reference: it is not changed.
        recipe: rules whose algorithm is none of `SEARCHED` leave their weights alone.
        calibration: ids of training texts.
        divisors: as `Job.divisors`; a weight times its divisor is on the grid.
        smallest: elements of a weight that is rounded; targets leave smaller ones in float, and
            rounding those would lose something for nothing.
        transposed: the weight that targets store with its axes exchanged, of
            `export.families.plain.one_position`: its grid runs along the other axis. Its product's
            inputs are no layer's, so that it is only clipped.
        gradients: `gradient_moments` of the same reference and texts, as far as they are known;
            what was missing is added.
        progress: called with (done, total) weights.

    Raises:
        UserError: a weight has no grid, or there are no texts to see inputs of.
    """
    after = reference.around(copy.deepcopy(reference.module.model))
    tables, layers = _tables(after, recipe, smallest), _layers(after, recipe, smallest)
    total, done = len(tables) + len(layers), 0
    known = {} if gradients is None else gradients
    compensating = {name for name, (_, rule) in tables.items() if rule.algorithm == "gptq"}
    with one_thread():  # default recipes come this way: their bytes hang on no number of cores
        if missing := compensating - known.keys():
            known.update(gradient_moments(after, calibration, missing))
        for name, (table, rule) in tables.items():
            moments = known.get(name) if name in compensating else None
            found = _searched(table.weight.numpy(), rule, moments, f"{name}.weight")
            table.weight.copy_(torch.from_numpy(found))
            done = _tell(progress, done, total)
    if layers and not calibration:
        raise UserError(
            f"the recipe {recipe.name} has no texts to round weights with",
            why="it tries which rounding does the least harm to training texts, and the data has "
            "no such split",
            todo="choose another RECIPE, or give it data with a train split",
        )
    for groups in _stages(after, calibration, layers):
        inputs = second_moments(after, calibration, groups)
        for name in (name for names in groups for name in names if name in layers):
            layer, rule = layers[name]
            divisor = divisors.get(name, np.ones(layer.in_features, np.float32))
            if f"{name}.weight" == transposed:
                turned = np.ascontiguousarray(layer.weight.numpy().T)
                found = _searched(turned, rule, None, transposed).T
            else:
                by = torch.from_numpy(1 / divisor)
                weight, seen = layer.weight.numpy() * divisor, inputs[name] * by * by[:, None]
                # Divisors are powers of two: nothing is rounded.
                found = _searched(weight, rule, seen, f"{name}.weight") / divisor
            layer.weight.copy_(torch.from_numpy(found))
            done = _tell(progress, done, total)
    return after


def _searched(weight: Floats, rule: WeightsRule, moments: torch.Tensor | None, name: str) -> Floats:
    """A weight, [rows, columns], on its grid; without moments its own error is made small."""
    grid = clipped(weight, rule, None if moments is None else moments.diagonal().numpy(), name)
    if rule.algorithm == "gptq" and moments is not None:
        grid = compensated(weight, grid, moments)
    return grid.dense()


def _tables(
    reference: Reference, recipe: Recipe, smallest: int
) -> dict[str, tuple[Any, WeightsRule]]:
    model: Any = reference.module.model
    found = {}
    for path, module in model.named_modules():
        rule = recipe.rule_for(f"{path}.weight", "embedding")
        if isinstance(module, torch.nn.Embedding) and _applies(module.weight, rule, smallest):
            found[path] = module, rule
    return found


def _layers(
    reference: Reference, recipe: Recipe, smallest: int
) -> dict[str, tuple[torch.nn.Linear, WeightsRule]]:
    found = {}
    for name, layer in linear_layers(reference).items():
        rule = recipe.rule_for(f"{name}.weight", "linear")
        if _applies(layer.weight, rule, smallest):
            found[name] = layer, rule
    return found


def _applies(weight: torch.Tensor, rule: WeightsRule, smallest: int) -> bool:
    return rule.algorithm in SEARCHED and weight.numel() >= smallest


def _stages(
    reference: Reference, calibration: Sequence[Sequence[int]], wanted: Mapping[str, object]
) -> Iterator[list[tuple[str, ...]]]:
    """Groups of layers that are rounded together: those of one block of the encoder."""
    if not wanted:
        return
    stages: dict[str, list[tuple[str, ...]]] = {}
    for names in order_of_run(reference, max(calibration, key=len)):
        block = re.match(r".*?\.\d+(?=\.)", names[0])
        if any(name in wanted for name in names):
            stages.setdefault(block[0] if block else names[0], []).append(names)
    yield from stages.values()


def _tell(progress: Callable[[int, int], None] | None, done: int, total: int) -> int:
    if progress is not None:
        progress(done + 1, total)
    return done + 1
