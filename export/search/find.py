"""The search itself: whole recipes, then mixtures, then the best of what was tried."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.artifacts import Wanted, scratch_of
from export.bundle_writer import Facts
from export.prepare import moved_outliers
from export.recipes import Recipe, WeightsRule
from export.recipes.document import recipe_toml
from export.search.ladder import Kind, Weight, rungs_of, stored_bytes, weights_of_model
from export.search.mixture import NAME
from export.search.sensitivity import key_of, measure_noise
from export.search.settings import SearchSettings, size_words
from export.search.state import State, recipe_key, versions_of
from export.search.table import nothing_found, print_search
from export.search.walk import (
    Mixtures,
    Tried,
    best_of,
    is_right,
    walk_down,
    walk_recipes,
    walk_within,
)
from export.search.workshop import Workshop
from export.targets.base import Source, Target, resolve_options
from runtime.console import note, progress_bar, stage
from runtime.errors import UserError
from runtime.golden import Golden
from runtime.parity.evidence import this_machine

_STRONGEST = ("divide", "fold", "keep")


def find_recipe(
    settings: SearchSettings,
    wanted: Wanted,
    chosen: Mapping[str, str],
    source: Source,
    golden: Golden,
    facts: Facts,
    staging: Path,
) -> Wanted:
    """Find what to export.

    Args:
        settings: the bounds.
        wanted: the target, and the recipes to choose and to mix from.
        chosen: options of targets that were named.
        source: what is exported.
        golden: the reference set.
        facts: of the bundle.
        staging: the bundle's folder, which holds the tokenizer's files and nothing else yet. The
            file of a recipe that was made up is written here.

    Returns:
        The target with one recipe.

    Raises:
        UserError: nothing suits; it tells what comes nearest.
    """
    target, recipes = wanted.target, [recipe for recipe, _ in wanted.jobs]
    state = State(
        settings.folder,
        f"{facts.source.model}-{target.TARGET}",
        _facts(target, chosen, source, golden, facts),
    )
    note(f"  searching for {settings.wanted}; what is found out is kept in {state.folder}")
    scratch = scratch_of(target, staging)
    with tempfile.TemporaryDirectory(dir=staging.parent) as place:
        shop = Workshop(target, chosen, source, golden, facts, state, staging, Path(place), scratch)
        tried = walk_recipes(recipes, _predicted(recipes, source), settings, shop.attempt)
        mixable = _mixable(target, recipes, chosen, source.lengths)
        if mixable and _is_worth_mixing(tried, mixable, settings):
            tried += _mixed(shop, mixable, tried, settings)
        best = best_of(tried, settings)
        if best is None and not any(item.trial.verdict for item in tried):
            # The nearest is worth knowing: whether the smallest would pass at all.
            smallest = min(tried, key=lambda item: item.trial.size or np.inf)
            tried.append(Tried(smallest.recipe, shop.attempt(smallest.recipe)))
    tried = list({recipe_key(item.recipe): item for item in tried}.values())
    print_search(tried, best, settings)
    if best is None:
        raise nothing_found(tried, settings)
    if best.recipe.name == NAME:
        _save(best, settings, mixable, staging)
    return replace(wanted, jobs=((best.recipe, resolve_options(target, best.recipe, chosen)),))


def recipe_file(target: str) -> str:
    """What the recipe that a search made up is called in the bundle."""
    return f"{target}_{NAME}.toml"


def _facts(
    target: Target,
    chosen: Mapping[str, str],
    source: Source,
    golden: Golden,
    facts: Facts,
) -> dict[str, object]:
    texts = hashlib.sha256(np.ascontiguousarray(golden.reference).tobytes())
    texts.update(json.dumps([[c.set, c.text, c.input_ids] for c in golden.cases]).encode())
    texts.update(json.dumps(source.calibration).encode())
    return {
        "target": target.TARGET,
        "options": dict(chosen),
        "lengths": list(source.lengths),
        "contract": facts.contract_sha256,
        "texts": texts.hexdigest(),
        "machine": this_machine().to_json(),
        "versions": versions_of(target.PACKAGES),
    }


def _predicted(recipes: Sequence[Recipe], source: Source) -> dict[str, float]:
    """Recipe name → about the bytes of its file."""
    weights, rest = weights_of_model(source.reference.module.model)
    return {
        recipe.name: rest
        + sum(stored_bytes(recipe.rule_for(w.name, w.kind), w.rows, w.columns) for w in weights)
        for recipe in recipes
    }


def _mixable(
    target: Target, recipes: Sequence[Recipe], chosen: Mapping[str, str], lengths: tuple[int, ...]
) -> list[Recipe]:
    """The recipes whose rules may be mixed; none for a format without rules for single layers."""
    found = [r for r in recipes if r.activations == "float" and not r.layers]
    try:
        for recipe in found:
            trial = replace(recipe, layers={"any": recipe.linear})
            target.check(trial, resolve_options(target, recipe, chosen), lengths)
    except UserError:
        return []
    return found if len(found) > 1 else []


def _is_worth_mixing(
    tried: Sequence[Tried], recipes: Sequence[Recipe], settings: SearchSettings
) -> bool:
    """Whether a mixture can be better than the best whole recipe."""
    best = best_of(tried, settings)
    if best is None:
        return True
    if settings.max_flips is None:
        return best.recipe.quantizes
    # The coarsest of all cannot be undercut.
    weights = [Weight(kind, kind, 768, 768) for kind in ("linear", "embedding")]
    rungs = rungs_of(recipes, weights)
    return any(best.recipe.rule_for("", w.kind) != rungs[w.kind][-1] for w in weights)


def _mixed(
    shop: Workshop, recipes: Sequence[Recipe], tried: Sequence[Tried], settings: SearchSettings
) -> list[Tried]:
    """The mixtures that were tried."""
    weights = shop.state.weights
    made = [item for item in tried if item.trial.size]
    if not weights or not made:
        return []
    mixtures = _measured(shop, weights, recipes)
    if not mixtures.steps:
        return []
    smallest = min(made, key=lambda item: item.trial.size)
    overhead = smallest.trial.size - sum(
        stored_bytes(smallest.recipe.rule_for(w.name, w.kind), w.rows, w.columns) for w in weights
    )
    if settings.max_flips is None:
        return walk_within(mixtures, overhead, settings, shop.attempt)
    right = [item.trial.size for item in made if is_right(item.trial, settings)]
    return walk_down(mixtures, overhead, settings, shop.attempt, min(right, default=None))


def _measured(shop: Workshop, weights: Sequence[Weight], recipes: Sequence[Recipe]) -> Mixtures:
    """The greedy path, with the noise that each weight makes on each rung."""
    rungs = rungs_of(recipes, weights)
    outliers = min((recipe.outliers for recipe in recipes), key=_STRONGEST.index)
    state = shop.state
    moved = moved_outliers(shop.source, outliers, shop.prepared)
    with stage(f"how much each of {len(weights)} weights matters"), progress_bar("rounding") as bar:
        measure_noise(
            moved,
            outliers,
            weights,
            rungs,
            shop.source.calibration,
            known=state.noise,
            found=state.add_noise,
            progress=bar,
        )
    rules: dict[str, list[WeightsRule]] = {}
    noise: dict[str, list[float]] = {}
    for weight in weights:
        kind: Kind = weight.kind
        found = [(rule, state.noise[key_of(weight.name, rule, outliers)]) for rule in rungs[kind]]
        # A rule that the weight cannot follow has no noise.
        rules[weight.name] = [rule for rule, n in found if not np.isnan(n)]
        noise[weight.name] = [n for _, n in found if not np.isnan(n)]
    return Mixtures(weights, rules, noise, recipes, shop.target.SUFFIX)


def _save(best: Tried, settings: SearchSettings, recipes: Sequence[Recipe], staging: Path) -> None:
    recipe, trial = best.recipe, best.trial
    parent = next((r.name for r in recipes if r.gate == recipe.gate), "")
    comment = (
        f"Found by a search for {settings.wanted}: {size_words(trial.size)}, "
        f"SQNR {trial.figure('sqnr_db'):.1f} dB.\n"
        f"Limits and observed values are those of the recipe {parent}; nobody measured this one on "
        "other models."
    )
    text = recipe_toml(recipe, comment=comment)
    (staging / recipe_file(recipe.target)).write_text(text, encoding="utf-8")
