"""Did a recipe reach every weight it should? Converters skip silently; this does not."""

from __future__ import annotations

from collections.abc import Collection

from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.targets.base import Description, WeightInfo
from runtime.constants_digest import REST_ROLE
from runtime.errors import UserError
from runtime.manifest import StoredWeight, WeightsSummary


def summarise(description: Description) -> WeightsSummary:
    """Elements per precision, and the large weights that are in float."""
    elements: dict[str, int] = {}
    for weight in description.weights:
        if weight.role == REST_ROLE:
            continue
        elements[weight.precision] = elements.get(weight.precision, 0) + weight.elements
    large = [
        w.name for w in description.weights if _is_large(w) and w.precision.startswith("float")
    ]
    stored = tuple(
        StoredWeight(w.name, w.shape, w.role, w.precision, w.sparsity, w.bits, w.sha256)
        for w in sorted(description.weights, key=lambda w: (w.role == REST_ROLE, w.name))
    )
    return WeightsSummary(dict(sorted(elements.items())), tuple(sorted(large)), stored)


def parameter_of(stored: str) -> str:
    """The parameter behind a stored weight's name: targets append ``/int8`` and the like to it."""
    return stored.partition("/")[0]


def check_layers(recipe: Recipe, parameters: Collection[str]) -> None:
    """Whether every layer that a recipe gives a rule of its own is the model's.

    Args:
        recipe: whose layers.
        parameters: names in the transformers model.

    Raises:
        UserError: one is not: a misspelt name would change nothing, in silence.
    """
    unknown = sorted(set(recipe.layers) - set(parameters))
    if unknown:
        raise UserError(
            f"the recipe {recipe.name} has a rule for {unknown[0]}",
            why="the model has no such parameter; the recipe was made for another one",
            todo="leave it out of the recipe, or search anew with BUDGET= or MAX_FLIPS=",
        )


def refuse_layers(recipe: Recipe, target: str) -> None:
    """For the `check` of a format whose recipes go for whole models.

    Raises:
        UserError: the recipe has rules for single layers.
    """
    if recipe.layers:
        raise UserError(
            f"the recipe {recipe.name} has rules for single layers",
            why=f"{target} has rules for all linear weights and all embeddings only",
            todo="leave weights.layers out of the recipe, or export it for onnx or tflite",
        )


def check_precision(description: Description, recipe: Recipe, artifact: str) -> None:
    """Compare every large weight of an artifact with its recipe.

    Raises:
        UserError: a large weight is stored in another precision or granularity than the recipe
            says, or the artifact has no large linear weight and no embedding at all.
    """
    seen = set()
    for weight in filter(_is_large, description.weights):
        # A large weight of no known role was missed by whoever reads the file: judge it strictly.
        kind = "embedding" if weight.role == "embedding" else "linear"
        rule = recipe.rule_for(parameter_of(weight.name), kind)
        seen.add(weight.role)
        if (
            weight.precision != rule.precision
            or not _granular(weight, rule)
            or not _sparse(weight, rule)
        ):
            raise UserError(
                f"{artifact}: the recipe {recipe.name} left {weight.name} {list(weight.shape)} "
                f"in {weight.precision} with {weight.scales} scales"
                + (f" and {weight.sparsity:.2f} zeros" if weight.sparsity else ""),
                why=f"{weight.role} weights should be {rule.precision} per {rule.granularity}"
                + (f" of {rule.block}" if rule.block else "")
                + (f" with {rule.sparsity:.2f} zeros" if rule.sparsity else ""),
                todo="report it, or export with RECIPE=float32",
            )
    if not seen & {"linear", "embedding"}:
        raise UserError(f"{artifact}: no large weight was found", why="the file cannot be judged")


def _is_large(weight: WeightInfo) -> bool:
    return weight.role != REST_ROLE and weight.elements >= LARGE_WEIGHT_ELEMENTS


def _granular(weight: WeightInfo, rule: WeightsRule) -> bool:
    if rule.granularity == "none":
        return weight.scales == 0
    if rule.granularity == "tensor":
        return weight.scales == 1
    if rule.granularity == "block":
        return weight.scales * rule.block == weight.elements
    if rule.granularity == "group":
        return weight.scales * rule.block in weight.shape
    # One scale per channel or row: some axis has exactly as many entries.
    return weight.scales > 1 and weight.scales in weight.shape


def _sparse(weight: WeightInfo, rule: WeightsRule) -> bool:
    # Ties and rounding move the share by a few elements, not by a hundredth.
    return abs(weight.sparsity - rule.sparsity) < 0.01
