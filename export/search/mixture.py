"""A choice of rules, weight by weight, as a recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export.recipes import Recipe, WeightsRule
from export.search.ladder import KINDS, Kind, Weight, stored_bytes
from runtime.errors import UserError

NAME = "search"
# From the least to the most that is done about outlier channels.
_OUTLIERS = ("keep", "fold", "divide")


def mixture(
    rules: Mapping[str, WeightsRule],
    weights: Sequence[Weight],
    recipes: Sequence[Recipe],
    suffix: str,
) -> Recipe:
    """The recipe with these rules: a whole one if it says the same, or else a mixture.

    A mixture is judged by the limits of the finest whole recipe that stores no weight more finely,
    and where there is none, of the coarsest recipe that one of its rules comes from: never by
    limits that are looser than those that somebody measured.

    Args:
        rules: weight → its rule.
        weights: all that have one.
        recipes: whole ones, of one target, that the rules come from.
        suffix: of the target's files.

    Raises:
        UserError: a rule comes from none of the recipes.
    """
    kinds = {weight.name: weight.kind for weight in weights}
    for recipe in recipes:
        if all(recipe.rule_for(name, kinds[name]) == rule for name, rule in rules.items()):
            return recipe
    judged_by = _judged_by(rules, weights, recipes)
    base = {kind: _commonest(rules, weights, kind) for kind in KINDS}
    linear = base["linear"] or judged_by.linear
    embedding = base["embedding"] or judged_by.embedding
    of_kind = {"linear": linear, "embedding": embedding}
    used = set(rules.values())
    outliers = [r.outliers for r in recipes if used & {r.linear, r.embedding} and r.quantizes]
    return replace(
        judged_by,
        name=NAME,
        version=1,
        precision="mixed",
        file=f"model_{NAME}{suffix}",
        summary=summary_of(rules),
        linear=linear,
        embedding=embedding,
        layers={name: rule for name, rule in rules.items() if rule != of_kind[kinds[name]]},
        outliers=max([judged_by.outliers, *outliers], key=_OUTLIERS.index),
        default=False,
    )


def summary_of(rules: Mapping[str, WeightsRule]) -> str:
    """How many weights are stored how."""
    counts = Counter(_short(rule) for rule in rules.values())
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))


def _short(rule: WeightsRule) -> str:
    return rule.precision + (f" per {rule.block}" if rule.granularity == "block" else "")


def _commonest(
    rules: Mapping[str, WeightsRule], weights: Sequence[Weight], kind: Kind
) -> WeightsRule | None:
    counts: Counter[WeightsRule] = Counter()
    for weight in weights:
        if weight.kind == kind:
            counts[rules[weight.name]] += weight.rows * weight.columns
    return counts.most_common(1)[0][0] if counts else None


def _judged_by(
    rules: Mapping[str, WeightsRule], weights: Sequence[Weight], recipes: Sequence[Recipe]
) -> Recipe:
    def size(recipe: Recipe) -> float:
        return sum(stored_bytes(recipe.rule_for("", w.kind), w.rows, w.columns) for w in weights)

    def covers(recipe: Recipe) -> bool:
        return all(
            stored_bytes(recipe.rule_for("", w.kind), w.rows, w.columns)
            <= stored_bytes(rules[w.name], w.rows, w.columns)
            for w in weights
        )

    used = {(w.kind, rules[w.name]) for w in weights}
    origins = []
    for kind, rule in used:
        if not (having := [r for r in recipes if r.rule_for("", kind) == rule]):
            raise UserError(f"no recipe has {kind} weights as {_short(rule)} by {rule.algorithm}")
        origins.append(max(having, key=size))
    # Only one whose own rules occur: what is coarse in another way says nothing of this mixture.
    kinds = {kind for kind, _ in used}
    own = [r for r in recipes if all((k, r.rule_for("", k)) in used for k in kinds)]
    if covering := [recipe for recipe in own if covers(recipe)]:
        return max(covering, key=size)
    return min(origins, key=lambda recipe: (size(recipe), recipe.name))
