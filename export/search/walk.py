"""What is tried, in which order, until the best is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from export.recipes import Recipe, WeightsRule
from export.search.ladder import Weight, stored_bytes
from export.search.mixture import mixture
from export.search.path import Option, after, filled, noise_at, size_at, steps_of
from export.search.settings import SearchSettings
from export.search.state import Trial

# Mixtures that are made at most, of some dozens of steps: a bisection needs seven.
_MOST = 10
# Files that are made at most to come nearer to a budget.
_MOST_WITHIN = 4
# Sizes nearer than this are one size, and of two such artifacts the more faithful is the better.
_SAME_SIZE = 1.001
# A bisection ends where the next step would save less than this share.
_WORTH = 0.005
# What is predicted to be this much above the budget is not made.
_CLEARLY_ABOVE = 1.03


class Attempt(Protocol):
    """See `export.search.workshop.Workshop.attempt`."""

    def __call__(self, recipe: Recipe, most: int | None = None) -> Trial:
        """Make and judge one candidate."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate and what came of it."""

    recipe: Recipe
    trial: Trial


def suits(trial: Trial, settings: SearchSettings) -> bool:
    """Whether it passes, within the budget, with few enough flips."""
    return is_right(trial, settings) and (settings.budget is None or trial.size <= settings.budget)


def is_right(trial: Trial, settings: SearchSettings) -> bool:
    """Whether it passes with few enough flips, however large it is."""
    if trial.verdict != "pass":
        return False
    # Not `>`: NaN must not suit.
    return settings.max_flips is None or trial.figure("flip_rate_bound") <= settings.max_flips


def best_of(tried: Sequence[Tried], settings: SearchSettings) -> Tried | None:
    """The smallest that suits, or with a budget alone the most faithful; None if none suits."""
    suiting = [item for item in tried if suits(item.trial, settings)]
    if not suiting:
        return None
    if settings.max_flips is not None:
        least = min(item.trial.size for item in suiting)
        suiting = [item for item in suiting if item.trial.size <= _SAME_SIZE * least]
    return max(suiting, key=lambda item: (item.trial.figure("sqnr_db"), -item.trial.size))


def walk_recipes(
    recipes: Sequence[Recipe],
    predicted: Mapping[str, float],
    settings: SearchSettings,
    attempt: Attempt,
) -> list[Tried]:
    """Try whole recipes, the smallest first.

    Where the smallest is wanted the rest is left out as soon as one passes. Where the budget alone
    counts, all within it are tried, and the smallest in any case.

    Args:
        recipes: of one target.
        predicted: recipe name → bytes, about.
        settings: what is to be found.
        attempt: makes and judges one.
    """
    tried: list[Tried] = []
    beside = 0.0  # what files have that no prediction knows
    for recipe in sorted(recipes, key=lambda r: (predicted[r.name], not r.default, r.name)):
        if settings.max_flips is not None:
            if any(
                is_right(item.trial, settings)
                and predicted[recipe.name] > _SAME_SIZE * predicted[item.recipe.name]
                for item in tried
            ):
                break
            tried.append(Tried(recipe, attempt(recipe)))
            continue
        if predicted[recipe.name] + beside <= _CLEARLY_ABOVE * (settings.budget or 0) or not tried:
            tried.append(Tried(recipe, attempt(recipe, settings.budget)))
            if size := tried[-1].trial.size:
                beside = size - predicted[recipe.name]
    return tried


class Mixtures:
    """The mixtures of one model, from fine to coarse along the greedy path."""

    def __init__(
        self,
        weights: Sequence[Weight],
        rules: Mapping[str, Sequence[WeightsRule]],
        noise: Mapping[str, Sequence[float]],
        recipes: Sequence[Recipe],
        suffix: str,
    ) -> None:
        """Find the path.

        Args:
            weights: that can have rules of their own.
            rules: weight → the rules that it can follow, from fine to coarse.
            noise: weight → the noise that each of them makes.
            recipes: whole ones that the rules come from.
            suffix: of the target's files.
        """
        self.ladders = {
            w.name: [
                Option(stored_bytes(rule, w.rows, w.columns), n)
                for rule, n in zip(rules[w.name], noise[w.name], strict=True)
            ]
            for w in weights
        }
        self.steps = steps_of(self.ladders)
        self._weights, self._rules = weights, rules
        self._recipes, self._suffix = recipes, suffix

    def recipe(self, rungs: Mapping[str, int]) -> Recipe:
        """Of a choice of rungs."""
        rules = {name: self._rules[name][rung] for name, rung in rungs.items()}
        return mixture(rules, self._weights, self._recipes, self._suffix)

    def after(self, count: int) -> dict[str, int]:
        """Rungs after so many steps."""
        return after(self.ladders, self.steps, count)

    def size(self, count: int) -> float:
        """Bytes of the weights after so many steps, about."""
        return size_at(self.ladders, self.after(count))

    def noise(self, rungs: Mapping[str, int]) -> float:
        """Of a choice of rungs, about."""
        return noise_at(self.ladders, rungs)

    def first_within(self, size: float) -> int | None:
        """Steps until the weights take so few bytes; None if they never do."""
        counts = range(len(self.steps) + 1)
        return next((count for count in counts if self.size(count) <= size), None)


def walk_within(
    mixtures: Mixtures, overhead: float, settings: SearchSettings, attempt: Attempt
) -> list[Tried]:
    """Try the finest mixture within the budget; what room it leaves goes to the worst weights.

    Args:
        mixtures: of the model.
        overhead: bytes that a file has besides the weights, about; corrected by every real file.
        settings: what is to be found: a budget.
        attempt: makes and judges one.
    """
    budget = settings.budget or 0
    tried: list[Tried] = []
    seen: list[Mapping[str, int]] = []
    while len(tried) < _MOST_WITHIN:
        count = mixtures.first_within(budget - overhead)
        if count is None:
            break
        room = budget - overhead - mixtures.size(count)
        rungs = filled(mixtures.ladders, mixtures.after(count), room)
        if rungs in seen:
            break
        seen.append(rungs)
        recipe = mixtures.recipe(rungs)
        trial = attempt(recipe, budget)
        tried.append(Tried(recipe, trial))
        if not trial.size or (trial.verdict and budget - trial.size < _WORTH * budget):
            break
        overhead = trial.size - size_at(mixtures.ladders, rungs)
    return tried


def walk_down(
    mixtures: Mixtures,
    overhead: float,
    settings: SearchSettings,
    attempt: Attempt,
    smallest: int | None,
) -> list[Tried]:
    """Bisect for the last step after which the gate still passes with few enough flips.

    Args:
        mixtures: of the model.
        overhead: bytes that a file has besides the weights, about.
        settings: what is to be found.
        attempt: makes and judges one.
        smallest: bytes of the smallest whole recipe that is right: the path is at least as good
            at that size, so it is searched from there on; None if there is none.
    """
    tried: list[Tried] = []

    def is_good(count: int) -> bool:
        recipe = mixtures.recipe(mixtures.after(count))
        # In a walk for the smallest a larger file says nothing new, but its flips still do.
        trial = attempt(recipe)
        tried.append(Tried(recipe, trial))
        return is_right(trial, settings)

    last = len(mixtures.steps)
    good, bad = 0, last + 1
    if smallest is not None:
        here = mixtures.first_within(smallest - overhead)
        good = max(0, last if here is None else here - 1)
    if settings.budget is not None:
        within = mixtures.first_within(settings.budget - overhead)
        if within is None:
            return tried
        if within > good:
            # What is coarser than the finest within the budget does not pass if that does not.
            if not is_good(within):
                return tried
            good = within
    while bad - good > 1 and len(tried) < _MOST:
        saved = mixtures.size(good) - mixtures.size(bad - 1)
        if saved < _WORTH * (mixtures.size(good) + overhead):
            break
        middle = (good + bad) // 2
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return tried
