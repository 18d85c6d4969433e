"""What becomes of every weight: decided by name before anything is touched, nothing skipped."""

from __future__ import annotations

from dataclasses import dataclass

from export.recipes import Recipe, WeightsRule
from export.recipes.sizes import LARGE_WEIGHT_ELEMENTS
from export.rounding import SEARCHED
from runtime.errors import UserError

# (precision, granularity, algorithm, sparse) → lowest iOS release whose operations can express it.
_KNOWN = {
    ("int8", "channel", "minmax", False): 16,
    ("int8", "row", "minmax", False): 16,
    ("int8", "channel", "minmax", True): 18,
    ("int8", "row", "minmax", True): 18,
    ("uint4", "block", "minmax", False): 18,
    ("lut4", "tensor", "kmeans", False): 16,
    ("lut6", "tensor", "kmeans", False): 16,
    ("lut4", "tensor", "kmeans", True): 18,
    ("lut4", "group", "kmeans", False): 18,
    ("lut6", "group", "kmeans", False): 18,
    ("lut4", "group", "kmeans", True): 18,
}
_FLOATS = ("float16", "float32")
# quantize and dequantize came with iOS 17.
ACTIVATIONS_IOS = 17


@dataclass(frozen=True, slots=True)
class Decision:
    """One weight of the float package.

    Attributes:
        name: of the constant.
        shape: as stored.
        role: ``linear``, ``embedding`` or ``other``.
        rule: how it is compressed; None where it stays in float.
        blocks: number of scales or tables along each axis.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    rule: WeightsRule | None
    blocks: tuple[int, ...]


def decide(name: str, shape: tuple[int, ...], role: str, recipe: Recipe) -> Decision:
    """Apply a recipe to one weight.

    Weights below LARGE_WEIGHT_ELEMENTS stay in float: biases, LayerNorm's vectors, a classifier of
    a few labels. A large weight of the role ``other`` follows the rule of the linear ones.

    Raises:
        UserError: the recipe cannot be followed for this weight.
    """
    rule = recipe.embedding if role == "embedding" else recipe.linear
    elements = 1
    for size in shape:
        elements *= size
    if elements < LARGE_WEIGHT_ELEMENTS or rule.precision in _FLOATS:
        return Decision(name, shape, role, None, ())
    if sum(size > 1 for size in shape) < 2:
        raise UserError(
            f"the recipe {recipe.name} cannot be applied to {name} {list(shape)}",
            why="Core ML compresses matrices, and this vector is too large to be left in float",
            todo="export with RECIPE=float16",
        )
    return Decision(name, shape, role, rule, blocks_of(name, shape, rule, recipe.name))


def blocks_of(name: str, shape: tuple[int, ...], rule: WeightsRule, recipe: str) -> tuple[int, ...]:
    """Number of scales or tables along each axis.

    A scale per channel or row runs along the first axis that is longer than 1: a matrix product
    stores its outputs first, a table its rows. Blocks divide the inputs or a row, the last axis,
    and groups the outputs or rows, the first axis; where that does not divide, the next is tried.

    Raises:
        UserError: no axis divides.
    """
    if rule.granularity == "tensor":
        return (1,) * len(shape)
    long = [axis for axis, size in enumerate(shape) if size > 1]
    if rule.granularity in ("channel", "row"):
        return tuple(size if axis in long[:1] else 1 for axis, size in enumerate(shape))
    order = long[::-1] if rule.granularity == "block" else long
    for chosen in order:
        if shape[chosen] % rule.block == 0 and shape[chosen] >= rule.block:
            parts = shape[chosen] // rule.block
            others = shape if rule.granularity == "block" else (1,) * len(shape)
            return tuple(parts if axis == chosen else size for axis, size in enumerate(others))
    raise UserError(
        f"the recipe {recipe} cannot be applied to {name} {list(shape)}",
        why=f"no axis divides into {rule.granularity}s of {rule.block}",
        todo="choose another recipe: int8 and palettized ones fit every shape",
    )


def check_recipe(recipe: Recipe, ios: int) -> None:
    """Whether Core ML can express a recipe.

    Args:
        recipe: the recipe.
        ios: release that the float package was converted for, such as 16.

    Raises:
        UserError: a rule that is not implemented, or one that a newer iOS release is needed for.
    """
    needed = ACTIVATIONS_IOS if recipe.activations == "int8" else 0
    if recipe.activations not in ("float", "int8"):
        raise UserError(f"recipe {recipe.name} asks for activations in {recipe.activations!r}")
    for kind, rule in (("linear", recipe.linear), ("embedding", recipe.embedding)):
        if rule.precision in _FLOATS and not rule.sparsity:
            continue
        # Rounded by search beforehand, int8 codes are what their largest magnitudes lead to.
        searched = rule.algorithm in SEARCHED and rule.precision == "int8" and not rule.sparsity
        algorithm = "minmax" if searched else rule.algorithm
        key = (rule.precision, rule.granularity, algorithm, rule.sparsity > 0)
        if key not in _KNOWN or not 0.0 <= rule.sparsity < 1.0:
            raise UserError(
                f"recipe {recipe.name} asks for {kind} weights in {rule.precision} per "
                f"{rule.granularity} by {rule.algorithm}"
                + (f" with {rule.sparsity:.2f} zeros" if rule.sparsity else ""),
                why="known are: "
                + ", ".join(f"{p} per {g} by {a}" for p, g, a, sparse in _KNOWN if not sparse),
            )
        if rule.granularity in ("block", "group") and rule.block < 1:
            raise UserError(f"recipe {recipe.name} names no block size for {kind} weights")
        needed = max(needed, _KNOWN[key])
    if ios < needed:
        raise UserError(
            f"the recipe {recipe.name} needs the deployment target iOS{needed}",
            why=f"iOS {ios} has no operation for it",
            todo=f"drop DEPLOYMENT_TARGET, or name iOS{needed} or newer",
        )
