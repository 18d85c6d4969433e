"""What is tried and chosen, on models that are formulas: sizes and errors are known beforehand.

The real converter and the real gate are in test_find.py.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from export.recipes import Recipe, WeightsRule, recipes
from export.search.ladder import Weight, stored_bytes
from export.search.path import size_at
from export.search.settings import SearchSettings
from export.search.state import Trial, recipe_key
from export.search.table import nothing_found
from export.search.walk import (
    Mixtures,
    Tried,
    best_of,
    is_right,
    walk_down,
    walk_recipes,
    walk_within,
)

FLOAT = WeightsRule("float32", "none", "none")
INT8 = WeightsRule("int8", "channel", "minmax")
INT4 = WeightsRule("int4", "block", "minmax", block=32)
RULES = {"float32": FLOAT, "int8": INT8, "int4": INT4}
WHOLE = [
    replace(recipes("onnx")["int8"], name=name, file=f"{name}.onnx", linear=rule, embedding=rule)
    for name, rule in RULES.items()
]
REST = 5000


class Model:
    """Twenty weights, each with a noise of its own for each rule; the gate is a limit on SQNR."""

    def __init__(self, seed: int, *, limit: float) -> None:
        rng = random.Random(seed)
        self.weights = [Weight(f"w{i}", "linear", rng.choice([32, 64, 256]), 64) for i in range(20)]
        self.noise = {
            w.name: [0.0, (small := 10 ** rng.uniform(-7, -4)), small * rng.uniform(50, 400)]
            for w in self.weights
        }
        self.limit = limit
        self.asked: list[str] = []

    def mixtures(self) -> Mixtures:
        rules = {w.name: list(RULES.values()) for w in self.weights}
        return Mixtures(self.weights, rules, self.noise, WHOLE, ".onnx")

    def size(self, recipe: Recipe) -> int:
        rules = [recipe.rule_for(w.name, w.kind) for w in self.weights]
        stored = [
            stored_bytes(rule, w.rows, w.columns)
            for w, rule in zip(self.weights, rules, strict=True)
        ]
        # Files have paddings and nodes that no prediction knows.
        return int(REST + sum(stored) + 40 * sum(rule != FLOAT for rule in rules))

    def attempt(self, recipe: Recipe, most: int | None = None) -> Trial:
        assert recipe_key(recipe) not in self.asked, "nothing is made twice"
        self.asked.append(recipe_key(recipe))
        size = self.size(recipe)
        if most is not None and size > most:
            return Trial(recipe.name, size)
        places = list(RULES.values())
        noise = sum(
            self.noise[w.name][places.index(recipe.rule_for(w.name, w.kind))] for w in self.weights
        )
        sqnr = -10 * math.log10(noise + 1e-12)
        verdict = "pass" if sqnr >= self.limit else "fail"
        return Trial(recipe.name, size, verdict, {"sqnr_db": sqnr, "flip_rate_bound": noise})

    def search(self, settings: SearchSettings) -> list[Tried]:
        predicted = {recipe.name: float(self.size(recipe)) for recipe in WHOLE}
        known: dict[str, Trial] = {}

        def attempt(recipe: Recipe, most: int | None = None) -> Trial:
            key = recipe_key(recipe)
            if key not in known or not (known[key].verdict or known[key].size > (most or 0)):
                known[key] = self.attempt(recipe, most)
            return known[key]

        tried = walk_recipes(WHOLE, predicted, settings, attempt)
        right = [item.trial.size for item in tried if is_right(item.trial, settings)]
        if settings.max_flips is None:
            return tried + walk_within(self.mixtures(), REST, settings, attempt)
        smallest = min(right, default=None)
        return tried + walk_down(self.mixtures(), REST, settings, attempt, smallest)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.2, 0.3, 0.6, 0.95])
def test_the_budget_is_used_and_no_whole_recipe_is_more_faithful(seed: int, share: float) -> None:
    model = Model(seed, limit=0.0)
    sizes = {recipe.name: model.size(recipe) for recipe in WHOLE}
    settings = SearchSettings(budget=int(share * sizes["float32"]))
    best = best_of(model.search(settings), settings)
    assert best is not None
    assert best.trial.size <= (settings.budget or 0)
    for recipe in WHOLE:
        if sizes[recipe.name] <= (settings.budget or 0):
            whole = Model(seed, limit=0.0).attempt(recipe)
            assert best.trial.figure("sqnr_db") >= whole.figure("sqnr_db")
    assert len(model.asked) <= len(WHOLE) + 4
    # The most that could be got: the whole path, with the sizes that files really have.
    path = [
        Model(seed, limit=0.0).attempt(model.mixtures().recipe(model.mixtures().after(count)))
        for count in range(len(model.mixtures().steps) + 1)
    ]
    within = [t.figure("sqnr_db") for t in path if t.size <= (settings.budget or 0)]
    assert best.trial.figure("sqnr_db") >= max(within) - 1e-9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("flips", [0.2, 0.02, 1e-3, 1e-4])
def test_the_smallest_on_the_path_is_found_in_few_steps(seed: int, flips: float) -> None:
    model = Model(seed, limit=5.0)
    settings = SearchSettings(max_flips=flips)
    best = best_of(model.search(settings), settings)
    assert best is not None
    assert best.trial.figure("flip_rate_bound") <= flips
    mixtures = model.mixtures()
    path = [
        Model(seed, limit=5.0).attempt(mixtures.recipe(mixtures.after(count)))
        for count in range(len(mixtures.steps) + 1)
    ]
    least = min(trial.size for trial in path if is_right(trial, settings))
    assert best.trial.size <= 1.02 * least
    assert len(model.asked) <= len(WHOLE) + 7


def test_with_both_bounds_the_smallest_is_wanted_and_both_hold() -> None:
    model = Model(1, limit=5.0)
    largest = model.size(WHOLE[1])
    settings = SearchSettings(budget=largest, max_flips=0.01)
    best = best_of(model.search(settings), settings)
    assert best is not None
    assert best.trial.size < largest
    assert best.trial.figure("flip_rate_bound") <= 0.01


def test_nothing_suits_and_the_nearest_is_told() -> None:
    model = Model(2, limit=5.0)
    settings = SearchSettings(budget=model.size(WHOLE[2]) - 1, max_flips=0.5)
    tried = model.search(settings)
    assert best_of(tried, settings) is None
    error = nothing_found(tried, settings)
    assert "the smallest that passes otherwise is int4" in str(error)
    strict = SearchSettings(budget=model.size(WHOLE[2]) + 100, max_flips=1e-6)
    tried = Model(2, limit=5.0).search(strict)
    assert best_of(tried, strict) is None
    assert "the most faithful within the budget is" in str(nothing_found(tried, strict))


def test_a_budget_below_everything_tries_the_smallest_alone() -> None:
    model = Model(3, limit=5.0)
    settings = SearchSettings(budget=1000)
    tried = model.search(settings)
    assert [item.recipe.name for item in tried] == ["int4"]
    assert best_of(tried, settings) is None


def test_nothing_that_was_not_judged_is_chosen() -> None:
    settings = SearchSettings(budget=10**9)
    fine, unjudged = Trial("a", 10, "unknown", {"sqnr_db": 90.0}), Trial("b", 5)
    assert best_of([Tried(WHOLE[0], fine), Tried(WHOLE[1], unjudged)], settings) is None
    odd = Trial("c", 5, "pass", {"sqnr_db": 90.0, "flip_rate_bound": math.nan})
    assert best_of([Tried(WHOLE[0], odd)], SearchSettings(max_flips=0.9)) is None


def test_of_equal_sizes_the_more_faithful_is_taken() -> None:
    settings = SearchSettings(max_flips=0.5)
    figures = {"flip_rate_bound": 0.1}
    rough = Trial("rough", 100_000, "pass", figures | {"sqnr_db": 30.0})
    good = Trial("good", 100_009, "pass", figures | {"sqnr_db": 40.0})
    best = best_of([Tried(WHOLE[0], rough), Tried(WHOLE[1], good)], settings)
    assert best is not None
    assert best.trial is good


def test_what_the_path_predicts_is_what_files_have_but_for_their_nodes() -> None:
    model = Model(4, limit=0.0)
    mixtures = model.mixtures()
    for count in (0, 7, len(mixtures.steps)):
        rungs = mixtures.after(count)
        size = model.size(mixtures.recipe(rungs))
        assert 0 <= size - REST - size_at(mixtures.ladders, rungs) <= 40 * 20 + 1
