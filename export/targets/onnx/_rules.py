"""Which rules of a recipe ONNX's standard operators can follow."""

from __future__ import annotations

from export.recipes import Recipe, WeightsRule
from export.rounding import SEARCHED
from runtime.errors import UserError

_FLOAT = WeightsRule(precision="float32", granularity="none", algorithm="none")
_ALGORITHMS = ("minmax", *SEARCHED)
# An int4 matrix is multiplied as integers, which a block's own scale would not allow.
_BLOCK_SCALES = {"linear": ("multiple",), "embedding": ("float32", "float16", "multiple")}
_INT8 = {"linear": "channel", "embedding": "row"}


def check_rules(recipe: Recipe) -> None:
    """Check the rules for all weights; those for single layers are checked where they are met.

    Raises:
        UserError: the recipe is another target's, or has a rule that this target does not know.
    """
    if recipe.target != "onnx":
        raise UserError(f"recipe {recipe.name} is for {recipe.target}, not for onnx")
    for kind, rule in (("linear", recipe.linear), ("embedding", recipe.embedding)):
        check_rule(rule, kind, recipe.name)


def check_rule(rule: WeightsRule, kind: str, recipe: str) -> None:
    """Check the rule of one weight.

    Args:
        rule: what it asks for.
        kind: ``linear`` or ``embedding``.
        recipe: name for the message.

    Raises:
        UserError: this target does not know it.
    """
    if rule == _FLOAT or (rule.algorithm in _ALGORITHMS and _known(rule, kind)):
        return
    scales = _BLOCK_SCALES[kind]
    raise UserError(
        f"recipe {recipe} asks for {kind} weights as {rule.precision}, per {rule.granularity}, "
        f"{rule.algorithm}, scales as {rule.scale}",
        why=f"onnx has: int8, per {_INT8[kind]}; int4, per block of an even number of columns, "
        f"scales as {' or '.join(scales)}; each {', '.join(_ALGORITHMS)}; or float32",
    )


def _known(rule: WeightsRule, kind: str) -> bool:
    if rule.precision == "int8":
        reduced = rule.reduce_range and kind == "linear"
        plain = WeightsRule("int8", _INT8[kind], rule.algorithm, reduce_range=reduced)
        return rule == plain
    even = rule.block > 0 and rule.block % 2 == 0
    plain = WeightsRule("int4", "block", rule.algorithm, rule.block, scale=rule.scale)
    return even and rule == plain and rule.scale in _BLOCK_SCALES[kind]
